"""The critic of the holistic loss."""

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.losses.base import build_part


class Critic(keras.layers.Layer):
    """Scores the similarity of a prediction to the teacher's, given the image.

    Four 4×4 convolutions of stride 2 with spectral normalization, each followed by a LeakyReLU of slope 0.1;
    self-attention after the third and the fourth; a last 4×4 convolution to one channel, whose mean over
    positions is the score. The attention after the third needs (H·W / 64)² floats per image.

    Args:
        width: The channels of the first convolution, doubled by each of the next three.

    Shapes:
        prediction: (N, H, W, C). images: (N, H, W, 3), about −1…1.
        returns: (N,).
    """

    def __init__(self, width: int = 64, name: str | None = None):
        super().__init__(name=name, dtype="float32")
        self.convolutions = [
            SpectralConv(width * 2**level, strides=2, name=f"convolution_{level + 1}") for level in range(4)
        ]
        self.attention = [SelfAttention(name=f"attention_{level}") for level in (3, 4)]
        self.head = keras.layers.Conv2D(1, 4, padding="same", dtype="float32", name="head")

    def build(self, input_shape):
        channels = input_shape[-1] + 3
        for layer in self.convolutions:
            build_part(layer, (None, None, None, channels))
            channels = layer.filters
        for layer, source in zip(self.attention, self.convolutions[2:], strict=True):
            build_part(layer, (None, None, None, source.filters))
        build_part(self.head, (None, None, None, channels))
        super().build(input_shape)

    def call(self, prediction, images, update=False):
        features = tf.concat([prediction, images], -1)
        for level, convolution in enumerate(self.convolutions):
            features = tf.nn.leaky_relu(convolution(features, update=update), 0.1)
            if level >= 2:
                features = self.attention[level - 2](features)
        return tf.reduce_mean(self.head(features), [1, 2, 3])


class SpectralConv(keras.layers.Layer):
    """A 4×4 convolution whose kernel is divided by its largest singular value.

    Each call with `update=True` updates the singular value by one power iteration.

    Reference:
        Miyato et al., ICLR 2018, https://arxiv.org/abs/1802.05957, algorithm 1.
    """

    def __init__(self, filters: int, strides: int, name: str):
        super().__init__(name=name, dtype="float32")
        self.filters, self.strides = filters, strides

    def build(self, input_shape):
        self.kernel = self.add_weight(name="kernel", shape=(4, 4, input_shape[-1], self.filters))
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
        self.left = self.add_weight(
            name="left",
            shape=(self.filters,),
            initializer="random_normal",
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        super().build(input_shape)

    def call(self, inputs, update=False):
        kernel = tf.reshape(self.kernel, [-1, self.filters])
        right = tf.math.l2_normalize(tf.linalg.matvec(kernel, self.left))
        left = tf.math.l2_normalize(tf.linalg.matvec(kernel, right, transpose_a=True))
        left, right = tf.stop_gradient(left), tf.stop_gradient(right)
        if update:
            self.left.assign(left)
        largest = tf.tensordot(right, tf.linalg.matvec(kernel, left), 1)
        return tf.nn.conv2d(inputs, self.kernel / largest, self.strides, "SAME") + self.bias


class SelfAttention(keras.layers.Layer):
    """Self-attention over all positions, scaled by a learned factor that is 0 at first.

    Reference:
        Zhang et al., ICML 2019, https://arxiv.org/abs/1805.08318, eq. 1 to 3.
    """

    def __init__(self, name: str):
        super().__init__(name=name, dtype="float32")

    def build(self, input_shape):
        channels = input_shape[-1]
        inner = max(1, channels // 8)
        self.query, self.key, self.value = (
            keras.layers.Dense(units, dtype="float32", name=name)
            for name, units in (("query", inner), ("key", inner), ("value", channels))
        )
        for layer in (self.query, self.key, self.value):
            build_part(layer, (None, channels))
        self.scale = self.add_weight(name="scale", shape=(), initializer="zeros")
        super().build(input_shape)

    def call(self, inputs):
        shape = tf.shape(inputs)
        rows = tf.reshape(inputs, [shape[0], -1, inputs.shape[-1]])
        looks = tf.nn.softmax(tf.matmul(self.query(rows), self.key(rows), transpose_b=True))
        return inputs + self.scale * tf.reshape(tf.matmul(looks, self.value(rows)), shape)
