"""Image files, read as arrays."""

import os
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"}
# Of the formats that Pillow knows some run other programs; these do not.
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM", "TGA", "JPEG2000")
_MOST_PIXELS = 100_000_000  # a file of a few bytes may claim any size
_EXIF_ORIENTATION = 0x0112


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads an image file as (H, W, 3) uint8 RGB.

    Grey becomes RGB, transparency is dropped, of 16 bits the upper 8 remain, and a photograph that its camera
    stored turned is turned upright. Of several pictures in a file the first is read.

    Raises:
        ValueError: if the file cannot be decoded, holds 32-bit values, or more than 100 million pixels.
    """
    return np.asarray(decode(path, _rgb))


def decode(path: str | os.PathLike, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Opens an image file, turns it upright and converts it.

    Raises:
        ValueError: if any of that fails; the message names the file.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise ValueError(
                    f"it is {image.height}×{image.width} (height × width), more than {_MOST_PIXELS:,} pixels"
                )
            image.load()
            # Asked for first, because transposing copies even where there is nothing to turn.
            if image.getexif().get(_EXIF_ORIENTATION, 1) != 1:
                image = ImageOps.exif_transpose(image)
            return convert(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"Cannot read {os.fspath(path)!r}: {error}. Expected an image file; replace it, or leave such "
            f"examples out with --skip_bad_examples."
        ) from None


def _rgb(image):
    # Pillow's own conversion would clip deeper values at 255, which leaves a white image.
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are 32-bit values of mode {image.mode!r}, not 8 or 16 bits")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")
