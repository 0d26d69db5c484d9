"""Images of any size as masks, and masks as files."""

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
from tfsegkd.evaluation.predictor import Predictor
from tfsegkd.metrics import labels_at

# A spreadsheet takes a cell that begins so for a formula, and runs it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def segment(
    predictor: Predictor, image: np.ndarray, sliding_window: bool = False, overlap: float = 0.25
) -> np.ndarray:
    """The class of each pixel of an image of any size.

    Args:
        predictor: The network.
        image: What to look at.
        tiles: Whether to look through windows of the network's input size and let them vote, which sees small
            things in large images and costs a pass a window; otherwise the image is resized.
        overlap: The share of a window that the next one sees again, at least. Near its border a network
            knows least, so a window's say fades there.

    Shapes:
        image: (H, W, 3), uint8. returns: (H, W), uint8.

    Raises:
        ValueError: if `overlap` is not in 0…0.9.
    """
    checks.in_range(overlap, 0.0, 0.9, "overlap")
    height, width = image.shape[:2]
    if not sliding_window:
        return labels_at(predictor.logits(resize_image(image, predictor.size)[None])[0], (height, width))
    # An image smaller than a window is enlarged until it fills one.
    scale = max(1.0, predictor.size[0] / height, predictor.size[1] / width)
    grown = tuple(
        max(least, round(side * scale)) for side, least in zip((height, width), predictor.size, strict=True)
    )
    if grown == (height, width):
        return _voted(predictor, image, overlap)
    return resize_mask(_voted(predictor, resize_image(image, grown), overlap), (height, width))


def _voted(predictor: Predictor, image: np.ndarray, overlap: float) -> np.ndarray:
    """Only one row of windows is in memory, however large the image is."""
    height, width = image.shape[:2]
    rows, columns = predictor.size
    say = _fading(rows)[:, None, None] * _fading(columns)[None, :, None]
    mask = np.empty((height, width), np.uint8)
    strip = np.zeros((rows, width, predictor.num_classes), np.float32)
    tops = starts(height, rows, overlap)
    for top, following in zip(tops, [*tops[1:], tops[-1] + rows], strict=True):
        for left in starts(width, columns, overlap):
            window = image[top : top + rows, left : left + columns]
            logits = tf.image.resize(predictor.logits(window[None]), (rows, columns))[0]
            strip[:, left : left + columns] += say * tf.nn.softmax(logits).numpy()
        done = following - top
        mask[top:following] = strip[:done].argmax(-1)
        strip = np.concatenate([strip[done:], np.zeros_like(strip[:done])])
    return mask


def starts(length: int, window: int, overlap: float) -> list[int]:
    """Where windows begin that cover `length` and share at least `overlap` of their length, evenly spread."""
    count = 1 + math.ceil((length - window) / max(1, math.floor(window * (1 - overlap))))
    return [round(index * (length - window) / max(1, count - 1)) for index in range(count)]


def _fading(length: int) -> np.ndarray:
    """1, 2, … up to the middle and down again."""
    places = np.arange(length)
    return np.minimum(places + 1, length - places).astype(np.float32)


def write_mask(path: Path, mask: np.ndarray, info: DatasetInfo) -> None:
    """Writes labels as a PNG: its values are the labels, its palette the colors of the classes."""
    drawn = Image.fromarray(mask).convert("P")
    drawn.putpalette(np.array(info.palette, np.uint8).tobytes())
    write_atomically(path, drawn.save)


def class_shares(mask: np.ndarray, num_classes: int) -> np.ndarray:
    """The share of each class in a mask."""
    return np.bincount(mask.ravel(), minlength=num_classes) / mask.size


def write_shares(path: Path, class_names: Sequence[str], rows: Iterable[tuple[str, np.ndarray]]) -> None:
    """Writes a CSV: a line an image, a column a class, each the share of the image's pixels.

    Names that a spreadsheet would run as a formula get an apostrophe in front.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", *map(_harmless, class_names)])
    table.writerows([_harmless(name), *(f"{share:.6f}" for share in shares)] for name, shares in rows)
    write_atomically(path, lambda temporary: temporary.write_text(text.getvalue(), encoding="utf-8"))


def _harmless(name: str) -> str:
    return f"'{name}" if name.startswith(_FORMULA) else name
