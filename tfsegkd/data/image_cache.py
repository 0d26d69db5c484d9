"""A cache of decoded and resized images."""

import threading
from collections.abc import Callable

import numpy as np

from tfsegkd.data.resize import resize_image, resize_mask

Example = tuple[np.ndarray, np.ndarray]


class ImageCache:
    """Images and masks at one size, cached up to a limit.

    Args:
        read: Returns the example of an index, at its own size.
        size: (height, width) of all images. Other aspect ratios are stretched to it, in training as in
            evaluation.
        budget: The maximum number of cached bytes; other examples are decoded again each time.
    """

    def __init__(self, read: Callable[[int], Example], size: tuple[int, int], budget: int):
        self._read, self._size = read, size
        self._images: dict[int, Example] = {}
        self._capacity = budget // (4 * size[0] * size[1])
        self._lock = threading.Lock()

    def __call__(self, index: int, example: Example | None = None) -> Example:
        """Returns the image and mask of an index; `example` is the result of `read`, if available."""
        image = self._images.get(index)
        if image is None:
            image, mask = example or self._read(index)
            image = resize_image(image, self._size), resize_mask(mask, self._size)
            with self._lock:
                if len(self._images) < self._capacity:
                    self._images[index] = image
        return image
