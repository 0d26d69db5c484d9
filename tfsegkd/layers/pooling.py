"""Pooling and its inverse, in operations that every `.tflite` runtime has."""

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras

MOST_JOINED = 5  # tensors that the int8 delegate concatenates at once


def strip_means(x: tf.Tensor, bins: int, axis: int) -> tf.Tensor:
    """The means of `bins` strips of (N, H, W, C) along `axis`, which keeps as many places.

    Strip i of n pixels reaches from ⌊i·n/bins⌋ to ⌈(i+1)·n/bins⌉. Slices and means stand in for
    AVERAGE_POOL_2D, which the int8 delegate does not take.
    """
    length, strips = x.shape[axis], []
    for number in range(bins):
        first, last = number * length // bins, -(-(number + 1) * length // bins)
        strip = x[:, first:last] if axis == 1 else x[:, :, first:last]
        strips.append(tf.reduce_mean(strip, axis, keepdims=True))
    while len(strips) > 1:
        groups = (strips[at : at + MOST_JOINED] for at in range(0, len(strips), MOST_JOINED))
        strips = [tf.concat(group, axis) if len(group) > 1 else group[0] for group in groups]
    return strips[0]


@keras.utils.register_keras_serializable("tfsegkd")
class AdaptiveMean(keras.layers.Layer):
    """Averages an image over a grid of `bins` × `bins` windows, whatever its size.

    Window i of n pixels reaches from ⌊i·n/bins⌋ to ⌈(i+1)·n/bins⌉, as PyTorch's adaptive pooling does, so
    windows overlap by a pixel where `bins` does not divide n.

    Args:
        bins: Windows along each side.

    Shapes:
        inputs: (N, H, W, C), H and W static. returns: (N, bins, bins, C).

    Example:
        layers.AdaptiveMean(bins=2)(tf.ones((1, 5, 7, 3))).shape  # (1, 2, 2, 3)
    """

    def __init__(self, bins: int, **kwargs):
        super().__init__(**kwargs)
        self.bins = int(checks.positive(bins, "bins"))

    def call(self, inputs):
        return strip_means(strip_means(inputs, self.bins, axis=1), self.bins, axis=2)

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

    Example:
        x = tf.reshape(tf.range(16.0), (1, 4, 4, 1))
        pooled = tf.nn.max_pool2d(x, 2, 2, "VALID")
        layers.MaxUnpooling()([pooled, x, pooled]).shape  # (1, 4, 4, 1)

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
