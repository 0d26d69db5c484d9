"""Layers given back to float: what is rounded still, and what each layer costs, counted by hand."""

import numpy as np
import pytest

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.quantization import (
    float_layers,
    kernel_layers,
    layer_errors,
    layer_sqnr,
    quantize,
    strip,
    with_float_layers,
)
from tfsegkd.runtime import Network, convert, profile

layers = keras.layers
SIZE = (24, 32)


@pytest.fixture(scope="module")
def network():
    """A convolution whose one channel dwarfs the others, which a kernel of one scale cannot take."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((*SIZE, 3), name="pixels")
    x = layers.Rescaling(1 / 255, name="normalization")(x)
    skip = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(x)
    skip = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_bn")(skip))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="middle")(skip)
    x = layers.ReLU(2.0, name="capped")(layers.Concatenate(name="join")([x, skip]))
    x = layers.Conv2DTranspose(8, 2, strides=2, name="up")(x)
    x = layers.Conv2D(8, 1, name="head")(x)
    x = layers.Conv2D(4, 1, name="classifier")(x)
    model = keras.Model(inputs, x, name="lopsided")
    kernel, bias = model.get_layer("up").get_weights()
    kernel[:, :, 0] *= 500
    model.get_layer("up").set_weights([kernel, bias])
    head, bias = model.get_layer("head").get_weights()
    head[:, :, 0] /= 500
    model.get_layer("head").set_weights([head, bias])
    return model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (4, *SIZE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def quantized(network, images):
    return quantize(network, calibration=[images])


def said(model, images):
    return np.asarray(model(images, training=False), np.float64)


def power(difference):
    return np.mean(np.square(difference))


def test_a_stripped_network_has_rounded_kernels_and_nothing_else_rounded(network, quantized, images):
    stripped = strip(quantized)
    assert not [
        one for one in stripped.layers if type(one).__module__.startswith("tfsegkd.quantization.configs")
    ]
    # The float network with its kernels rounded by hand.
    expected = keras.models.clone_model(network)
    expected.set_weights(network.get_weights())
    for layer in expected.layers:
        if isinstance(layer, layers.Conv2D | layers.Conv2DTranspose):
            kernel, *bias = layer.get_weights()
            axes = None if isinstance(layer, layers.Conv2DTranspose) else (0, 1, 2)
            step = np.abs(kernel).max(axes, keepdims=True) / 127
            layer.set_weights([np.round(kernel / step) * step, *bias])
    reference = said(expected, images)
    np.testing.assert_allclose(said(stripped, images), reference, atol=1e-4 * np.abs(reference).max())


def test_the_worst_layer_is_found(quantized, images):
    errors = layer_errors(quantized, images)
    assert set(errors) == set(kernel_layers(quantized)) >= {"stem", "middle", "up", "head", "classifier"}
    assert next(iter(errors)) == "up" and list(errors.values()) == sorted(errors.values(), reverse=True)
    # The kernel of the pixels' normalisation is met exactly, and so is its range.
    assert errors["normalization"] < 1e-4 * errors["up"]


def test_the_error_of_a_layer_is_that_of_its_rounding_alone(network, quantized, images):
    """The last layer: its kernel rounded by channel, and its output on 256 levels."""
    kernel, bias = network.get_layer("classifier").get_weights()
    given = keras.Model(network.input, network.get_layer("classifier").input)(images).numpy()
    step = np.abs(kernel).max((0, 1, 2)) / 127
    exact = given @ kernel[0, 0] + bias
    logits = given @ (np.round(kernel / step) * step)[0, 0] + bias
    low, high = min(exact.min(), 0), max(exact.max(), 0)
    step = (high - low) / 255
    zero = np.round(-low / step)
    rounded = (np.clip(np.round(logits / step + zero), 0, 255) - zero) * step
    expected = power(rounded - exact) / power(exact)
    assert layer_errors(quantized, images)["classifier"] == pytest.approx(expected, rel=0.05)


def test_the_noise_of_a_layer_is_all_that_was_rounded_up_to_it(network, quantized, images):
    found = layer_sqnr(quantized, images)
    assert set(found) == set(kernel_layers(quantized)) and list(found.values()) == sorted(found.values())
    # The lopsided layer's 256 levels leave nothing of its small channels to the next one.
    assert found["normalization"] > 100 and found["stem"] > 40 and found["head"] < 1
    # An inner layer, its BatchNorm, ReLU and rounding included.
    exact = said(keras.Model(network.input, network.get_layer("stem_relu").output), images)
    end = quantized.get_layer("stem_relu_range").get_output_at(0)
    noise = power(exact - said(keras.Model(quantized.input, end), images))
    assert found["stem"] == pytest.approx(10 * np.log10(power(exact) / noise), abs=0.05)
    # The last layer, in a network that still says something.
    freed = with_float_layers(quantized, ["up", "head"])
    exact = said(network, images)
    noise = power(exact - said(freed, images))
    assert layer_sqnr(freed, images)["classifier"] == pytest.approx(
        10 * np.log10(power(exact) / noise), abs=0.05
    )


def test_a_layer_in_float_takes_its_error_along(network, quantized, images):
    exact = said(network, images)
    freed = with_float_layers(quantized, ["up", "head"])
    assert float_layers(freed) == ("up", "head") and float_layers(quantized) == ()
    before, after = power(said(quantized, images) - exact), power(said(freed, images) - exact)
    assert after < 0.2 * before
    assert said(with_float_layers(quantized, []), images).tolist() == said(quantized, images).tolist()


def test_the_file_of_such_a_network_has_just_these_ops_in_float(quantized, images, tmp_path):
    freed = with_float_layers(quantized, ["up", "head"])
    path = tmp_path / "freed.keras"
    freed.save(path)
    freed = models.load(path)
    content = convert(freed)
    kinds = sorted(one.split()[0] for one in profile(content).float_ops)
    assert kinds == ["CONV_2D", "TRANSPOSE_CONV"]
    from_file, from_keras = Network(content).predict(images), said(freed, images)
    assert np.abs(from_file - from_keras).max() <= 3.01 * Network(content).output_quantization[0]


def test_what_is_not_there_is_refused(network, quantized):
    with pytest.raises(ValueError, match=r"must be one of.*'stm'.*Did you mean 'stem'"):
        with_float_layers(quantized, ["stm"])
    for function in (
        strip,
        lambda model: with_float_layers(model, []),
        lambda model: layer_errors(model, []),
        lambda model: layer_sqnr(model, []),
    ):
        with pytest.raises(ValueError, match="'lopsided' is not quantized"):
            function(network)
