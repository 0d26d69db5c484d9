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
    flags.DEFINE_string("json", None, "The JSON file to write.")
    flags.DEFINE_string("latency_table", None, "CSV file,ms with latencies of .tflite files on your device.")
    flags.DEFINE_integer("batch_size", 8, "Images per batch; it affects the speed only.", lower_bound=1)
    flags.DEFINE_integer(
        "frames_per_block",
        None,
        "Write to --json the pixel counts of blocks of this many consecutive images, for intervals.",
        lower_bound=1,
    )


def main():
    command_line.check_data()
    # Faults of the table are reported before images are read.
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
    """Returns the latency of the file in the table."""
    milliseconds = runtime.DeviceTable(FLAGS.latency_table).milliseconds(model)
    if milliseconds is None:
        raise ValueError(
            f"--latency_table={FLAGS.latency_table!r} has no line for this {model.name!r}. Expected "
            f"its name in the column file, and its fingerprint in sha256 if there is that column."
        )
    return milliseconds


def run():
    """The entry point of the command."""
    command_line.run(main, define_flags)


if __name__ == "__main__":
    run()
