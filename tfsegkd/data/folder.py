"""Data sets of the user's images and masks in a folder."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tfsegkd import checks
from tfsegkd.data import mask_conventions, splits
from tfsegkd.data.annotations.recognition import export_of
from tfsegkd.data.files import FileSource
from tfsegkd.data.labels import distinct_colors, read_colors, read_labels
from tfsegkd.data.mask_conventions import Convention
from tfsegkd.data.masks import MaskReading, numbered_from
from tfsegkd.data.paths import Pair, counterparts, directories_in, directory, pictures
from tfsegkd.data.registry import datasets
from tfsegkd.data.source import IGNORE_LABEL, DatasetInfo, Source


@datasets.register("folder")
def folder(
    split: str,
    data_dir=None,
    ignore_label: int | None = None,
    offset: int | None = None,
    threshold: int | None = None,
    grey_masks: str | None = None,
    mask_orientation: str | None = None,
) -> Source:
    """A directory with `labels.txt`, `images/` and `masks/`, paired by file name without suffix.

    `data_dir/<split>/images` and `data_dir/<split>/masks` if there is such a split, else `data_dir/images`
    and `data_dir/masks`, where every fifth group of neighbours (by name) is 'val' and the others are
    'train'. Masks contain one label per pixel, grey of 8 or 16 bits or with a palette. A `colors.txt`, with
    `red green blue name` on each line, defines color masks, shades of grey and the colors of palettes.

    Conventions that options do not set are inferred from the masks of all splits and listed in `notes`;
    ambiguous masks are refused.

    Args:
        split: A sub-directory, or 'train', 'val' or 'all' where there are no sub-directories.
        data_dir: The directory. Its `labels.txt` has a class on each line, in label order.
        ignore_label: The label of void pixels in grey mask files, up to 65535; 255 by default. For two
            classes and by default, masks with 255 and without 1 are black and white: 255 is the second class.
        offset: The label of the first class in mask files, up to 255; lower labels are void. By default 1 if
            0 never occurs and the number of classes does, else 0.
        threshold: For two classes in smoothed grey masks or JPEG files: values from this one up to 255 are
            the second class, lower ones the first.
        grey_masks: The content of grey masks if there is a `colors.txt`: its 'colors', or 'labels'.
        mask_orientation: If photographs are stored rotated and their masks are not: 'own' for masks of
            upright photographs, 'image' for masks of the stored pixels.

    Raises:
        FileNotFoundError: for a missing directory or `labels.txt`, an image without a mask, or a mask
            without an image.
        ValueError: for an unknown split or an empty one, a `colors.txt` that does not match, contradictory
            options, or ambiguous masks.
    """
    root = directory(data_dir, "folder")
    if not (root / "labels.txt").is_file() and (tool := export_of(root)):
        raise FileNotFoundError(
            f"No labels.txt in {str(root)!r}, which looks like what a labelling tool has exported. Say "
            f"`dataset={tool}`."
        )
    class_names = read_labels(root / "labels.txt")
    palette, colors = distinct_colors(len(class_names)), None
    if (root / "colors.txt").is_file():
        colors = read_colors(root / "colors.txt", class_names)
        # The first of several colors of a class is used for drawing.
        first = {label: color for color, label in reversed(colors.items())}
        palette = tuple(first[label] for label in range(len(class_names)))
    info = DatasetInfo("folder", class_names, palette)
    _check(len(class_names), colors, ignore_label, offset, threshold, grey_masks, mask_orientation)
    pairs, notes = _of_split(root, split)
    every = _of_all_splits(root)
    if threshold is not None:
        convention = Convention(mask_conventions.above_threshold(threshold))
    elif ignore_label is not None or offset is not None:
        void = IGNORE_LABEL if ignore_label is None else ignore_label
        convention = Convention(MaskReading(numbered_from(offset or 0, len(class_names), void), colors))
    else:
        observed = mask_conventions.observe([mask for _, mask in every], colors is not None)
        if colors is None:
            convention = mask_conventions.of_labels(observed, class_names)
        else:
            convention = mask_conventions.of_colors(observed, class_names, colors, grey_masks)
    like_image, turned = mask_conventions.mask_orientation(every, mask_orientation)
    reading = dataclasses.replace(convention.reading, like_image=like_image)
    return FileSource(info, pairs, reading, notes=(*notes, *convention.notes, *turned))


def _check(count, colors, ignore_label, offset, threshold, grey_masks, mask_orientation):
    """Checks that options are in range and do not contradict each other."""
    if ignore_label is not None:
        checks.in_range(ignore_label, 0, 65535, "ignore_label of folder")
    if offset is not None:
        checks.in_range(offset, 0, 255, "offset of folder")
    if threshold is not None:
        checks.in_range(threshold, 1, 255, "threshold of folder")
        if count != 2 or colors or ignore_label is not None or offset is not None:
            raise ValueError(
                f"folder(threshold={threshold}) is for two classes, without a colors.txt, ignore_label and "
                f"offset. Received {count} classes{', a colors.txt' * bool(colors)}. Leave the others out."
            )
    if grey_masks is not None:
        checks.one_of(grey_masks, ("colors", "labels"), "grey_masks of folder")
        if not colors or ignore_label is not None or offset is not None:
            raise ValueError(
                f"folder(grey_masks={grey_masks}) is for directories with a colors.txt, without ignore_label "
                f"and offset, which speak of labels. Leave it out, or write a colors.txt beside labels.txt."
            )
    if mask_orientation is not None:
        checks.one_of(mask_orientation, ("own", "image"), "mask_orientation of folder")


def _of_split(root: Path, split: str) -> tuple[list[Pair], Sequence[str]]:
    """Returns the pairs of a sub-directory, or a split of all pairs, with notes."""
    notes = ()
    if (root / split).is_dir():
        pairs = _pairs(root / split)
    else:
        if split not in splits.SPLITS:
            raise ValueError(
                f"No split {split!r} in {str(root)!r}. Expected a sub-directory of that name, or one of "
                f"{list(splits.SPLITS)}."
            )
        pairs, note = splits.made(_pairs(root), split)
        notes = (note,)
    if not pairs:
        raise ValueError(
            f"Split {split!r} of {str(root)!r} is empty. Expected images; with fewer than five, make the "
            f"sub-directories train/ and val/ yourself."
        )
    return pairs, notes


def _pairs(root: Path) -> list[Pair]:
    return counterparts(pictures(root / "images"), pictures(root / "masks"), root)


def _of_all_splits(root: Path) -> list[Pair]:
    """Returns the pairs of all splits; faults are reported when a split is loaded."""
    pairs = []
    for folder in (root, *directories_in(root)):
        if (folder / "images").is_dir() and (folder / "masks").is_dir():
            images, masks = pictures(folder / "images"), pictures(folder / "masks")
            pairs += [(images[key], masks[key]) for key in images.keys() & masks.keys()]
    return sorted(pairs)
