"""Scales moved between layers, and mean errors taken out: both against sums written out."""

import numpy as np
import pytest

from tfsegkd._keras import keras
from tfsegkd.quantization import NothingToEqualize, correct_biases, equalize, post_training, quantize

layers = keras.layers
SIZE = (12, 16)


def uneven(seed=0):
    """Convolutions of each kind whose channels differ a thousandfold, with BatchNorm and without."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((*SIZE, 3), name="pixels")
    x = layers.Conv2D(8, 3, padding="same", name="first")(x)
    x = layers.ReLU(name="first_relu")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="second")(x)
    x = layers.BatchNormalization(name="second_bn")(x)
    x = layers.ReLU(name="second_relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear", name="larger")(x)
    x = layers.Conv2D(4, 1, activation="relu", name="third")(x)
    x = layers.Conv2DTranspose(6, 2, strides=2, name="up")(x)
    x = layers.Conv2D(4, 1, name="classifier")(x)
    model = keras.Model(inputs, x, name="uneven")
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 2, w.shape) for w in layer.get_weights()])
    # What the one multiplies, the next divides by: the network is as good as one without.
    for name, following, axis in (("first", "second", 2), ("third", "up", 3)):
        kernel, bias = model.get_layer(name).get_weights()
        scale = np.geomspace(0.03, 30, kernel.shape[-1])
        model.get_layer(name).set_weights([kernel * scale, rng.normal(0, 1, bias.shape) * scale])
        kernel, *bias = model.get_layer(following).get_weights()
        shape = [-1 if place == axis else 1 for place in range(4)]
        model.get_layer(following).set_weights([kernel / scale.reshape(shape), *bias])
    return model


def pixels(count=4, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *SIZE, 3)).astype(np.float32)


def said(model, images):
    return np.asarray(model(images, training=False), np.float64)


def test_an_equalized_network_says_the_same():
    model, images = uneven(), pixels()
    before, after = said(model, images), said(equalize(model), images)
    assert np.abs(after - before).max() <= 1e-5 * np.abs(before).max()


def test_both_sides_of_a_pair_reach_equally_far():
    model = equalize(uneven())
    first = model.get_layer("first").kernel.numpy()
    norm = model.get_layer("second_bn")
    gain = norm.gamma.numpy() / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
    second = model.get_layer("second").kernel.numpy()
    depthwise = model.get_layer("depthwise").depthwise_kernel.numpy()
    third, up = model.get_layer("third").kernel.numpy(), model.get_layer("up").kernel.numpy()
    for channel in range(8):
        assert np.isclose(np.abs(first[..., channel]).max(), np.abs(second[:, :, channel]).max(), rtol=0.01)
        leaving = np.abs(second[..., channel] * gain[channel]).max()
        assert np.isclose(leaving, np.abs(depthwise[:, :, channel]).max(), rtol=0.01)
    for channel in range(4):
        assert np.isclose(np.abs(third[..., channel]).max(), np.abs(up[..., channel]).max(), rtol=0.01)


def test_equalization_helps_a_kernel_of_one_scale():
    """A transposed convolution has one scale for all its channels."""
    model, images = uneven(), pixels(8)
    exact = said(model, images)

    def error(**options):
        return np.mean(np.square(said(post_training(model, images, **options), images) - exact))

    assert error(equalized=True) < 0.5 * error()


def test_where_no_scale_can_pass_that_is_said():
    with pytest.raises(NothingToEqualize, match="No two convolutions of 'capped'"):
        x = inputs = keras.Input((*SIZE, 3))
        x = layers.ReLU(6.0)(layers.Conv2D(4, 1)(x))
        equalize(keras.Model(inputs, layers.Conv2D(2, 1)(x), name="capped"))


@pytest.mark.parametrize("kind", ["plain", "grouped", "depthwise", "transposed", "normalized"])
def test_a_corrected_bias_gives_the_mean_of_the_float_network(kind):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((*SIZE, 3), name="pixels")
    layer = {
        "plain": lambda: layers.Conv2D(6, 3, name="conv"),
        "grouped": lambda: layers.Conv2D(6, 3, groups=3, name="conv"),
        "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, name="conv"),
        "transposed": lambda: layers.Conv2DTranspose(6, 2, strides=2, name="conv"),
        "normalized": lambda: layers.Conv2D(6, 3, use_bias=False, name="conv"),
    }[kind]()
    x = layer(inputs)
    if kind == "normalized":
        x = layers.BatchNormalization(name="norm")(x)
    model = keras.Model(inputs, x, name=kind)
    # One color an image, so that borders and neighbours do not matter; weights of 4 bits, so that errors do.
    images = np.broadcast_to(pixels()[:, :1, :1], (4, *SIZE, 3)).copy()
    quantized = quantize(model, calibration=[images])
    quantized.get_layer("quant_conv")._weight_vars[0][1].bits = 4
    corrected = correct_biases(quantized, [images])
    corrected.get_layer("quant_conv")._weight_vars[0][1].bits = 4

    def unrounded_means(network):
        inner = network.get_layer("quant_norm" if kind == "normalized" else "quant_conv")
        inner._output_quantizers = []
        return said(network, images).mean((0, 1, 2))

    expected = said(model, images).mean((0, 1, 2))
    scale = np.abs(expected).max()
    assert np.abs(unrounded_means(quantized) - expected).max() > 1e-3 * scale
    np.testing.assert_allclose(unrounded_means(corrected), expected, atol=2e-5 * scale)


def test_no_images_no_correction():
    with pytest.raises(ValueError, match="no images to correct"):
        correct_biases(quantize(uneven(), calibration=[pixels()]), [])
