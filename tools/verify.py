"""Compares a .tflite with the network that it was exported from, and says what it consists of.

    python tools/verify.py --file=model_int8.tflite --model=student_qat.keras \\
        --dataset=camvid --data_dir=DIRECTORY

Prints the ops and how long each takes, where both choose the same class, what that does to mean IoU, and the
signal-to-quantization-noise ratio of each layer.
"""

from pathlib import Path

import command
from absl import flags

from tfsegkd import data, export, models
from tfsegkd.atomic import write_atomically

command.define_data()
flags.DEFINE_string("file", None, "The .tflite.", required=True)
flags.DEFINE_string("model", None, "The saved network it was made from: the quantized one.", required=True)
flags.DEFINE_string("split", "val", "The split to look at.")
flags.DEFINE_string("json", None, "Where to write what was found.")

FLAGS = flags.FLAGS


def main():
    source = data.load(FLAGS.dataset, FLAGS.split, FLAGS.data_dir)
    report = export.verify(FLAGS.file, models.load(FLAGS.model), source)
    print(report)
    if FLAGS.json:
        write_atomically(Path(FLAGS.json), lambda path: path.write_text(report.to_json() + "\n", "utf-8"))


if __name__ == "__main__":
    command.run(main)
