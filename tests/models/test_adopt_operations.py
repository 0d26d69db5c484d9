"""Operations that libraries are written with: what they become computes the same and is made of layers."""

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd import models, quantization
from tfsegkd._keras import keras, keras3

SHAPE = (12, 16, 3)
INFINITY = float("inf")


def images():
    return np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype(np.float32)


def adopted(k, body):
    """A network with `body` in its middle, what it becomes, and the report."""
    k.utils.set_random_seed(2)
    inputs = k.Input(SHAPE)
    x = k.layers.Conv2D(8, 3, padding="same", kernel_initializer="random_normal")(inputs)
    model = k.Model(inputs, k.layers.Conv2D(3, 1)(body(k, x)))
    network, report = models.adopt(model)
    made = np.asarray(model(images()))
    if made.shape[1:3] != SHAPE[:2]:
        made = tf.image.resize(made, SHAPE[:2]).numpy()
    np.testing.assert_allclose(network(images()), made, rtol=1e-4, atol=1e-5 * np.abs(made).max())
    assert not any(isinstance(layer, keras.layers.Lambda) for layer in network.layers)
    return network, report


def padded_pool(side, strides, amount):
    return lambda k, x: k.layers.MaxPooling2D(side, strides)(
        k.ops.pad(x, ((0, 0), (amount, amount), (amount, amount), (0, 0)), constant_values=-INFINITY)
    )


KERAS3 = {
    "equal parts of channels": lambda k, x: k.ops.concatenate(k.ops.split(x, 4, axis=-1)[::-1], axis=-1),
    "parts of the width": lambda k, x: k.ops.concatenate(k.ops.split(x, [5, 9], axis=2)[::-1], axis=2),
    "some channels": lambda k, x: x[..., 1:7:2],
    "mean, maximum and sum": lambda k, x: k.ops.concatenate(
        [getattr(k.ops, name)(x, axis=-1, keepdims=True) for name in ("mean", "max", "sum")], axis=-1
    ),
    "every second pixel": lambda k, x: k.ops.concatenate([x[:, ::2, ::2], x[:, 1::2, 1::2]], axis=-1),
    "pool of 3 over -inf": padded_pool(3, 2, 1),
    "pool of 5 over -inf": padded_pool(5, 1, 2),
    "Lambda": lambda k, x: k.layers.Lambda(lambda t: (t - 3.0) / 4.0)(x),
}


@pytest.mark.parametrize("kind", KERAS3)
def test_operations_of_keras_3(kind):
    adopted(keras3, KERAS3[kind])


TF_KERAS = {
    "unequal parts of channels": lambda k, x: tf.concat(tf.split(x, [1, 4, 3], axis=-1)[::-1], -1),
    "depth to space": lambda k, x: tf.nn.depth_to_space(x, 2),
    "space to depth": lambda k, x: tf.nn.space_to_depth(x, 2),
    "a convolution": lambda k, x: tf.nn.conv2d(x, tf.reshape(tf.range(96.0) / 96, [2, 2, 8, 3]), 1, "SAME"),
    "axes of length 1": lambda k, x: x * k.layers.GlobalMaxPooling2D()(x)[:, None, None],
    "Lambda": lambda k, x: k.layers.Lambda(lambda t: tf.nn.relu(t[..., :4]) * 2.0)(x),
}


@pytest.mark.parametrize("kind", TF_KERAS)
def test_operations_of_tf_keras(kind):
    adopted(keras, TF_KERAS[kind])


class Scaled(keras3.layers.Layer):
    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="random_normal", name="gamma")

    def call(self, x):
        return x * self.gamma


def test_weights_of_a_users_layer_become_constants_and_that_is_said():
    network, report = adopted(keras3, lambda k, x: Scaled(name="scaled")(x))
    assert report.replaced[0] == "the weights of 'scaled' (Scaled) → constants, which do not train"
    assert not network.get_layer("scaled").trainable
    quantization.quantize(network, calibration=[images()])


def test_statistics_of_a_normalization_become_a_scale():
    inputs = keras3.Input(SHAPE)
    layer = keras3.layers.Normalization()
    layer.adapt(images())
    model = keras3.Model(inputs, keras3.layers.Conv2D(2, 1)(layer(inputs)))
    network, _ = models.adopt(model)
    np.testing.assert_allclose(network(images()), model(images()), atol=1e-4)


def test_a_padding_that_no_pool_has_is_refused_by_its_name():
    with pytest.raises(ValueError, match="something else than half of its size"):
        adopted(keras3, padded_pool(3, 2, 2))
    with pytest.raises(ValueError, match=r"Pad.*something else than zeros"):
        adopted(
            keras3,
            lambda k, x: k.ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-INFINITY) * 0.5,
        )
