"""Layers that move channels or gate them."""

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras


@keras.utils.register_keras_serializable("tfsegkd")
class ChannelShuffle(keras.layers.Layer):
    """Deals the channels of each group out to all groups, so that grouped convolutions see one another.

    Channel j of group i comes to place j·groups + i.

    Args:
        groups: How many groups the channels consist of.

    Shapes:
        inputs, returns: (N, H, W, C), equal. `groups` divides C.

    Example:
        pixel = tf.constant([[[[0, 1, 2, 3]]]])
        layers.ChannelShuffle(groups=2)(pixel).numpy().tolist()  # [[[[0, 2, 1, 3]]]]

    Reference:
        Zhang et al., CVPR 2018, https://arxiv.org/abs/1707.01083, section 3.1.
    """

    def __init__(self, groups: int, **kwargs):
        super().__init__(**kwargs)
        self.groups = int(checks.positive(groups, "groups"))

    def build(self, input_shape):
        if input_shape[-1] % self.groups:
            raise ValueError(
                f"Layer {self.name!r} cannot shuffle {input_shape[-1]} channels of {self.groups} groups. "
                f"Choose groups that divide the channels."
            )
        super().build(input_shape)

    def call(self, inputs):
        height, width, channels = inputs.shape[1:]
        # Rank 4 throughout: the int8 delegate transposes no higher ranks.
        x = tf.reshape(inputs, [-1, height * width, self.groups, channels // self.groups])
        return tf.reshape(tf.transpose(x, [0, 1, 3, 2]), [-1, height, width, channels])

    def get_config(self):
        return {**super().get_config(), "groups": self.groups}


@keras.utils.register_keras_serializable("tfsegkd")
class HardGate(keras.layers.Layer):
    """ReLU6(x + 3): six times the hard sigmoid, in one int8 addition.

    A Multiply of x with its gate is six times the hard swish. The layer that follows takes the factor into
    its weights, so no operation is spent on it.

    Shapes:
        inputs, returns: any, equal.

    Example:
        layers.HardGate()(tf.constant([[[[-9.0, 0.0, 9.0]]]])).numpy().ravel().tolist()  # [0.0, 3.0, 6.0]

    Reference:
        Howard et al., ICCV 2019, https://arxiv.org/abs/1905.02244, section 5.2.
        Differs: without the factor 1/6.
    """

    def call(self, inputs):
        return tf.nn.relu6(inputs + 3.0)
