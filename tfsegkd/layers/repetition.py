"""Enlarging by repetition, in operations that every int8 backend runs."""

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras

_MOST_JOINED = 4  # tensors that the int8 delegate concatenates at once, and one to spare


@keras.utils.register_keras_serializable("tfsegkd")
class RepeatPixels(keras.layers.Layer):
    """Enlarges an image by repeating its rows and columns, as a nearest UpSampling2D does.

    In a `.tflite` that one is RESIZE_NEAREST_NEIGHBOR, which the delegate does not run in int8: it cuts the
    network in two. This is reshapes and concatenations, which it does run.

    Args:
        size: How often each row and each column is repeated.

    Shapes:
        inputs: (N, H, W, C), H, W and C static. returns: (N, H·size[0], W·size[1], C).

    Example:
        layers.RepeatPixels((2, 3))(tf.zeros((1, 4, 4, 3))).shape  # (1, 8, 12, 3)
    """

    def __init__(self, size: tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        self.size = tuple(checks.whole(int(times), 1, "size") for times in size)

    def call(self, inputs):
        _, height, width, channels = inputs.shape
        rows, columns = self.size
        x = _repeated(tf.reshape(inputs, [-1, height * width, 1, channels]), columns)
        x = _repeated(tf.reshape(x, [-1, height, 1, width * columns * channels]), rows)
        return tf.reshape(x, [-1, height * rows, width * columns, channels])

    def get_config(self):
        return {**super().get_config(), "size": self.size}


def _repeated(x, times):
    """`x` so many times along its axis of length 1, a few copies at once."""
    whole = x
    while times > 1:
        step = next((count for count in range(_MOST_JOINED, 1, -1) if times % count == 0), None)
        if step is None:  # a large prime
            return tf.concat([whole] * times, 2)
        whole, times = tf.concat([whole] * step, 2), times // step
    return whole
