"""Resizing of images and masks."""

import numpy as np
from PIL import Image


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes (H, W, 3) uint8 to (height, width), bilinear, with antialiasing.

    Args:
        image: (H, W, 3) uint8.
        size: (height, width) in pixels.

    Returns:
        (height, width, 3) uint8.

    Example:
        data.resize_image(np.zeros((64, 96, 3), np.uint8), (32, 48)).shape  # (32, 48, 3)
    """
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes (H, W) uint8 labels to (height, width) by nearest neighbor.

    Args:
        mask: (H, W) uint8.
        size: (height, width) in pixels.

    Returns:
        (height, width) uint8.

    Example:
        data.resize_mask(np.eye(4, dtype=np.uint8), (2, 2)).shape  # (2, 2)
    """
    return np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))
