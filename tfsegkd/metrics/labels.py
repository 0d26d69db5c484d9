"""Labels from logits."""

import numpy as np
import tensorflow as tf


def labels_at(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the most probable label of each pixel, after bilinear resizing of the logits.

    Shapes:
        logits: (H, W, C). returns: `size`, uint8.
    """
    return tf.argmax(tf.image.resize(logits, size), -1).numpy().astype(np.uint8)
