"""Segments images and videos of any size.

    tfsegkd-predict --model=model_int8.tflite --images='photos/*.jpg' --output_dir=predictions

For each image, and each frame of a video, writes NAME_mask.png, labels with a palette at the image's size,
and NAME_overlay.png. shares.csv contains the share of each class. Images are resized to the network's input
size, or predicted window by window with --sliding_window.
"""

import glob
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from tfsegkd import data
from tfsegkd.atomic import write_atomically
from tfsegkd.commands import command_line
from tfsegkd.data.images import IMAGE_SUFFIXES
from tfsegkd.data.paths import files_in, is_hidden
from tfsegkd.evaluation import Predictor, class_shares, overlay, segment, write_mask, write_shares

FLAGS = flags.FLAGS
MASK, OVERLAY, SHARES = "_mask.png", "_overlay.png", "shares.csv"


def define_flags():
    flags.DEFINE_string("model", None, "A saved Keras model or a .tflite.", required=True)
    flags.DEFINE_string("images", None, "An image, a video, a directory, or a pattern with *.", required=True)
    flags.DEFINE_string(
        "labels", None, "A file with a class on each line; labels.txt beside the model by default."
    )
    flags.DEFINE_string("output_dir", "predictions", "The output directory.")
    flags.DEFINE_bool(
        "sliding_window", False, "Predict windows of the network's input size instead of resizing images."
    )
    command_line.renamed("tiles", "sliding_window")
    flags.DEFINE_float("overlap", 0.25, "The share of a window that the next one overlaps.", 0, 0.9)
    flags.DEFINE_integer("every", 1, "Use every n-th frame of a video.", lower_bound=1)


def main():
    paths = find_images(FLAGS.images)
    predictor = Predictor(FLAGS.model)
    info = classes(predictor.num_classes)
    directory = Path(FLAGS.output_dir)
    check_output(directory, paths)
    found, seconds, began = [], 0.0, time.monotonic()
    try:
        for path, name in zip(paths, names(paths), strict=True):
            shares = []
            for frame, image in frames(path, name):
                started = time.monotonic()
                mask = segment(predictor, image, FLAGS.sliding_window, FLAGS.overlap)
                seconds += time.monotonic() - started
                write_mask(directory / f"{frame}{MASK}", mask, info)
                picture = Image.fromarray(overlay(image, mask, info))
                write_atomically(directory / f"{frame}{OVERLAY}", picture.save)
                shares.append(class_shares(mask, info.num_classes))
                found.append((frame, shares[-1]))
            print(f"{path}: {describe(np.mean(shares, axis=0), info.class_names)}", flush=True)
    finally:
        # Results before an unreadable file are kept.
        if found:
            write_shares(directory / SHARES, info.class_names, found)
    count, passed = len(found), time.monotonic() - began
    print(
        f"{count} images in {directory}: {count / passed:.1f} a second; the network alone takes "
        f"{1000 * seconds / count:.1f} ms each ({count / seconds:.1f} a second)"
    )


def check_output(directory, paths):
    """Refuses a directory in which results would replace files that are not those of an earlier call."""
    if (directory / SHARES).exists():
        return
    targets = (
        directory / f"{name}{ending}"
        for path, name in zip(paths, names(paths), strict=True)
        if not is_video(path)
        for ending in (MASK, OVERLAY)
    )
    if (there := next((path for path in targets if path.exists()), None)) is not None:
        raise FileExistsError(
            f"{str(there)!r} exists, and is not of an earlier call: there is no {SHARES} beside it. Choose "
            f"another --output_dir."
        )


def classes(count):
    """Returns the names and colors of the network's classes."""
    beside = Path(FLAGS.model).with_name("labels.txt")
    file = FLAGS.labels or (beside if beside.is_file() else None)
    found = data.read_labels(file) if file else tuple(str(number) for number in range(count))
    if len(found) != count:
        raise ValueError(
            f"{str(file)!r} names {len(found)} classes and {FLAGS.model!r} predicts {count}. Pass the "
            f"--labels that the network was trained with."
        )
    return data.DatasetInfo("labels", found, data.distinct_colors(count))


def find_images(pattern):
    """Returns the files of --images."""
    path = Path(pattern)
    known = IMAGE_SUFFIXES | data.VIDEO_SUFFIXES
    if path.is_dir():
        paths = files_in(path, known)
    else:
        found = map(Path, glob.glob(pattern, recursive=True))
        paths = sorted(file for file in found if file.suffix.lower() in known and not is_hidden(file))
    if not paths and path.is_file():
        paths = [path]  # a file that is named is used
    if not paths:
        raise FileNotFoundError(
            f"--images={pattern!r} matches no image. Expected an image, a video, a directory of them or a "
            f"pattern."
        )
    return paths


def names(paths):
    """Returns a unique output name for each file, below --output_dir."""
    # Not resolve(): a symbolic link is named after itself, not after its target.
    found = [Path(os.path.abspath(path)) for path in paths]
    shared = os.path.commonpath([path.parent for path in found])
    found = [path.relative_to(shared) for path in found]
    count = Counter(path.with_suffix("") for path in found)
    return [str(path if count[path.with_suffix("")] > 1 else path.with_suffix("")) for path in found]


def frames(path, name):
    """Yields each frame with its output name; an image is a single frame."""
    if not is_video(path):
        yield name, data.read_image(path)
        return
    for number, image in enumerate(data.video_frames(path)):
        if number % FLAGS.every == 0:
            yield f"{name}_{number:06}", image


def is_video(path):
    if path.suffix.lower() != ".gif":
        return path.suffix.lower() in data.VIDEO_SUFFIXES
    try:
        with Image.open(path) as image:
            return getattr(image, "n_frames", 1) > 1
    except (OSError, SyntaxError, ValueError, EOFError):
        return False  # reading the image reports the error


def describe(shares, class_names):
    most = [number for number in np.argsort(-shares)[:4] if shares[number] > 0]
    return ", ".join(f"{class_names[number]} {100 * shares[number]:.0f} %" for number in most)


def run():
    """The entry point of the command."""
    command_line.run(main, define_flags)


if __name__ == "__main__":
    run()
