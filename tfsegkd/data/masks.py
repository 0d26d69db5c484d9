"""Reading mask files as labels."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from PIL import Image

from tfsegkd.data.images import decode
from tfsegkd.data.source import IGNORE_LABEL, DatasetInfo

Color = tuple[int, int, int]
_VALUES = 1 << 16  # maximum of a mask file, one channel of 16 bits
_UNKNOWN = -1
_JPEG = "JPEG changes the values of a mask: export it as PNG."


def read_mask(path: str | os.PathLike) -> np.ndarray:
    """Reads a mask file as (H, W) labels: grey values of 8 or 16 bits, or indices into the palette.

    An RGB mask whose pixels are all grey is read as grey. GIF files are read by color, because writers change
    their indices. Grey samples of 1, 2 or 4 bits are numbers from 0 to 1, 3 or 15.

    Args:
        path: An image file: grey, or with a palette.

    Returns:
        (H, W) labels.

    Raises:
        ValueError: if the file cannot be decoded, is in color, is partly transparent, has values beyond
            65535, or several channels of more than 8 bits.

    Example:
        Image.fromarray(source[0][1]).save("mask.png")
        data.read_mask("mask.png").shape  # (32, 48)
    """
    return grey_values(read_samples(path, by_color=False), path)


@dataclass(frozen=True)
class MaskReading:
    """How the mask files of a data set are read; the same for all its splits.

    Args:
        relabel: The label of values that differ from their label, such as {11: 255} if 11 is void; None for a
            value that must not occur. Indices of palettes are always labels.
        colors: The label of each (R, G, B), for color masks and palettes; without it, color masks are
            refused.
        shades: Whether grey values are shades from 0 to 255 rather than labels: samples of fewer than 8 bits
            are then stretched to that range.
        like_image: Whether masks without an EXIF orientation have that of their images.
        hint: A suggestion for the error about an invalid value.
    """

    relabel: Mapping[int, int | None] = field(default_factory=dict)
    colors: Mapping[Color, int] | None = None
    shades: bool = False
    like_image: bool = False
    hint: str = ""


def numbered_from(offset: int, count: int, ignore_label: int) -> dict[int, int | None]:
    """Returns the `relabel` of masks whose first class has the label `offset`; lower labels are void."""
    relabel = dict.fromkeys(range(offset), IGNORE_LABEL) | {IGNORE_LABEL: None}
    relabel |= {value: value - offset for value in range(offset, offset + count)}
    return relabel | {ignore_label: IGNORE_LABEL}


class LabelTable:
    """Maps the values of masks to labels.

    Args:
        info: The classes.
        relabel: As of `MaskReading`.
        hint: As of `MaskReading`.
    """

    def __init__(self, info: DatasetInfo, relabel: Mapping[int, int | None], hint: str = ""):
        self._meanings = np.full(_VALUES + 1, _UNKNOWN, np.int16)  # the last is for all larger values
        self._meanings[: info.num_classes] = np.arange(info.num_classes)
        self._meanings[info.ignore_label] = info.ignore_label
        for value, label in relabel.items():
            self._meanings[value] = _UNKNOWN if label is None else label
        self._info, self._hint = info, hint or "Correct the mask or the list of classes."

    def __call__(self, values: np.ndarray, name: str) -> np.ndarray:
        """Returns the labels of a mask, (H, W) uint8.

        Raises:
            ValueError: if a pixel has a value without a class; `name` is used in the message.
        """
        indices = values.astype(np.int32)
        indices[(indices < 0) | (indices >= _VALUES)] = _VALUES
        labels = self._meanings[indices]
        if labels.min(initial=0) < 0:
            row, column = np.argwhere(labels < 0)[0]
            void = self._meanings == self._info.ignore_label
            known = (self._meanings >= 0) & ~void
            or_void = f", or {ranges(np.flatnonzero(void))} for void" if void.any() else ""
            raise ValueError(
                f"Mask {name!r} has label {values[row, column]} at row {row}, column {column}. Expected "
                f"{ranges(np.flatnonzero(known))} for the {self._info.num_classes} classes{or_void}. "
                f"{self._hint}"
            )
        return labels.astype(np.uint8)


class ColorTable:
    """Maps the colors of masks to labels.

    Args:
        info: The classes.
        colors: The label of each (R, G, B).
    """

    def __init__(self, info: DatasetInfo, colors: Mapping[Color, int]):
        ordered = sorted((int(_packed(np.array(color))), label) for color, label in colors.items())
        self._keys, self._meanings = (np.array(part) for part in zip(*ordered, strict=True))
        self._info = info

    def __call__(self, pixels: np.ndarray, name: str) -> np.ndarray:
        """Returns the labels of a color mask, (H, W) uint8.

        Raises:
            ValueError: if a pixel has a color without a class; `name` is used in the message.
        """
        packed = _packed(pixels)
        indices = np.minimum(np.searchsorted(self._keys, packed), len(self._keys) - 1)
        unknown = self._keys[indices] != packed
        if unknown.any():
            row, column = np.argwhere(unknown)[0]
            raise ValueError(
                f"Mask {name!r} has color {tuple(pixels[row, column].tolist())} at row {row}, column "
                f"{column}, without a class ({unknown.sum()} such pixels). Expected the "
                f"{len(self._keys)} colors of {self._info.name!r}. Correct the mask or the list of colors."
            )
        return self._meanings[indices].astype(np.uint8)


class LabelReader:
    """Reads mask files as the labels of a data set.

    Args:
        info: The classes.
        reading: How masks are read.
    """

    def __init__(self, info: DatasetInfo, reading: MaskReading):
        self._by_value = LabelTable(info, reading.relabel, reading.hint)
        # Indices of palettes are not shades: they are labels and the default void.
        self._by_index = LabelTable(info, {} if reading.shades else reading.relabel, reading.hint)
        self._by_color = ColorTable(info, reading.colors) if reading.colors else None
        self._reading = reading

    def __call__(self, path: str | os.PathLike, orientation: int = 1) -> np.ndarray:
        """Returns the labels of a mask file, (H, W) uint8.

        Args:
            path: The file.
            orientation: The EXIF orientation for a mask without one.

        Raises:
            ValueError: if the file is not a mask, or a pixel has a value or color without a class.
        """
        name, shades = os.fspath(path), self._reading.shades
        samples = read_samples(path, self._by_color is not None, orientation)
        if samples.kind == "color" and self._by_color is not None:
            return self._refused_if_jpeg(samples, self._by_color, samples.values, name)
        if samples.kind == "palette":
            return self._by_index(samples.values, name)
        values = grey_values(samples, path, shades)
        if samples.is_jpeg and not shades:
            raise ValueError(f"Mask {name!r} is a JPEG. Expected labels. {_JPEG}")
        return self._refused_if_jpeg(samples, self._by_value, values, name)

    @staticmethod
    def _refused_if_jpeg(samples, table, values, name):
        try:
            return table(values, name)
        except ValueError as error:
            raise ValueError(f"{error} {_JPEG}" if samples.is_jpeg else str(error)) from None


class Samples(NamedTuple):
    """The content of a mask file, before conversion to labels.

    Args:
        values: (H, W) of grey values or indices, or (H, W, 3) of colors.
        kind: 'grey', 'palette' or 'color'.
        white: The maximum of grey samples: 1, 3, 15, or 255.
        is_jpeg: Whether the file is a JPEG, which changes values.
    """

    values: np.ndarray
    kind: str
    white: int = 255
    is_jpeg: bool = False


def read_samples(path: str | os.PathLike, by_color: bool, orientation: int = 1) -> Samples:
    """Reads the content of a mask file.

    Args:
        path: The file.
        by_color: Whether colors are used: palettes are converted to colors, and transparency is dropped.
        orientation: The EXIF orientation for a mask without one.

    Raises:
        ValueError: if the file cannot be decoded or is not a mask.
    """
    name = os.fspath(path)
    return decode(path, lambda mask, stored: _samples(mask, stored, name, by_color), orientation)


def grey_values(samples: Samples, path: str | os.PathLike, shades: bool = False) -> np.ndarray:
    """Returns the values of a mask of one channel, or of three equal ones, (H, W).

    Args:
        samples: The content of the file.
        path: The file, for the message.
        shades: Whether values of fewer than 8 bits are stretched to 0…255.

    Raises:
        ValueError: if it is in color.
    """
    if samples.kind == "color":
        return one_channel(samples.values, os.fspath(path))
    if shades and samples.white != 255:
        return samples.values * np.uint8(255 // samples.white)
    return samples.values


def _samples(mask: Image.Image, stored, name: str, by_color: bool) -> Samples:
    is_jpeg = stored.format in ("JPEG", "MPO")
    mode = mask.mode
    if ";16" in stored.raw_mode and not mode.startswith("I"):
        # Pillow keeps the upper 8 bits, but labels are in the lower ones.
        raise _not_a_mask(name, f"has several channels of 16 bits ({stored.raw_mode!r})")
    if mode in ("LA", "RGBA"):
        if not by_color and mask.getextrema()[-1][0] < 255:
            raise _not_a_mask(name, "is partly transparent", "Remove the transparency.")
        mask = mask.convert(mode[:-1] if mode == "RGBA" else "L")
    elif mode == "P" and (by_color or stored.format == "GIF"):
        mask = mask.convert("RGB")
    values = np.asarray(mask)
    if mask.mode == "RGB":
        return Samples(values, "color", is_jpeg=is_jpeg)
    if mask.mode == "P":
        used = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
        palette = np.zeros((256, 3), np.uint8)
        found = np.array(mask.getpalette("RGB"), np.uint8).reshape(-1, 3)
        palette[: len(found)] = found
        alike = (palette[used] == used[:, None]).all()
        return Samples(values, "grey" if alike and used.max(initial=0) == 255 else "palette")
    if mask.mode == "1":
        return Samples(values.astype(np.uint8), "grey", white=1)
    if mask.mode == "L":
        white = {"L;2": 3, "L;4": 15}.get(stored.raw_mode, 255)  # which Pillow stretches to 255
        return Samples(values // np.uint8(255 // white), "grey", white, is_jpeg)
    if mask.mode.startswith("I") and 0 <= values.min() <= values.max() < _VALUES:
        return Samples(values.astype(np.uint16), "grey")
    raise _not_a_mask(name, f"is of mode {mode!r}")


def _not_a_mask(name, what, fix="Export the mask again."):
    return ValueError(
        f"Mask {name!r} {what}. Expected labels of 8 or 16 bits, grey or with a palette, one channel. {fix}"
    )


def one_channel(values: np.ndarray, name: str) -> np.ndarray:
    """Converts a mask of three equal channels to one channel.

    Raises:
        ValueError: if the channels differ; `name` is used in the message.
    """
    colored = (values != values[..., :1]).any(-1)
    if colored.any():
        row, column = np.argwhere(colored)[0]
        raise ValueError(
            f"Mask {name!r} is in color: {tuple(values[row, column].tolist())} at row {row}, column "
            f"{column}. Expected one label a pixel, grey or with a palette. Convert colors to labels, or "
            f"define them in the colors.txt of `dataset=folder`."
        )
    return values[..., 0]


def _packed(colors: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(colors.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue


def ranges(numbers) -> str:
    """Formats ascending numbers as ranges: 0…10, 255."""
    numbers = np.asarray(numbers)
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{run[0]}…{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
