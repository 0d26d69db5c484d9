"""Mask files, and what their pixels mean."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from tfsegkd.data.images import decode
from tfsegkd.data.source import DatasetInfo

Color = tuple[int, int, int]
_VALUES = 1 << 16  # that a mask file can tell apart, one channel of 16 bits
_UNKNOWN = -1


def read_mask(path: str | os.PathLike) -> np.ndarray:
    """Reads a mask file as (H, W) labels: grey values of 8 or 16 bits, or indices into the palette.

    A picture in colour whose every pixel is grey is read as grey.

    Raises:
        ValueError: if the file cannot be decoded, is in colour, or holds values beyond 65535.
    """
    return _values(_open(path), path)


class LabelTable:
    """What the values of masks mean in the labels of a data set.

    Args:
        info: The classes.
        relabel: What a value is read as where it is not its own number: a label, or None for a value that
            must not occur, such as {11: 255} where 11 is void.
    """

    def __init__(self, info: DatasetInfo, relabel: Mapping[int, int | None]):
        self._meanings = np.full(_VALUES + 1, _UNKNOWN, np.int16)  # the last is for all values beyond
        self._meanings[: info.num_classes] = np.arange(info.num_classes)
        self._meanings[info.ignore_label] = info.ignore_label
        for value, label in relabel.items():
            self._meanings[value] = _UNKNOWN if label is None else label
        self._info = info

    def __call__(self, values: np.ndarray, name: str) -> np.ndarray:
        """The labels of a mask, (H, W) uint8.

        Raises:
            ValueError: if a pixel has a value without a class; `name` is the mask's for the message.
        """
        places = values.astype(np.int32)
        places[(places < 0) | (places >= _VALUES)] = _VALUES
        labels = self._meanings[places]
        if labels.min(initial=0) < 0:
            row, column = np.argwhere(labels < 0)[0]
            void = self._meanings == self._info.ignore_label
            known = (self._meanings >= 0) & ~void
            raise ValueError(
                f"Mask {name!r} has label {values[row, column]} at row {row}, column {column}. Expected "
                f"{_ranges(known)} for the {self._info.num_classes} classes, or {_ranges(void)} for void. "
                f"{_cure(name)}"
            )
        return labels.astype(np.uint8)


class ColorTable:
    """What the colours of masks mean.

    Args:
        info: The classes.
        colors: The label of each (R, G, B).
    """

    def __init__(self, info: DatasetInfo, colors: Mapping[Color, int]):
        ordered = sorted((int(_packed(np.array(color))), label) for color, label in colors.items())
        self._keys, self._meanings = (np.array(part) for part in zip(*ordered, strict=True))
        self._info = info

    def __call__(self, pixels: np.ndarray, name: str) -> np.ndarray:
        """The labels of a mask in colour, (H, W) uint8.

        Raises:
            ValueError: if a pixel has a colour without a class; `name` is the mask's for the message.
        """
        packed = _packed(pixels)
        places = np.minimum(np.searchsorted(self._keys, packed), len(self._keys) - 1)
        unknown = self._keys[places] != packed
        if unknown.any():
            row, column = np.argwhere(unknown)[0]
            raise ValueError(
                f"Mask {name!r} has colour {tuple(pixels[row, column].tolist())} at row {row}, column "
                f"{column}, which no class has ({unknown.sum()} such pixels). Expected the "
                f"{len(self._keys)} colours of {self._info.name!r}. {_cure(name)}"
            )
        return self._meanings[places].astype(np.uint8)


class LabelReader:
    """Turns mask files into the labels of a data set.

    Args:
        info: The classes.
        relabel: As for `LabelTable`.
        colors: As for `ColorTable`. With them, masks in colour and masks with a palette are read by colour;
            without, masks in colour are refused.
    """

    def __init__(
        self, info: DatasetInfo, relabel: Mapping[int, int | None], colors: Mapping[Color, int] | None = None
    ):
        self._by_value = LabelTable(info, relabel)
        self._by_color = ColorTable(info, colors) if colors else None

    def __call__(self, path: str | os.PathLike) -> np.ndarray:
        """The labels of a mask file, (H, W) uint8.

        Raises:
            ValueError: if the file is no mask, or a pixel has a value or colour without a class.
        """
        mask = _open(path)
        if self._by_color is not None and mask.mode in ("P", "RGB", "RGBA"):
            return self._by_color(np.asarray(mask.convert("RGB")), os.fspath(path))
        return self._by_value(_values(mask, path), os.fspath(path))


def one_channel(values: np.ndarray, name: str) -> np.ndarray:
    """A mask of three channels as one of one channel.

    Raises:
        ValueError: if the channels differ; `name` is the mask's for the message.
    """
    colored = (values != values[..., :1]).any(-1)
    if colored.any():
        row, column = np.argwhere(colored)[0]
        raise ValueError(
            f"Mask {name!r} is in colour: {tuple(values[row, column].tolist())} at row {row}, column "
            f"{column}. Expected one label a pixel, grey or with a palette. Convert colours to labels, or "
            f"write down what they mean in the colors.txt of --dataset=folder."
        )
    return values[..., 0]


def _open(path):
    return decode(path, lambda image: image)


def _values(mask: Image.Image, path) -> np.ndarray:
    values = np.asarray(mask)
    if mask.mode in ("L", "P"):
        return values
    if mask.mode == "1":
        return values.astype(np.uint8)
    if mask.mode == "RGB":
        return one_channel(values, os.fspath(path))
    if mask.mode.startswith("I") and 0 <= values.min() <= values.max() < _VALUES:
        return values.astype(np.uint16)
    raise ValueError(
        f"Mask {os.fspath(path)!r} is of mode {mask.mode!r}. Expected labels of 8 or 16 bits, grey or with a "
        f"palette, one channel. Export the mask again."
    )


def _packed(colors: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(colors.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue


def _ranges(which: np.ndarray) -> str:
    """The numbers that a boolean array marks, shortly: 0…10, 255."""
    numbers = np.flatnonzero(which)
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{run[0]}…{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _cure(name: str) -> str:
    if Path(name).suffix.lower() in (".jpg", ".jpeg"):
        return "JPEG changes the values of a mask: export it as PNG."
    return "Correct the mask or the list of classes."
