"""Conventions of masks that are inferred for all splits of a data set."""

import contextlib
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfsegkd.data.images import size_and_orientation
from tfsegkd.data.masks import Color, MaskReading, grey_values, numbered_from, ranges, read_samples
from tfsegkd.data.source import IGNORE_LABEL, spread

_SAMPLE = 256  # masks that are read for inference; more if these are empty
_HEADERS = 4096  # photographs whose orientation is read
_WHITE = 255


@dataclass(frozen=True)
class Observed:
    """The content of a mask file.

    Args:
        values: Its distinct values.
        kind: As of `Samples`.
        white: As of `Samples`.
    """

    values: frozenset[int]
    kind: str
    white: int = _WHITE


@dataclass(frozen=True)
class Convention:
    """An inferred convention.

    Args:
        reading: How masks are read.
        notes: A sentence for each inference.
    """

    reading: MaskReading
    notes: tuple[str, ...] = ()


def observe(masks: Sequence[Path], by_color: bool) -> list[Observed]:
    """Reads evenly spaced masks of a data set, and all if those are empty.

    Unreadable masks are skipped; they are reported when examples are read.

    Args:
        masks: The files, of all splits.
        by_color: Whether there is a list of colors for color masks and palettes.
    """
    first = spread(len(masks), _SAMPLE)
    found = [each for index in first if (each := _observed(masks[index], by_color))]
    rest = iter(sorted(set(range(len(masks))) - set(first)))
    while not any(each.values - {0} for each in found) and (more := [*itertools.islice(rest, _SAMPLE)]):
        found += [each for index in more if (each := _observed(masks[index], by_color))]
    return found


def _observed(path: Path, by_color: bool) -> Observed | None:
    with contextlib.suppress(ValueError, OSError):
        status = path.stat()
        return _values_of(path, status.st_mtime_ns, status.st_size, by_color)
    return None


@functools.lru_cache(maxsize=1 << 16)  # each split needs the same masks
def _values_of(path: Path, _changed: int, _size: int, by_color: bool) -> Observed | None:
    samples = read_samples(path, by_color)
    if samples.kind == "color" and by_color:
        return None
    kind = "grey" if samples.kind == "color" else samples.kind
    values = np.flatnonzero(np.bincount(grey_values(samples, path).ravel()))
    return Observed(frozenset(values.tolist()), kind, samples.white)


def of_labels(observed: Sequence[Observed], class_names: Sequence[str]) -> Convention:
    """Infers the convention of label masks or black and white masks, without a list of colors.

    Raises:
        ValueError: if two conventions are possible; the message says how to choose.
    """
    count = len(class_names)
    deep = [each.values for each in observed if each.kind == "grey" and each.white == _WHITE]
    grey, seen = frozenset().union(*deep), frozenset().union(*(each.values for each in observed))
    if count == 2 and _WHITE in grey:
        return _white(observed, deep, class_names)
    labels = seen - {IGNORE_LABEL}
    if 0 not in labels and count in labels and max(labels) == count:
        numbered = f"1 is {class_names[0]!r}, {count} is {class_names[-1]!r}"
        return Convention(
            MaskReading(numbered_from(1, count, IGNORE_LABEL)),
            (f"The labels of the masks are numbered from 1: {numbered}.",),
        )
    notes = ()
    if labels and 0 not in labels:
        notes = (
            f"No mask that was looked at has the label 0, {class_names[0]!r}. If labels are numbered from 1, "
            f"say folder(offset=1).",
        )
    return Convention(MaskReading(hint=_hint(labels, class_names)), notes)


def _hint(labels, class_names) -> str:
    """Suggests conventions for masks with a label without a class."""
    count = len(class_names)
    if not labels - set(range(count)):
        return ""
    known = f"The masks of the data set have the labels {_listed(labels)}."
    if 0 in labels and max(labels) == count:
        return (
            f"{known} If 0 is the background, write its name on a line of its own before "
            f"{class_names[0]!r} in labels.txt; if labels are numbered from 1 and 0 is void, say "
            f"folder(offset=1)."
        )
    if len(labels) <= count + 1 and labels - set(range(2 * count)):
        lines = ", ".join(f"'{value} {value} {value} NAME'" for value in sorted(labels)[:3])
        return f"{known} If they are shades of grey, write a colors.txt beside labels.txt: {lines}, …"
    return f"{known} Correct the mask or the list of classes."


def _listed(values) -> str:
    text = ranges(sorted(values))
    return text if len(text) <= 60 else f"{text[:60]}…"


def _white(observed, deep, class_names) -> Convention:
    """Infers the meaning of 255 for two classes: the second class, or void."""
    thing = class_names[1]
    choices = (
        f"Say folder(ignore_label=255) if 255 is void. If it is {thing!r}, write a colors.txt beside "
        f"labels.txt: '0 0 0 {class_names[0]}', '255 255 255 {thing}'"
    )
    grey = frozenset().union(*deep)
    between = grey - {0, 1, _WHITE}
    if between:
        raise ValueError(
            f"The masks have the values {_listed(grey)}, and labels.txt names two classes. Expected black "
            f"and white, or labels. If they are black and white that were smoothed, or saved as JPEG, say "
            f"folder(threshold=128); if each value is a class or void, write it into a colors.txt beside "
            f"labels.txt, such as '{max(between)} {max(between)} {max(between)} void'."
        )
    indices = any(each.kind == "palette" and _WHITE in each.values for each in observed)
    ones = [values for values in deep if 1 in values]
    if not ones and not indices:
        return Convention(
            MaskReading({_WHITE: 1, 1: None}, shades=True, hint=f"Masks are black and white. {choices}."),
            (f"The masks are black and white: 255 is {thing!r}.",),
        )
    if not indices and not any(_WHITE in values for values in ones):
        whites = sum(_WHITE in values for values in deep)
        raise ValueError(
            f"Of {len(deep)} masks {whites} have the value 255 and {len(ones)} the value 1, none has both. "
            f"Expected one meaning of 255: void, or {thing!r} as in black and white pictures. {choices}, "
            f"'1 1 1 {thing}'."
        )
    return Convention(MaskReading(), (f"255 in the masks is void, 1 is {thing!r}.",))


def of_colors(
    observed: Sequence[Observed],
    class_names: Sequence[str],
    colors: Mapping[Color, int],
    grey_masks: str | None = None,
) -> Convention:
    """Infers whether grey masks are shades of a list of colors, or labels.

    Args:
        observed: The contents of masks.
        class_names: The classes.
        colors: The label of each color.
        grey_masks: The option 'colors' or 'labels', if given.

    Raises:
        ValueError: if both are possible and differ; the message says how to choose.
    """
    shades = {red: label for (red, green, blue), label in colors.items() if red == green == blue}
    numbers = dict(enumerate(range(len(class_names)))) | {IGNORE_LABEL: IGNORE_LABEL}
    by_shade = Convention(
        MaskReading(
            dict.fromkeys(range(_WHITE + 1)) | shades,
            colors,
            shades=True,
            hint="Grey masks are read by colors.txt; if they hold labels, say folder(grey_masks=labels).",
        ),
        (f"Grey masks are read by colors.txt: {_meanings(shades, class_names)}.",),
    )
    by_number = Convention(
        MaskReading(
            colors=colors,
            hint="Grey masks are read as labels; if colors.txt is meant, say folder(grey_masks=colors).",
        ),
        ("Grey masks hold labels; colors.txt says how they are drawn.",),
    )
    if grey_masks is not None:
        return by_shade if grey_masks == "colors" else by_number
    grey = [each for each in observed if each.kind == "grey"]
    if not grey:
        return Convention(MaskReading(colors=colors))
    # Samples of few bits are labels, or shades after stretching.
    pairs = {(value * (_WHITE // each.white), value) for each in grey for value in each.values}
    as_shades, as_labels = (
        [table.get(pair[way]) for pair in pairs] for way, table in ((0, shades), (1, numbers))
    )
    fits_shades, fits_labels = None not in as_shades, None not in as_labels
    all_grey = len(shades) == len(colors)  # such a list is for grey masks
    differ = any(None not in both and both[0] != both[1] for both in zip(as_shades, as_labels, strict=True))
    if fits_shades != fits_labels and not (differ and fits_labels):
        return by_shade if fits_shades else by_number
    if all_grey and fits_shades == fits_labels:
        return by_shade
    if not differ or not (fits_shades or fits_labels):
        return by_number
    values = frozenset().union(*(each.values for each in grey))
    raise ValueError(
        f"The grey masks have the values {_listed(values)}. Expected shades of colors.txt "
        f"({_meanings(shades, class_names)}), or labels ({_meanings(numbers, class_names)}): they may be "
        f"either, and differ. Say folder(grey_masks=colors) or folder(grey_masks=labels)."
    )


def _meanings(table, class_names) -> str:
    names = [
        f"{value} is {class_names[label] if label < len(class_names) else 'void'!r}"
        for value, label in sorted(table.items())
    ]
    return ", ".join(names[:4]) + ", …" * (len(names) > 4) or "it has no grey"


def above_threshold(threshold: int) -> MaskReading:
    """Returns the convention in which values from `threshold` on are the second of two classes."""
    return MaskReading({value: int(value >= threshold) for value in range(_WHITE + 1)}, shades=True)


def mask_orientation(
    pairs: Sequence[tuple], choice: str | None, dataset: str = "folder", mask_size: Callable | None = None
) -> tuple[bool, tuple[str, ...]]:
    """Infers whether masks without an EXIF orientation belong to the stored pixels of photographs.

    Args:
        pairs: The files of all splits.
        choice: The option 'own' or 'image', if given.
        dataset: The data set's name, for the message.
        mask_size: Returns the (height, width) and EXIF orientation of the second element of a pair; a mask
            file by default.

    Returns:
        Whether masks are rotated with their images, and notes.

    Raises:
        ValueError: if photographs are rotated, their masks are not, and sizes are equal.
    """
    turned, votes = 0, {"own": 0, "image": 0}
    for index in spread(len(pairs), _HEADERS):
        image, mask = pairs[index]
        with contextlib.suppress(ValueError, OSError):
            status = image.stat()
            size, orientation = _header(image, status.st_mtime_ns, status.st_size)
            if orientation not in range(2, 9):
                continue
            drawn, own = (mask_size or size_and_orientation)(mask)
            if own in range(2, 9):
                continue
            turned += 1
            if orientation >= 5 and size[0] != size[1]:
                votes["image" if drawn == size else "own"] += 1
    if not turned:
        return False, ()
    begin = f"{turned} photographs are stored rotated (EXIF orientation), and their masks are not"
    notes = {
        "own": f"{begin}: the photographs are rotated upright, the masks are not changed.",
        "image": f"{begin}: both are rotated upright.",
    }
    if choice is None and not all(votes.values()):
        choice = next((way for way, count in votes.items() if count), None)
    if choice is None and not any(votes.values()):
        raise ValueError(
            f"{begin}; both have the same size, so the orientation of the masks is unknown. Use "
            f"{dataset}(mask_orientation=own) if on upright photographs, {dataset}(mask_orientation=image) "
            f"if on the stored pixels, and look at `evaluation.contact_sheet`."
        )
    choice = choice or "own"
    return choice == "image", (notes[choice],)


@functools.lru_cache(maxsize=1 << 16)
def _header(path: Path, _changed: int, _size: int):
    return size_and_orientation(path)
