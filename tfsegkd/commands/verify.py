"""Compares a .tflite with the network that it was exported from, and says what it consists of.

    tfsegkd-verify --file=model_int8.tflite --model=student_qat.keras \\
        --dataset=camvid --data_dir=DIRECTORY [--arm]

Prints the ops and how long each takes, where both choose the same class, what that does to mean IoU, and the
signal-to-quantization-noise ratio of each layer. With --arm the file runs on an emulated Arm core as well,
beside itself on this machine and beside the Keras network.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
from absl import flags

from tfsegkd import data, export, models
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
    flags.DEFINE_string("split", "val", "The split to look at.")
    flags.DEFINE_string("json", None, "Where to write what was found.")
    flags.DEFINE_bool(
        "arm", False, "Run the file on an emulated Arm core, too; needs Debian's qemu-user and gcc."
    )
    flags.DEFINE_integer("arm_images", 4, "Images to run there; each takes seconds.", lower_bound=1)


def main():
    source = data.load(FLAGS.dataset, FLAGS.split, FLAGS.data_dir)
    model = models.load(FLAGS.model)
    if FLAGS.arm:
        arm.check()  # before what takes minutes
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
