"""Writes a quantized network as int8 .tflite files that an app takes as they are.

python tools/export.py --model=student_qat.keras --labels=labels.txt --output_dir=DIRECTORY
"""

import dataclasses
import json
from pathlib import Path

import command
from absl import flags

from tfsegkd import export, models
from tfsegkd.data import DatasetInfo, read_labels

flags.DEFINE_string("model", None, "A network that tools/train.py quantized.", required=True)
flags.DEFINE_string("labels", None, "A text file with the name of a class on each line.", required=True)
flags.DEFINE_string("output_dir", None, "Where to write.", required=True)
flags.DEFINE_bool("overwrite", False, "Replace files that exist.")

FLAGS = flags.FLAGS


def main():
    model = models.load(FLAGS.model)
    labels = read_labels(FLAGS.labels)
    if len(labels) != model.output_shape[-1]:
        raise ValueError(
            f"{FLAGS.labels!r} names {len(labels)} classes and {FLAGS.model!r} tells "
            f"{model.output_shape[-1]} apart. Pass the labels that the network was trained with."
        )
    directory = Path(FLAGS.output_dir)
    directory.mkdir(parents=True, exist_ok=True)
    info = DatasetInfo("labels", labels, ())
    for name, options in export.VARIANTS.items():
        report = export.export_tflite(
            model, directory / name, metadata=info, overwrite=FLAGS.overwrite, **options
        )
        print(json.dumps(dataclasses.asdict(report), indent=2))


if __name__ == "__main__":
    command.run(main)
