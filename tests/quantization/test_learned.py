"""Learned step sizes against loops and finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd import models, quantization
from tfsegkd._keras import keras
from tfsegkd.quantization.configs import QuantizedLayer, SharedRange
from tfsegkd.quantization.learned import (
    LearnedActivationQuantizer,
    LearnedWeightQuantizer,
    learned_step,
)
from tfsegkd.quantization.quantizers import Observed

layers = keras.layers


def by_loops(values, steps, low, high, upstream):
    """Equations 1 to 3 of the paper: rounded values, gradients of values and of steps."""
    rounded, towards_values, towards_steps = (
        np.zeros_like(values),
        np.zeros_like(values),
        np.zeros_like(steps),
    )
    count = values.shape[0]
    for row in range(count):
        for column in range(values.shape[1]):
            v, s = values[row, column], steps[column]
            level = np.round(min(max(v / s, low), high))
            rounded[row, column] = level * s
            if low < v / s < high:
                towards_values[row, column] = upstream[row, column]
                slope = -v / s + np.round(v / s)
            else:
                slope = low if v / s <= low else high
            towards_steps[column] += upstream[row, column] * slope / np.sqrt(count * high)
    return rounded, towards_values, towards_steps


@pytest.mark.parametrize(
    ("low", "high"), [(-127.0, 127.0), (-7.0, 7.0), (0.0, 255.0), (0.0, 15.0), (-8.0, 7.0)]
)
def test_rounds_and_learns_as_the_paper_says(low, high):
    rng = np.random.default_rng(0)
    steps = np.array([0.03, 0.5, 0.11], np.float32)
    values = (rng.normal(size=(40, 3)) * steps * high * 0.7).astype(np.float32)
    upstream = rng.normal(size=values.shape).astype(np.float32)
    v, s = tf.Variable(values), tf.Variable(steps)
    with tf.GradientTape() as tape:
        rounded = learned_step(v, s, low, high)
        loss = tf.reduce_sum(rounded * upstream)
    found = [rounded.numpy(), *(g.numpy() for g in tape.gradient(loss, [v, s]))]
    for one, other in zip(found, by_loops(values, steps, low, high, upstream), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_gradient_of_the_step_is_the_slope_where_levels_stay():
    """Between two jumps the value moves by its level: a finite difference, plus the straight-through part."""
    step, low, high, tiny = 0.25, -8.0, 7.0, 1e-4
    values = np.array([[-9.0], [-1.61], [-0.3], [0.07], [0.9], [1.6], [5.0]], np.float32)

    def rounded(s):
        return np.round(np.clip(values / s, low, high)) * s

    slopes = (rounded(step + tiny) - rounded(step - tiny)) / (2 * tiny)
    inside = (values / step > low) & (values / step < high)
    slopes -= inside * values / step
    for row, slope in enumerate(slopes[:, 0]):
        s = tf.Variable([step])
        with tf.GradientTape() as tape:
            loss = learned_step(tf.constant(values), s, low, high)[row, 0]
        found = float(tape.gradient(loss, s)[0]) * np.sqrt(len(values) * high)
        assert found == pytest.approx(slope, abs=1e-2)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("axes", ["channel", "depthwise", "tensor"])
def test_kernel_in_training_is_what_the_file_will_have(axes, bits):
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 2)).astype(np.float32)
    kernel[0, 0] = 20.0  # beyond what the paper's start reaches with 4 bits
    quantizer = LearnedWeightQuantizer(axes, bits)
    weights = quantizer.build(kernel.shape, "kernel", layers.Layer())
    quantizer.start(weights, tf.constant(kernel))
    parts = {"channel": (0, 1, 2), "depthwise": (0, 1), "tensor": None}[axes]
    top = 2 ** (bits - 1) - 1
    paper = 2 * np.abs(kernel).mean(axis=parts, keepdims=True) / np.sqrt(top)
    reach = np.abs(kernel).max(axis=parts, keepdims=True) / top
    assert ((reach < paper) == (bits == 8)).all(), "the case must tell the two apart"
    step = np.minimum(paper, reach)
    expected = np.clip(np.round(kernel / step), -top, top) * step
    for training in (True, False):
        rounded = quantizer(tf.constant(kernel), training, weights).numpy()
        np.testing.assert_allclose(rounded, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("limits", [(None, None), (0.0, None)])
def test_activation_starts_at_the_first_batch_and_has_so_many_levels(limits, bits):
    quantizer = LearnedActivationQuantizer(limits, bits)
    weights = quantizer.build(None, "output", layers.Layer())
    low, high = (0, 2**bits - 1) if limits[0] == 0.0 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    values = np.random.default_rng(0).normal(size=(4, 5, 6, 3)).astype(np.float32)
    values = np.abs(values) if limits[0] == 0.0 else values
    trained = quantizer(tf.constant(values), True, weights).numpy()
    step = min(
        2 * np.abs(values).mean() / np.sqrt(high), max(values.max() / high, values.min() / (low or -1e9))
    )
    expected = np.clip(np.round(values / step), low, high) * step
    np.testing.assert_allclose(trained, expected, atol=1e-5)
    np.testing.assert_allclose(quantizer(tf.constant(values), False, weights), expected, atol=1e-5)
    # The second batch does not choose anew.
    quantizer(tf.constant(10 * values), True, weights)
    assert float(weights["start"][0]) == pytest.approx(step)
    for far in (1.0, 100.0):
        quantizer.set_observed(weights, [Observed(low=-far, high=far, magnitude=0.5, batches=3)])
        assert float(weights["start"][0]) == pytest.approx(min(1 / np.sqrt(high), far / high))


def network():
    inputs = keras.Input((8, 8, 3), name="pixels")
    x = layers.Conv2D(6, 3, padding="same", name="first")(inputs)
    x = skip = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Conv2DTranspose(6, 2, strides=2, name="up")(layers.MaxPooling2D(name="pool")(x))
    x = layers.Conv2D(6, 3, padding="same", name="middle")(layers.Concatenate(name="join")([skip, x]))
    return keras.Model(inputs, layers.Conv2D(4, 1, name="last")(x), name="toy")


@pytest.mark.parametrize("weight_bits", [8, 4])
def test_network_learns_its_steps_and_comes_back_from_a_file(weight_bits, tmp_path):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 255, (8, 8, 8, 3)).astype(np.float32)
    model = quantization.quantize(network(), weight_bits, quantizer="lsq")
    bits = {
        n: model.get_layer(f"quant_{n}").quantize_config.kernel.bits
        for n in ("first", "up", "middle", "last")
    }
    assert bits == {"first": 8, "up": 8, "middle": weight_bits, "last": 8}
    steps = [w for w in model.trainable_weights if w.name.split(":")[0].endswith("_step_factor")]
    kernels, outputs = 5, sum(isinstance(layer, SharedRange) for layer in model.layers)
    outputs += sum(
        layer.quantize_config.output is not None
        for layer in model.layers
        if isinstance(layer, QuantizedLayer)
    )
    assert len(steps) == kernels + outputs
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.fit(pixels, np.ones((8, 8, 8, 4)), batch_size=4, epochs=2, verbose=0)
    assert all((step.numpy() != 1.0).any() for step in steps)
    assert all((step.numpy() >= 0.0).all() for step in steps)
    expected = model.predict(pixels, verbose=0)
    for suffix in ("h5", "keras"):
        model.save(tmp_path / f"network.{suffix}")
        again = models.load(tmp_path / f"network.{suffix}")
        np.testing.assert_array_equal(again.predict(pixels, verbose=0), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_bits": 6}, "weight_bits"),
        ({"activation_bits": 16}, "activation_bits"),
        ({"quantizer": "pact"}, "quantizer.*'lsq', 'minmax'"),
    ],
)
def test_unknown_precision_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        quantization.quantize(network(), **options)
