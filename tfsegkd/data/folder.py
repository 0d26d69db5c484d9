"""The user's own images and masks."""

import contextlib
from pathlib import Path

import numpy as np

from tfsegkd import checks
from tfsegkd.data.files import FileSource
from tfsegkd.data.labels import distinct_colors, read_colors, read_labels
from tfsegkd.data.masks import read_mask
from tfsegkd.data.paths import Pair, counterparts, directory, pictures
from tfsegkd.data.registry import datasets
from tfsegkd.data.source import IGNORE_LABEL, DatasetInfo, Source


@datasets.register("folder")
def folder(split: str, data_dir=None, ignore_label: int | None = None) -> Source:
    """A directory with `labels.txt`, `images/` and `masks/`, paired by file name without suffix.

    `data_dir/<split>/images` and `data_dir/<split>/masks` if there is such a split, else `data_dir/images`
    and `data_dir/masks`, of which every fifth example (by name) is 'val' and the others are 'train'.
    Masks hold one label a pixel, grey of 8 or 16 bits or with a palette. With a `colors.txt`, which has
    `red green blue name` on each line, masks in colour and the colours of palettes are read by it.

    Args:
        split: A sub-directory, or 'train', 'val' or 'all' where there are no sub-directories.
        data_dir: The directory. `labels.txt` in it names a class on each line, in label order.
        ignore_label: The label of void pixels in grey mask files, up to 65535; 255 unless given. With two
            classes and none given, masks in which 255 occurs and 1 does not are read as black and white
            pictures: 255 is the second class. The first 16 masks decide.

    Raises:
        FileNotFoundError: for a missing directory or `labels.txt`, an image without a mask, or a mask
            without an image.
        ValueError: for an unknown split or an empty one, or a `colors.txt` that does not fit.
    """
    root = directory(data_dir, "folder")
    class_names = read_labels(root / "labels.txt")
    palette, colors = distinct_colors(len(class_names)), None
    if (root / "colors.txt").is_file():
        colors = read_colors(root / "colors.txt", class_names)
        # Of several colours of a class the first is drawn.
        first = {label: color for color, label in reversed(colors.items())}
        palette = tuple(first[label] for label in range(len(class_names)))
    info = DatasetInfo("folder", class_names, palette)
    pairs = _of_split(root, split)
    if ignore_label is not None:
        checks.in_range(ignore_label, 0, 65535, "ignore_label of folder")
        relabel = {IGNORE_LABEL: None, ignore_label: IGNORE_LABEL}
    else:
        relabel = {255: 1} if info.num_classes == 2 and _black_and_white(pairs[:16]) else {}
    return FileSource(info, pairs, relabel, colors)


def _of_split(root: Path, split: str) -> list[Pair]:
    """The pairs of a sub-directory, or the share of all that belongs to a split."""
    if (root / split).is_dir():
        pairs = _pairs(root / split)
    else:
        every = _pairs(root)
        choices = {
            "train": [pair for number, pair in enumerate(every) if number % 5 != 4],
            "val": every[4::5],
            "all": every,
        }
        if split not in choices:
            raise ValueError(
                f"No split {split!r} in {str(root)!r}. Expected a sub-directory of that name, or one of "
                f"{list(choices)}."
            )
        pairs = choices[split]
    if not pairs:
        raise ValueError(
            f"Split {split!r} of {str(root)!r} is empty. Expected images; with fewer than five, make the "
            f"sub-directories train/ and val/ yourself."
        )
    return pairs


def _pairs(root: Path) -> list[Pair]:
    return counterparts(pictures(root / "images"), pictures(root / "masks"), root)


def _black_and_white(pairs) -> bool:
    values = set()
    for _, mask in pairs:
        # A mask that cannot be read is reported, or left out, when it is read as an example.
        with contextlib.suppress(ValueError):
            values.update(np.unique(read_mask(mask)).tolist())
    return 255 in values and 1 not in values
