"""Frames and masks that lie in files."""

import os
import types
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tfsegkd.data.source import DatasetInfo, Source

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"}


class FileSource(Source):
    """Pairs of an image file and a mask file, read when asked for.

    Args:
        info: What the labels mean.
        pairs: (image, mask) paths.
        relabel: What to read a label of the files as, such as {11: 255} where 11 is void.

    Raises:
        FileNotFoundError: if a file is missing; the message names the first few.
    """

    def __init__(
        self,
        info: DatasetInfo,
        pairs: Sequence[tuple[Path, Path]],
        relabel: Mapping[int, int] = types.MappingProxyType({}),
    ):
        super().__init__(info, [image.name for image, _ in pairs])
        missing = [str(path) for pair in pairs for path in pair if not path.is_file()]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} files of {info.name} are missing, the first: {missing[:3]}. Expected an "
                f"image and a mask for every example. Complete the directory or correct --data_dir."
            )
        self.pairs = list(pairs)
        self.relabel = np.arange(256, dtype=np.uint8)
        for label, meaning in relabel.items():
            self.relabel[label] = meaning

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        image_path, mask_path = self.pairs[index]
        image, mask = read_image(image_path), read_mask(mask_path)
        if image.shape[:2] != mask.shape:
            raise ValueError(
                f"Image {str(image_path)!r} is {_size(image)} but its mask {str(mask_path)!r} is "
                f"{_size(mask)} (height × width). Expected equal sizes; export the mask again."
            )
        labels = self.relabel[mask]
        known = (labels < self.info.num_classes) | (labels == self.info.ignore_label)
        if not known.all():
            row, column = np.argwhere(~known)[0]
            void = np.flatnonzero(self.relabel == self.info.ignore_label).tolist()
            raise ValueError(
                f"Mask {str(mask_path)!r} has label {mask[row, column]} at row {row}, column {column}. "
                f"Expected 0…{self.info.num_classes - 1} for the {self.info.num_classes} classes, or one of "
                f"{void} for void. Correct the mask or the list of classes."
            )
        return image, labels


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads an image file as (H, W, 3) uint8 RGB.

    Grey becomes RGB, transparency is dropped, and of 16 bits the upper 8 remain.

    Raises:
        ValueError: if the file cannot be decoded, or holds 32-bit values.
    """
    return np.asarray(_decode(path, _rgb))


def read_mask(path: str | os.PathLike) -> np.ndarray:
    """Reads a mask file as (H, W) uint8 labels: grey values, or indices into the palette.

    Raises:
        ValueError: if the file cannot be decoded, or is in colour.
    """
    mask = _decode(path, lambda image: image)
    if mask.mode == "1":
        return np.asarray(mask).astype(np.uint8)
    if mask.mode not in ("L", "P"):
        raise ValueError(
            f"Mask {os.fspath(path)!r} is of mode {mask.mode!r}. Expected 8-bit labels, grey or with a "
            f"palette, one channel. Convert colours to labels first."
        )
    return np.asarray(mask)


def _rgb(image):
    # Pillow's own conversion would clip deeper values at 255, which leaves a white image.
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are 32-bit values of mode {image.mode!r}, not 8 or 16 bits")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def _decode(path, convert):
    try:
        with Image.open(path) as image:
            image.load()
            return convert(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"Cannot read {os.fspath(path)!r}: {error}. Expected an image file; replace it, or leave such "
            f"examples out with --skip_bad_examples."
        ) from None


def _size(array):
    return f"{array.shape[0]}×{array.shape[1]}"


def directory(data_dir: str | os.PathLike | None, dataset: str) -> Path:
    """`data_dir` as a path that exists.

    Raises:
        ValueError: if none was given.
        FileNotFoundError: if it is no directory.
    """
    if data_dir is None:
        raise ValueError(f"Data set {dataset!r} lies in files. Say where with --data_dir=DIRECTORY.")
    path = Path(data_dir).expanduser()
    if not path.is_dir():
        raise FileNotFoundError(
            f"--data_dir={str(path)!r} is not a directory. Expected the root of {dataset!r}."
        )
    return path
