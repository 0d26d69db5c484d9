"""Labels from logits."""

import math

import numpy as np
import tensorflow as tf

# Values that are resized at once: those of a photograph, with all its classes, would take gigabytes.
_MOST_VALUES = 64 << 20


def labels_at(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the most probable label of each pixel, after bilinear resizing of the logits.

    Args:
        logits: (N, H, W, C).
        size: (height, width) of the labels.

    Returns:
        (N, height, width) labels.

    Shapes:
        logits: (H, W, C). returns: `size`, uint8.

    Example:
        metrics.labels_at(np.zeros((1, 4, 6, 3), np.float32), (8, 12)).shape  # (1, 8, 12)
    """
    logits = tf.convert_to_tensor(logits)
    height, width = size
    at_once = max(1, _MOST_VALUES // (width * math.prod(logits.shape[:-3]) * logits.shape[-1]))
    if at_once >= height:
        return tf.argmax(tf.image.resize(logits, size), -1).numpy().astype(np.uint8)
    images = logits if len(logits.shape) == 4 else logits[None]
    strips = [_strip(images, size, top, min(at_once, height - top)) for top in range(0, height, at_once)]
    found = np.concatenate(strips, 1)
    return found if len(logits.shape) == 4 else found[0]


def _strip(logits, size, top, rows):
    """Returns the labels of some rows of the resized image."""
    scale = (size[0] / logits.shape[1], size[1] / logits.shape[2])
    resized = tf.raw_ops.ScaleAndTranslate(
        images=logits,
        size=(rows, size[1]),
        scale=scale,
        translation=(-float(top), 0.0),
        kernel_type="triangle",
        antialias=False,
    )
    return tf.argmax(resized, -1).numpy().astype(np.uint8)
