"""Levels in buckets, uniform and learned, against loops over the formulas of Polino et al. 2018."""

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd import models, quantization, runtime
from tfsegkd._keras import keras
from tfsegkd.quantization.bucketed import LearnedPointsQuantizer, UniformWeightQuantizer

layers = keras.layers
SHAPES = {"channel": (3, 3, 4, 5), "depthwise": (3, 3, 5, 2)}


def places_in_order(shape, axes):
    """The places of a kernel's weights, one output channel after the other, as PyTorch lays them out."""
    height, width, before, after = shape
    outputs = [(i, o) for o in range(after) for i in range(before)]
    if axes == "depthwise":
        outputs = [(i, o) for i in range(before) for o in range(after)]
    return [(y, x, i, o) for i, o in outputs for y in range(height) for x in range(width)]


def by_loops(kernel, axes, bucket_size, level_of):
    """Section 2: Q(v) = α·Q̂((v − β)/α) + β in each bucket. Also α of every weight, and its level's index."""
    places = places_in_order(kernel.shape, axes)
    bucket_size = bucket_size or len(places)
    rounded, widths, indices = np.zeros_like(kernel), np.zeros_like(kernel), np.zeros(kernel.shape, int)
    for begin in range(0, len(places), bucket_size):
        bucket = places[begin : begin + bucket_size]
        values = [float(kernel[place]) for place in bucket]
        beta, alpha = min(values), max(values) - min(values) or 1.0
        for place, value in zip(bucket, values, strict=True):
            indices[place], level = level_of((value - beta) / alpha)
            rounded[place], widths[place] = alpha * level + beta, alpha
    return rounded, widths, indices


def uniform(bits):
    steps = 2**bits - 1
    return lambda v: (round(v * steps), round(v * steps) / steps)


def nearest(points):
    ordered = sorted(points)
    return lambda v: min(enumerate(ordered), key=lambda one: abs(one[1] - v))


def random_kernel(shape):
    return np.random.default_rng(0).normal(0.1, 0.4, shape).astype(np.float32)


@pytest.mark.parametrize("axes", SHAPES)
@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("bucket_size", [7, 45, 1000, None])
def test_uniform_levels_in_buckets_are_the_papers(axes, bits, bucket_size):
    kernel = random_kernel(SHAPES[axes])
    kernel[..., 0, 0] = 0.25  # a bucket may be of one value
    expected, _, _ = by_loops(kernel, axes, bucket_size, uniform(bits))
    found = UniformWeightQuantizer(axes, bits, bucket_size).levels(tf.constant(kernel), {})
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_gradient_at_the_rounded_weights_moves_the_weights_behind_them():
    """Algorithm 1."""
    kernel = tf.Variable(random_kernel((3, 3, 4, 5)))
    upstream = np.random.default_rng(1).normal(size=kernel.shape).astype(np.float32)
    quantizer = UniformWeightQuantizer("channel", 2, 16)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(quantizer(kernel, True, {}) * upstream)
    np.testing.assert_allclose(tape.gradient(loss, kernel), upstream)


@pytest.mark.parametrize("axes", SHAPES)
@pytest.mark.parametrize("bucket_size", [16, None])
def test_points_learn_by_the_papers_gradient(axes, bucket_size):
    """Section 4: ∂Q(v)ᵢ/∂pⱼ is α of i's bucket where vᵢ was taken to pⱼ, and 0 elsewhere."""
    kernel = random_kernel(SHAPES[axes])
    quantizer = LearnedPointsQuantizer(axes, 2, bucket_size)
    points = np.array([0.8, 0.05, 0.3, 0.55], np.float32)  # they may have passed each other
    weights = {"points": tf.Variable(points)}
    upstream = np.random.default_rng(1).normal(size=kernel.shape).astype(np.float32)
    kernel_variable = tf.Variable(kernel)
    with tf.GradientTape() as tape:
        found = quantizer.levels(kernel_variable, weights)
        loss = tf.reduce_sum(found * upstream)
    towards_points, towards_kernel = tape.gradient(loss, [weights["points"], kernel_variable])
    expected, widths, indices = by_loops(kernel, axes, bucket_size, nearest(points))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    sums = [float((upstream * widths)[indices == j].sum()) for j in range(4)]
    order = np.argsort(points)
    np.testing.assert_allclose(np.asarray(tf.convert_to_tensor(towards_points))[order], sums, rtol=1e-4)
    assert towards_kernel is None


def test_points_start_at_the_quantiles_of_the_scaled_weights():
    kernel = random_kernel((3, 3, 4, 5))
    quantizer = LearnedPointsQuantizer("channel", 4, None)
    weights = {"points": tf.Variable(tf.zeros(16))}
    quantizer.start(weights, tf.constant(kernel))
    scaled = (kernel - kernel.min()) / (kernel.max() - kernel.min())
    np.testing.assert_allclose(weights["points"], np.percentile(scaled, np.linspace(0, 100, 16)), atol=1e-6)


@pytest.mark.parametrize(
    ("bits", "bucket_size", "gain"), [(2, 256, 14.2), (4, 256, 7.52), (2, 512, 15.05), (4, 512, 7.75)]
)
def test_compression_is_what_the_paper_prints(bits, bucket_size, gain):
    """Section 2: k·f / (k·b + 2·f) with f = 32; the paper cuts digits off."""
    shape = tf.TensorShape((1, 1, 512, 512))
    size = UniformWeightQuantizer("channel", bits, bucket_size).size_in_bits(shape)
    found = 32 * 512 * 512 / size
    assert gain <= found < gain + 0.05
    points = LearnedPointsQuantizer("channel", bits, bucket_size).size_in_bits(shape)
    assert points - size == 32 * 2**bits


def network():
    inputs = keras.Input((8, 8, 3), name="pixels")
    x = layers.Conv2D(6, 3, padding="same", name="first")(inputs)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Conv2D(6, 3, padding="same", name="middle")(x)
    return keras.Model(inputs, layers.Conv2D(4, 1, name="last")(x), name="toy")


def test_size_of_a_network_is_a_sum_over_its_kernels():
    model = quantization.quantize(network(), 2, quantizer="uniform(bucket_size=20)")
    ends = 8 * 3 * 3 * 3 * 6 + 6 * 32 + 8 * 6 * 4 + 4 * 32  # of 8 bits, with a scale for each channel
    depthwise = 2 * 3 * 3 * 6 + 2 * 32 * 3  # 54 weights in 3 buckets
    middle = 2 * 3 * 3 * 6 * 6 + 2 * 32 * 17  # 324 in 17
    size = quantization.weight_size(model)
    assert size.weights == 162 + 54 + 324 + 24
    assert size.bits == ends + depthwise + middle
    assert size.bits_per_weight == size.bits / size.weights
    with pytest.raises(ValueError, match="toy"):
        quantization.weight_size(network())


@pytest.mark.parametrize(
    ("quantizer", "bits"),
    [
        ("uniform(bucket_size=16)", 2),
        ("points(bucket_size=16)", 4),
        pytest.param("lsq", 2, marks=pytest.mark.slow),
        ("minmax", 2),
    ],
)
def test_network_trains_comes_back_from_a_file_and_is_exported(quantizer, bits, tmp_path):
    keras.utils.set_random_seed(0)
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3)).astype(np.float32)
    model = quantization.quantize(network(), bits, quantizer=quantizer, calibration=[pixels])
    middle = model.get_layer("quant_middle")
    assert middle.quantize_config.kernel.bits == bits
    assert model.get_layer("quant_last").quantize_config.kernel.bits == 8
    before = {w.name: w.numpy() for w in middle.weights}
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.fit(pixels, np.ones((4, 8, 8, 4)), epochs=2, verbose=0, callbacks=[quantization.FreezeRanges(1)])
    moved = {
        name.split("/")[-1]: not np.array_equal(before[name], w.numpy())
        for name, w in zip(before, middle.weights, strict=True)
    }
    assert moved["kernel:0"] == (not quantizer.startswith("points"))
    assert all(did for name, did in moved.items() if "points" in name or "factor" in name)
    expected = model.predict(pixels, verbose=0)
    for suffix in ("h5", "keras"):
        model.save(tmp_path / f"network.{suffix}")
        again = models.load(tmp_path / f"network.{suffix}")
        np.testing.assert_array_equal(again.predict(pixels, verbose=0), expected)
    content = runtime.convert(model)
    found = runtime.Network(content)
    assert runtime.profile(content).float_ops == []
    assert np.abs(found.predict(pixels) - expected).max() <= 2.01 * found.output_quantization[0]


@pytest.mark.parametrize(
    ("quantizer", "message"),
    [
        ("uniform(bucket_size=1)", "bucket_size"),
        ("points(start=random)", "start.*'quantiles'"),
        ("uniform(buckets=4)", "bucket_size.*buckets"),
        ("unifrom", "'uniform'"),
    ],
)
def test_wrong_spec_is_refused(quantizer, message):
    with pytest.raises(ValueError, match=message):
        quantization.Precision(quantizer=quantizer)
