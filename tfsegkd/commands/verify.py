"""Compares a .tflite with the network that it was exported from, and lists its operations.

    tfsegkd-verify --file=model_int8.tflite --model=student_qat.keras \\
        --dataset=camvid --data_dir=DIRECTORY [--arm]

Prints the operations and their latencies, the agreement of the predicted classes, the effect on mean IoU, and
the signal-to-quantization-noise ratio of each layer. With --arm the file also runs on an emulated Arm core
and is compared with the results on this machine.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
from absl import flags

from tfsegkd import data, export, models, runtime
from tfsegkd.atomic import write_json
from tfsegkd.commands import command_line
from tfsegkd.runtime import arm

FLAGS = flags.FLAGS


def define_flags():
    command_line.define_data()
    flags.DEFINE_string("file", None, "The .tflite.", required=True)
    flags.DEFINE_string(
        "model", None, "The saved network it was made from: the quantized one.", required=True
    )
    flags.DEFINE_string("split", "val", "The split to evaluate on.")
    flags.DEFINE_string("json", None, "The JSON file to write.")
    flags.DEFINE_bool("arm", False, f"Also run the file {command_line.ARM}")
    flags.DEFINE_integer(
        "arm_images", 4, "The number of images to run there; each takes seconds.", lower_bound=1
    )


def main():
    command_line.check_data()
    source = data.load(FLAGS.dataset, FLAGS.split, FLAGS.data_dir)
    model = models.load(FLAGS.model)
    if FLAGS.arm:
        arm.check()  # before what takes minutes
    if model.output_shape[-1] == 1 and runtime.Network(FLAGS.file).num_classes == 2:
        model, _ = models.adopt(model)  # as the export does
    report = export.verify(FLAGS.file, model, source)
    print(report)
    content = json.loads(report.to_json())
    if FLAGS.arm:
        size = tuple(model.input_shape[1:3])
        chosen = range(min(FLAGS.arm_images, len(source)))
        images = np.stack([data.resize_image(source[index][0], size) for index in chosen])
        on_arm = export.verify_on_arm(FLAGS.file, model, images, source.info.class_names)
        print(on_arm)
        content["arm"] = dataclasses.asdict(on_arm)
    if FLAGS.json:
        write_json(Path(FLAGS.json), content)


def run():
    """The entry point of the command."""
    command_line.run(main, define_flags)


if __name__ == "__main__":
    run()
