"""Segmentation of images of any size, and mask files."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from tfsegkd import checks
from tfsegkd.atomic import write_atomically
from tfsegkd.data import DatasetInfo, resize_image, resize_mask
from tfsegkd.deprecation import renamed_arguments
from tfsegkd.evaluation.predictor import Predictor
from tfsegkd.metrics import labels_at

# Spreadsheets run cells that start like this as formulas.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@renamed_arguments(tiles="sliding_window")
def segment(
    predictor: Predictor, image: np.ndarray, sliding_window: bool = False, overlap: float = 0.25
) -> np.ndarray:
    """Returns the class of each pixel of an image of any size.

    Args:
        predictor: The network.
        image: The image.
        sliding_window: Whether to predict windows of the network's input size and to average them, which
            finds small objects in large images at the cost of a pass per window; otherwise the image is
            resized.
        overlap: The minimum share of a window that the next one overlaps. Windows have lower weights near
            their borders, where predictions are worst.

    Returns:
        (H, W) labels at the image's own size.

    Shapes:
        image: (H, W, 3), uint8. returns: (H, W), uint8.

    Raises:
        ValueError: if `overlap` is not in 0…0.9.

    Example:
        predictor = evaluation.Predictor(student)
        photo = np.zeros((60, 100, 3), np.uint8)
        evaluation.segment(predictor, photo).shape  # (60, 100)
    """
    checks.in_range(overlap, 0.0, 0.9, "overlap")
    height, width = image.shape[:2]
    if not sliding_window:
        return labels_at(predictor.logits(resize_image(image, predictor.size)[None])[0], (height, width))
    # An image smaller than a window is enlarged to its size.
    scale = max(1.0, predictor.size[0] / height, predictor.size[1] / width)
    grown = tuple(
        max(least, round(side * scale)) for side, least in zip((height, width), predictor.size, strict=True)
    )
    if grown == (height, width):
        return _averaged(predictor, image, overlap)
    return resize_mask(_averaged(predictor, resize_image(image, grown), overlap), (height, width))


def _averaged(predictor: Predictor, image: np.ndarray, overlap: float) -> np.ndarray:
    """Averages windows row by row, so that only one row is in memory."""
    height, width = image.shape[:2]
    rows, columns = predictor.size
    weights = _ramp(rows)[:, None, None] * _ramp(columns)[None, :, None]
    mask = np.empty((height, width), np.uint8)
    strip = np.zeros((rows, width, predictor.num_classes), np.float32)
    tops = starts(height, rows, overlap)
    for top, following in zip(tops, [*tops[1:], tops[-1] + rows], strict=True):
        for left in starts(width, columns, overlap):
            window = image[top : top + rows, left : left + columns]
            logits = tf.image.resize(predictor.logits(window[None]), (rows, columns))[0]
            strip[:, left : left + columns] += weights * tf.nn.softmax(logits).numpy()
        done = following - top
        mask[top:following] = strip[:done].argmax(-1)
        strip = np.concatenate([strip[done:], np.zeros_like(strip[:done])])
    return mask


def starts(length: int, window: int, overlap: float) -> list[int]:
    """Returns the starts of evenly spaced windows that cover `length` and overlap by at least `overlap`."""
    count = 1 + math.ceil((length - window) / max(1, math.floor(window * (1 - overlap))))
    return [round(index * (length - window) / max(1, count - 1)) for index in range(count)]


def _ramp(length: int) -> np.ndarray:
    """Returns 1, 2, … up to the middle and down again."""
    positions = np.arange(length)
    return np.minimum(positions + 1, length - positions).astype(np.float32)


def write_mask(path: Path, mask: np.ndarray, info: DatasetInfo) -> None:
    """Writes labels as a PNG whose palette has the colors of the classes.

    Args:
        path: Where to write the PNG.
        mask: (H, W) labels.
        info: Whose palette to write.

    Example:
        evaluation.write_mask(Path("labels.png"), source[0][1], info)
    """
    drawn = Image.fromarray(mask).convert("P")
    # All 256 colors: with fewer Pillow stores labels in fewer bits, and void becomes a class.
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(info.palette)] = info.palette
    if info.ignore_label >= len(info.palette):
        palette[info.ignore_label] = 255
    drawn.putpalette(palette.tobytes())
    write_atomically(path, drawn.save)


def class_shares(mask: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the share of each class in a mask.

    Args:
        mask: (H, W) labels.
        num_classes: How many classes there are.

    Returns:
        (num_classes,) shares of all pixels.

    Example:
        evaluation.class_shares(np.array([[0, 0], [0, 1]]), num_classes=2).tolist()  # [0.75, 0.25]
    """
    return np.bincount(mask.ravel(), minlength=num_classes) / mask.size


def write_shares(path: Path, class_names: Sequence[str], rows: Iterable[tuple[str, np.ndarray]]) -> None:
    """Writes a CSV with a line per image and a column per class: the share of pixels.

    Names that a spreadsheet would run as a formula get an apostrophe in front.

    Args:
        path: Where to write the CSV.
        class_names: The columns.
        rows: A name and the shares of `class_shares` for each image.

    Example:
        shares = evaluation.class_shares(source[0][1], info.num_classes)
        evaluation.write_shares(Path("shares.csv"), info.class_names, [("first", shares)])
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", *map(_harmless, class_names)])
    table.writerows([_harmless(name), *(f"{share:.6f}" for share in shares)] for name, shares in rows)
    write_atomically(path, lambda temporary: temporary.write_text(text.getvalue(), encoding="utf-8"))


def _harmless(name: str) -> str:
    return f"'{name}" if name.startswith(_FORMULA) else name
