"""Draws what a network sees in images of any size.

    python tools/predict.py --model=model_int8.tflite --images='photos/*.jpg' --output_dir=predictions

For each image: NAME_mask.png, labels as a palette picture at the image's size, and NAME_overlay.png.
"""

import glob
import time
from pathlib import Path

import command
import numpy as np
from absl import flags
from PIL import Image

from tfsegkd.data import DatasetInfo, distinct_colors, read_image, read_labels, resize_image
from tfsegkd.evaluation import Predictor, labels_at, overlay

flags.DEFINE_string("model", None, "A saved Keras model or a .tflite.", required=True)
flags.DEFINE_string("images", None, "An image, a directory, or a pattern with *.", required=True)
flags.DEFINE_string("labels", None, "A text file with the name of a class on each line.")
flags.DEFINE_string("output_dir", "predictions", "Where to write.")

FLAGS = flags.FLAGS


def main():
    paths = find_images(FLAGS.images)
    predictor = Predictor(FLAGS.model)
    names = read_labels(FLAGS.labels) if FLAGS.labels else [str(n) for n in range(predictor.num_classes)]
    if len(names) != predictor.num_classes:
        raise ValueError(
            f"{FLAGS.labels!r} names {len(names)} classes and {FLAGS.model!r} tells {predictor.num_classes} "
            f"apart. Pass the labels that the network was trained with."
        )
    info = DatasetInfo("labels", tuple(names), distinct_colors(predictor.num_classes))
    directory = Path(FLAGS.output_dir)
    directory.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    for path in paths:
        image = read_image(path)
        mask = labels_at(predictor.logits(resize_image(image, predictor.size)[None])[0], image.shape[:2])
        drawn = Image.fromarray(mask).convert("P")
        drawn.putpalette(np.array(info.palette, np.uint8).tobytes())
        drawn.save(directory / f"{path.stem}_mask.png")
        Image.fromarray(overlay(image, mask, info)).save(directory / f"{path.stem}_overlay.png")
        shares = np.bincount(mask.ravel(), minlength=info.num_classes) / mask.size
        seen = ", ".join(
            f"{names[n]} {100 * shares[n]:.0f} %" for n in np.argsort(-shares)[:4] if shares[n] > 0
        )
        print(f"{path}: {seen}")
    print(f"{len(paths)} images, {len(paths) / (time.monotonic() - began):.1f} a second, in {directory}")


def find_images(pattern):
    """The image files that --images names."""
    path = Path(pattern)
    found = path.iterdir() if path.is_dir() else map(Path, glob.glob(pattern, recursive=True))
    paths = sorted(file for file in found if file.suffix.lower() in Image.registered_extensions())
    if not paths:
        raise FileNotFoundError(
            f"--images={pattern!r} names no image. Expected a file, a directory or a pattern."
        )
    return paths


if __name__ == "__main__":
    command.run(main)
