"""Activations in every form that Keras takes, nearest enlargement, mixed precision: int8 all the same."""

import numpy as np
import pytest

from tfsegkd import quantization, runtime
from tfsegkd._keras import keras

layers = keras.layers
FORMS = {
    "layer inside": lambda x: layers.Conv2D(8, 3, padding="same", activation=layers.LeakyReLU(0.2))(x),
    "layer in an Activation": lambda x: layers.Activation(layers.LeakyReLU(0.2))(conv(x)),
    "name inside": lambda x: layers.Conv2D(8, 3, padding="same", activation="leaky_relu")(x),
    "name in an Activation": lambda x: layers.Activation("leaky_relu")(conv(x)),
    "PReLU of channels inside": lambda x: layers.Conv2D(
        8, 3, padding="same", activation=layers.PReLU(keras.initializers.Constant(0.2), shared_axes=[1, 2])
    )(x),
    "PReLU of all in an Activation": lambda x: layers.PReLU(
        keras.initializers.Constant(0.2), shared_axes=[1, 2, 3]
    )(conv(x)),
}


def conv(x):
    return layers.Conv2D(8, 3, padding="same")(x)


def images():
    return np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3)).astype(np.float32)


def network(body):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 24, 3))
    return keras.Model(inputs, layers.Conv2D(3, 1, name="scores")(body(inputs)))


@pytest.mark.parametrize("form", FORMS)
def test_a_leaky_activation_is_one_thing_in_every_form(form):
    """Of the same weights, and the same int8 network as with the layer beside the convolution."""
    model, beside = network(FORMS[form]), network(lambda x: layers.LeakyReLU(0.2)(conv(x)))
    np.testing.assert_allclose(model(images()), beside(images()), rtol=1e-5, atol=1e-4)
    ours, expected = (quantization.quantize(one, calibration=[images()]) for one in (model, beside))
    difference = np.abs(ours(images()).numpy() - expected(images()).numpy())
    assert difference.max() <= 0.05 * np.abs(expected(images())).max()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_network_of_mixed_precision_is_the_int8_network_of_its_weights(policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        half = network(lambda x: layers.ReLU()(layers.BatchNormalization()(conv(x))))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    whole = network(lambda x: layers.ReLU()(layers.BatchNormalization()(conv(x))))
    whole.set_weights(half.get_weights())
    ours, expected = (quantization.quantize(one, calibration=[images()]) for one in (half, whole))
    np.testing.assert_allclose(ours(images()), expected(images()), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "words"),
    [((None, None, 3), "at_size"), ((16, 24, 1), "adopt"), ((16, 24, 4), "build it for 3")],
)
def test_open_sizes_and_other_channels_are_refused_at_once(shape, words):
    inputs = keras.Input(shape)
    with pytest.raises(ValueError, match=words):
        quantization.quantize(keras.Model(inputs, layers.Conv2D(2, 1)(inputs)), calibration=[images()])


def test_nearest_enlargement_leaves_the_file_in_one_piece():
    def enlarged(x):
        x = layers.Conv2D(8, 3, strides=(2, 4), padding="same", activation="relu")(x)
        return layers.UpSampling2D((2, 4))(x)

    quantized = quantization.quantize(network(enlarged), calibration=[images()])
    made = quantized(images()).numpy()
    np.testing.assert_array_equal(made[:, ::2, ::4].repeat(2, 1).repeat(4, 2), made)
    content = runtime.convert(quantized)
    found = runtime.profile(content)
    assert (found.delegate_partitions, found.float_ops) == (1, [])
    assert (runtime.Network(content).predict(images()).argmax(-1) == made.argmax(-1)).mean() > 0.99
