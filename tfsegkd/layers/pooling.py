"""Pooling and its inverse, in operations that every `.tflite` runtime has."""

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras


@keras.utils.register_keras_serializable("tfsegkd")
class AdaptiveMean(keras.layers.Layer):
    """Averages an image over a grid of `bins` × `bins` windows, whatever its size.

    Window i of n pixels reaches from ⌊i·n/bins⌋ to ⌈(i+1)·n/bins⌉, as PyTorch's adaptive pooling does, so
    windows overlap by a pixel where `bins` does not divide n.

    Args:
        bins: Windows along each side.

    Shapes:
        inputs: (N, H, W, C), H and W static. returns: (N, bins, bins, C).
    """

    def __init__(self, bins: int, **kwargs):
        super().__init__(**kwargs)
        self.bins = int(checks.positive(bins, "bins"))

    def call(self, inputs):
        x = inputs
        for axis in (1, 2):
            # Strips of means instead of AVERAGE_POOL_2D, which the int8 delegate does not take.
            length, strips = x.shape[axis], []
            for number in range(self.bins):
                first, last = number * length // self.bins, -(-(number + 1) * length // self.bins)
                strip = x[:, first:last] if axis == 1 else x[:, :, first:last]
                strips.append(tf.reduce_mean(strip, axis, keepdims=True))
            x = tf.concat(strips, axis) if self.bins > 1 else strips[0]
        return x

    def get_config(self):
        return {**super().get_config(), "bins": self.bins}


@keras.utils.register_keras_serializable("tfsegkd")
class MaxUnpooling(keras.layers.Layer):
    """Spreads values to where a max pooling found its maxima, and zeros elsewhere.

    The places are found again by comparing the image before the pooling with the enlarged maxima: TFLite has
    no operation for indices of maxima. Where several pixels of a window share the maximum, all get the value.

    Shapes:
        inputs: values (N, h, w, C); the image before the pooling (N, H, W, C); its maxima (N, h, w, C).
        returns: (N, H, W, C).

    Reference:
        Badrinarayanan et al., PAMI 2017, https://arxiv.org/abs/1511.00561, section 3.
        Differs: all places of a shared maximum count, not the first alone.
    """

    def call(self, inputs):
        values, before, maxima = inputs
        size = before.shape[1:3]
        here = tf.equal(before, tf.image.resize(maxima, size, "nearest"))
        values = tf.image.resize(values, size, "nearest")
        return tf.where(here, values, tf.zeros([], values.dtype))
