"""Sliding windows: a teacher of a fixed input size on images of another size."""

import math
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfsegkd.distillation.teachers.base import Teacher, digest, scaled_size, size_of
from tfsegkd.distillation.terms import LOGITS

Window = tuple[int, int, int, int]

# Lower bound before the logarithm: a float32 softmax can be 0.
_LEAST = 1e-30


class Windows(Teacher):
    """Applies a teacher to sliding windows of its input's shape instead of to the resized image.

    The windows are the largest of this aspect ratio that fit into the image; they overlap where they do not
    cover it evenly. Its logits are the logarithm of the mean probabilities; it has no other layer. Each
    window costs a pass. Scales of `Views` make the windows smaller.

    Args:
        teacher: A teacher that resizes all images to its input size.
        zoom: How many times smaller the windows are than the largest ones.

    Raises:
        ValueError: for a teacher that takes images of any size.
    """

    resizes = True

    def __init__(self, teacher: Teacher, zoom: float = 1.0):
        if teacher.input_size is None:
            raise ValueError(
                f"`windows` is for a teacher that resizes all images to its input size. Received: "
                f"{teacher.name!r}, which takes any size. Leave out `windows`."
            )
        self._teacher, self._zoom = teacher, zoom
        self.name = teacher.name

    def feature_extractor(self, names):
        other = [layer for layer in names if layer != LOGITS]
        if other:
            raise ValueError(
                f"Layer {other[0]!r} not found in teacher {self.name!r}. With windows it has ['logits'] "
                f"only. Leave out windows to distil features."
            )
        run_teacher = self._teacher.feature_extractor([LOGITS])

        def run(images):
            size = size_of(images)
            if not isinstance(size, tuple):
                raise ValueError(
                    f"Windows need images of a known size. Received: {images.shape}. Fix the height and "
                    f"width of the batches."
                )
            return {LOGITS: self._mean(run_teacher, images, list(self._windows(size)))}

        return run

    def _mean(self, run_teacher, images, windows: list[Window]):
        height, width = size_of(images)
        total, passes = 0.0, np.zeros((1, height, width, 1), np.float32)
        for top, left, bottom, right in windows:
            probabilities = tf.nn.softmax(run_teacher(images[:, top:bottom, left:right])[LOGITS])
            margins = [[0, 0], [top, height - bottom], [left, width - right], [0, 0]]
            total += tf.pad(probabilities, margins)
            passes[:, top:bottom, left:right] += 1
        return tf.math.log(tf.maximum(total / passes, _LEAST))

    def _windows(self, size: tuple[int, int]) -> Iterator[Window]:
        """Returns (top, left, bottom, right) of each window."""
        fit = min(side / own for side, own in zip(size, self._teacher.input_size, strict=True))
        height, width = scaled_size(self._teacher.input_size, fit / self._zoom)
        for top in _starts(size[0], height):
            for left in _starts(size[1], width):
                yield top, left, min(top + height, size[0]), min(left + width, size[1])

    def fingerprint(self):
        return digest("windows", self._teacher.fingerprint(), str(float(self._zoom)))

    def scaled(self, scale):
        return Windows(self._teacher, self._zoom * scale)


def _starts(length: int, window: int) -> list[int]:
    """Returns the starts of windows that cover `length`, evenly spaced."""
    count = math.ceil(length / window)
    return [round(index * (length - window) / max(1, count - 1)) for index in range(count)]
