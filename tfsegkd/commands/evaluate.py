"""Measures a saved network or a .tflite against the labels of a data set.

tfsegkd-evaluate --model=model_int8.tflite --dataset=camvid --data_dir=DIRECTORY --split=val
"""

from pathlib import Path

from absl import flags

from tfsegkd import data, runtime
from tfsegkd.atomic import write_json
from tfsegkd.commands import command_line
from tfsegkd.evaluation import evaluate

FLAGS = flags.FLAGS


def define_flags():
    command_line.define_data()
    flags.DEFINE_string("model", None, "A saved Keras model or a .tflite.", required=True)
    flags.DEFINE_string("split", "val", "The split to measure on.")
    flags.DEFINE_string("json", None, "Where to write the result.")
    flags.DEFINE_string(
        "latency_table", None, "CSV file,ms of your device, which says how long a .tflite takes."
    )
    flags.DEFINE_integer(
        "batch_size", 8, "Images run at once; it changes the speed, not the result.", lower_bound=1
    )
    flags.DEFINE_integer(
        "frames_per_block",
        None,
        "Counts in --json the pixels of every block of so many images that follow each other, for intervals.",
        lower_bound=1,
    )


def main():
    # Whatever is wrong with the table shows before images are read.
    device_ms = on_device(Path(FLAGS.model)) if FLAGS.latency_table else None
    source = data.load(FLAGS.dataset, FLAGS.split, FLAGS.data_dir)
    result = evaluate(FLAGS.model, source, FLAGS.batch_size, FLAGS.frames_per_block)
    for name, iou in result.iou.items():
        print(f"{name:20} {'–' if iou is None else format(100 * iou, '.2f')}")
    print(f"{'mean IoU':20} {100 * result.mean_iou:.2f}")
    print(f"{'pixel accuracy':20} {100 * result.pixel_accuracy:.2f}   on {result.num_images} images")
    if device_ms is not None:
        print(f"{'ms on your device':20} {device_ms:.2f}")
    if FLAGS.json:
        write_json(Path(FLAGS.json), {**result.to_json(), "device_ms": device_ms})


def on_device(model):
    """What the table says of the file that is measured."""
    milliseconds = runtime.DeviceTable(FLAGS.latency_table).milliseconds(model)
    if milliseconds is None:
        raise ValueError(
            f"--latency_table={FLAGS.latency_table!r} has no line for {model.name!r} as it is now. Expected "
            f"its name in the column file, and its fingerprint in sha256 if there is that column."
        )
    return milliseconds


def run():
    """The entry point of the command."""
    command_line.run(main, define_flags)


if __name__ == "__main__":
    run()
