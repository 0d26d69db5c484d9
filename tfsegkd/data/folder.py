"""The user's own images and masks."""

import contextlib
from pathlib import Path

import numpy as np

from tfsegkd.data.files import IMAGE_SUFFIXES, FileSource, directory, read_mask
from tfsegkd.data.labels import distinct_colors, read_labels
from tfsegkd.data.registry import datasets
from tfsegkd.data.source import IGNORE_LABEL, DatasetInfo, Source


@datasets.register("folder")
def folder(split: str, data_dir=None, ignore_label: int | None = None) -> Source:
    """A directory with `labels.txt`, `images/` and `masks/`, paired by file name without suffix.

    `data_dir/<split>/images` and `data_dir/<split>/masks` if there is such a split, else `data_dir/images`
    and `data_dir/masks`, of which every fifth example (by name) is 'val' and the others are 'train'.
    Masks hold one label a pixel, grey or with a palette.

    Args:
        split: A sub-directory, or 'train', 'val' or 'all' where there are no sub-directories.
        data_dir: The directory. `labels.txt` in it names a class on each line, in label order.
        ignore_label: The label of void pixels in the mask files; 255 unless given. With two classes and
            none given, masks in which 255 occurs and 1 does not are read as black and white pictures: 255
            is the second class. The first 16 masks decide.

    Raises:
        FileNotFoundError: for a missing directory or `labels.txt`, an image without a mask, or a mask
            without an image.
        ValueError: for an unknown split or an empty one.
    """
    root = directory(data_dir, "folder")
    class_names = read_labels(root / "labels.txt")
    info = DatasetInfo("folder", class_names, distinct_colors(len(class_names)))
    pairs = _pairs(root / split if (root / split).is_dir() else root)
    if not (root / split).is_dir():
        choices = {
            "train": [pair for number, pair in enumerate(pairs) if number % 5 != 4],
            "val": pairs[4::5],
            "all": pairs,
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
    if ignore_label is not None:
        relabel = {IGNORE_LABEL: IGNORE_LABEL - 1, ignore_label: IGNORE_LABEL}
    else:
        relabel = {255: 1} if info.num_classes == 2 and _black_and_white(pairs[:16]) else {}
    return FileSource(info, pairs, relabel)


def _black_and_white(pairs) -> bool:
    values = set()
    for _, mask in pairs:
        # A mask that cannot be read is reported, or left out, when it is read as an example.
        with contextlib.suppress(ValueError):
            values.update(np.unique(read_mask(mask)).tolist())
    return 255 in values and 1 not in values


def _pairs(root: Path) -> list[tuple[Path, Path]]:
    files = {}
    for kind in ("images", "masks"):
        if not (root / kind).is_dir():
            raise FileNotFoundError(
                f"No directory {str(root / kind)!r}. Expected images/ and masks/ in {str(root)!r}."
            )
        found = sorted(path for path in (root / kind).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        files[kind] = {path.stem: path for path in found}
        if len(files[kind]) < len(found):
            twice = [path.name for path in found if files[kind][path.stem] != path]
            raise ValueError(
                f"{str(root / kind)!r} holds two files of one name: {twice[:3]}. Keep one of each."
            )
    for kind, other in (("images", "masks"), ("masks", "images")):
        alone = sorted(files[kind].keys() - files[other].keys())
        if alone:
            raise FileNotFoundError(
                f"{len(alone)} of the {len(files[kind])} {kind} in {str(root)!r} have no counterpart in "
                f"{other}/, the first: {alone[:3]}. Expected files of equal names; add them or move these "
                f"away."
            )
    return [(files["images"][stem], files["masks"][stem]) for stem in files["images"]]
