"""Reading image files."""

import os
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"}
# Some formats of Pillow run other programs; these do not.
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM", "TGA", "JPEG2000")
_MOST_PIXELS = 100_000_000  # a file of a few bytes may claim any size
_EXIF_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Stored(NamedTuple):
    """The storage format of a file, which an opened image does not have.

    Args:
        format: The file's format, such as 'PNG'.
        raw_mode: Pillow's name of the samples in the file, such as 'RGB;16B' or 'L;2'.
    """

    format: str
    raw_mode: str


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads an image file as (H, W, 3) uint8 RGB.

    Grey becomes RGB, transparency is dropped, 16 bits are reduced to 8, and the EXIF orientation is applied.
    Of several images in a file the first is read.

    Args:
        path: An image file of any format that Pillow reads.

    Returns:
        (H, W, 3) uint8, upright.

    Raises:
        ValueError: if the file cannot be decoded, has 32-bit values, or more than 100 million pixels.

    Example:
        Image.fromarray(source[0][0]).save("frame.png")
        data.read_image("frame.png").shape  # (32, 48, 3)
    """
    return np.asarray(decode(path, _rgb))


def decode(
    path: str | os.PathLike, convert: Callable[[Image.Image, Stored], Any], orientation: int = 1
) -> Any:
    """Opens an image file, applies its orientation and converts it.

    Args:
        path: The file.
        convert: A function of the upright image and its storage format.
        orientation: The EXIF orientation for files without one.

    Raises:
        ValueError: if any of that fails; the message names the file.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise ValueError(
                    f"it is {image.height}×{image.width} (height × width), more than {_MOST_PIXELS:,} pixels"
                )
            stored = Stored(image.format, _raw_mode(image))
            image.load()
            exif = image.getexif()
            # Not by ImageOps.exif_transpose, which writes all EXIF data anew and fails at a single bad tag.
            turn = _TURNS.get(exif.get(_EXIF_ORIENTATION, orientation))
            if turn is not None:
                image = image.transpose(turn)
            return convert(image, stored)
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(
            f"Cannot read {os.fspath(path)!r}: {error}. Expected an image file; replace it, or leave such "
            f"examples out with `skip_bad=True`."
        ) from None


def size_and_orientation(path: str | os.PathLike) -> tuple[tuple[int, int], int]:
    """Returns the stored (height, width) of an image and its EXIF orientation, from the header.

    Raises:
        ValueError: if the file is not an image.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            # The EXIF data of a PNG may follow its pixels: only earlier data are read here.
            exif = image.getexif() if image.format != "PNG" or "exif" in image.info else {}
            return (image.height, image.width), exif.get(_EXIF_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(f"Cannot read {os.fspath(path)!r}: {error}.") from None


def upright(mask: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation to a mask of stored pixels."""
    if orientation not in _TURNS:
        return mask
    return np.asarray(Image.fromarray(mask).transpose(_TURNS[orientation]))


def _raw_mode(image):
    if not image.tile:
        return image.mode
    arguments = image.tile[0].args
    if isinstance(arguments, str):
        return arguments
    raw_mode, *more = arguments or (image.mode,)
    # Portable maps have their maximum value instead.
    return f"{raw_mode};16" if image.format == "PPM" and more and more[0] > 255 else str(raw_mode)


def _rgb(image, _):
    # Pillow's conversion would clip larger values at 255, which gives a white image.
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are 32-bit values of mode {image.mode!r}, not 8 or 16 bits")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")
