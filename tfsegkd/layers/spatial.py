"""Layers that fit sizes to one another.

Their configuration holds no size, so a network made of them can be rebuilt for any input
(`tfsegkd.models.at_size`). With the static shapes of our networks they cost one op in a `.tflite`, or none.
"""

import tensorflow as tf

from tfsegkd._keras import keras


@keras.utils.register_keras_serializable("tfsegkd")
class PadToStride(keras.layers.Layer):
    """Pads with zeros at the bottom and on the right until both sides are multiples of `stride`.

    Args:
        stride: The largest stride of the network that follows.

    Shapes:
        inputs: (N, H, W, C), H and W static. returns: (N, H', W', C).

    Example:
        layers.PadToStride(stride=16)(tf.zeros((1, 20, 32, 3))).shape  # (1, 32, 32, 3)
    """

    def __init__(self, stride: int, **kwargs):
        super().__init__(**kwargs)
        self.stride = stride

    def call(self, inputs):
        height, width = inputs.shape[1:3]
        below, right = -height % self.stride, -width % self.stride
        if not below and not right:
            return inputs
        return tf.pad(inputs, [[0, 0], [0, below], [0, right], [0, 0]])

    def get_config(self):
        return {**super().get_config(), "stride": self.stride}


@keras.utils.register_keras_serializable("tfsegkd")
class CropLike(keras.layers.Layer):
    """Cuts the bottom and the right of the first tensor down to the size of the second.

    Shapes:
        inputs: (N, H', W', C) and a reference (N, H, W, any). returns: (N, H, W, C).

    Example:
        layers.CropLike()([tf.zeros((1, 8, 8, 3)), tf.zeros((1, 5, 6, 1))]).shape  # (1, 5, 6, 3)
    """

    def call(self, inputs):
        tensor, reference = inputs
        height, width = reference.shape[1:3]
        if tuple(tensor.shape[1:3]) == (height, width):
            return tensor
        return tensor[:, :height, :width, :]


@keras.utils.register_keras_serializable("tfsegkd")
class ResizeLike(keras.layers.Layer):
    """Resizes the first tensor bilinearly to the size of the second.

    Shapes:
        inputs: (N, h, w, C) and a reference (N, H, W, any). returns: (N, H, W, C).

    Example:
        layers.ResizeLike()([tf.zeros((1, 4, 4, 3)), tf.zeros((1, 9, 8, 1))]).shape  # (1, 9, 8, 3)
    """

    def call(self, inputs):
        tensor, reference = inputs
        return tf.image.resize(tensor, reference.shape[1:3])
