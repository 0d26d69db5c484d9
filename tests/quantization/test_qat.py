"""Quantization-aware training: what is rounded, what the int8 file computes, what is trained."""

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd import models, quantization
from tfsegkd._keras import keras
from tfsegkd.graph import read, rebuild
from tfsegkd.layers import CropLike, PadToStride, ResizeLike
from tfsegkd.quantization.configs import QuantizedLayer, SharedRange
from tfsegkd.quantization.folding import fold
from tfsegkd.quantization.quantizers import ActivationQuantizer, WeightQuantizer
from tfsegkd.runtime import Network, convert, profile

layers = keras.layers
SIZE = (30, 38)
CLASSES = 4


def entrance():
    inputs = keras.Input((*SIZE, 3), name="pixels")
    normalization = layers.DepthwiseConv2D(1, name="normalization", trainable=False)
    x = normalization(inputs)
    normalization.set_weights([np.full((1, 1, 3, 1), 1 / 128), np.full(3, -127 / 128)])
    return inputs, PadToStride(8, name="padding")(x)


def conv(x, filters, name, relu=layers.ReLU, **kwargs):
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv", **kwargs)(x)
    x = layers.BatchNormalization(name=f"{name}_bn", momentum=0.8)(x)
    return relu(name=name)(x)


def relu6(name):
    return layers.ReLU(6.0, name=name)


def unet():
    """Skips, pooling, linear transposed convolutions."""
    inputs, x = entrance()
    skip = conv(x, 8, "fine")
    x = conv(layers.MaxPooling2D(name="pool")(skip), 16, "coarse")
    x = layers.Conv2DTranspose(8, 2, strides=2, name="up")(x)
    x = conv(layers.Concatenate(name="join")([skip, x]), 8, "decoder")
    x = layers.Conv2D(CLASSES, 1, name="classifier")(x)
    return keras.Model(inputs, CropLike(name="logits")([x, inputs]), name="toy_unet")


def mobile():
    """ReLU6, depthwise and dilated convolutions, Add, global context, bilinear resizing."""
    inputs, x = entrance()
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name="border")(x)
    x = layers.Conv2D(8, 3, strides=2, use_bias=False, name="stem_conv")(x)
    x = shortcut = relu6("stem")(layers.BatchNormalization(momentum=0.8, name="stem_bn")(x))
    x = layers.DepthwiseConv2D(3, padding="same", dilation_rate=2, use_bias=False, name="depthwise_conv")(x)
    x = relu6("depthwise")(layers.BatchNormalization(momentum=0.8, name="depthwise_bn")(x))
    x = layers.Conv2D(8, 1, use_bias=False, name="project_conv")(x)
    x = layers.BatchNormalization(momentum=0.8, name="project")(x)
    x = layers.Add(name="residual")([shortcut, x])
    everywhere = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
    everywhere = ResizeLike(name="spread")([layers.Conv2D(4, 1, name="context")(everywhere), x])
    branches = [conv(x, 4, "branch1"), conv(x, 4, "branch2", relu6), conv(x, 4, "branch3"), everywhere]
    x = layers.Concatenate(name="join")([*branches, layers.Conv2D(4, 1, name="branch4")(x)])
    x = layers.Dropout(0.5, name="dropout")(x)
    x = layers.Conv2D(CLASSES, 1, name="classifier")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear", name="enlarge")(x)
    return keras.Model(inputs, CropLike(name="logits")([x, inputs]), name="toy_mobile")


def transposed():
    """What TF-MOT leaves in float: transposed convolutions with BatchNorm and ReLU."""
    inputs, x = entrance()
    x = conv(x, 8, "stem", strides=2)
    x = layers.Conv2DTranspose(8, 2, strides=2, name="up")(x)
    x = layers.BatchNormalization(momentum=0.8, name="up_bn")(x)
    x = layers.ReLU(name="up_relu")(x)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="down")(x)
    x = layers.Conv2DTranspose(8, 2, strides=2, name="up2")(x)
    x = layers.ReLU(6.0, name="up2_relu")(x)
    x = layers.Conv2D(CLASSES, 1, name="classifier")(x)
    return keras.Model(inputs, CropLike(name="logits")([x, inputs]), name="toy_transposed")


def images(count, seed=0):
    """Smooth blobs whose brightness tells the class."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 4, 5, 1)) + rng.integers(-40, 41, (count, 4, 5, 3))
    fine = np.asarray(tf.image.resize(coarse, SIZE)) + rng.normal(0, 5, (count, *SIZE, 3))
    pixels = np.clip(np.round(fine), 0, 255).astype(np.float32)
    return pixels, (pixels.mean(-1) // 64).astype(np.int32)


@pytest.fixture(
    scope="module",
    params=[unet, mobile, pytest.param(transposed, marks=pytest.mark.slow)],
    ids=lambda build: build.__name__,
)
def trained(request):
    """A briefly trained float network and its quantized twin, calibrated but not fine-tuned."""
    keras.utils.set_random_seed(3)
    network = request.param()
    network.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.fit(*images(16), batch_size=4, epochs=12, verbose=0)
    return network, quantization.quantize(network, calibration=images(8)[0].reshape(4, 2, *SIZE, 3))


def test_int8_file_computes_what_the_network_does(trained):
    network, quantized = trained
    pixels, _ = images(6, seed=1)
    ours = quantized.predict(pixels, verbose=0)
    assert (ours.argmax(-1) == network.predict(pixels, verbose=0).argmax(-1)).mean() > 0.95

    content = convert(quantized)
    report = profile(content)
    assert report.float_ops == []
    assert report.delegate_partitions == 1
    assert report.ops["QUANTIZE"] == 1  # uint8 pixels to int8
    file = Network(content)
    assert file.input_quantization == (1.0, 0)
    assert (file.predict(pixels).argmax(-1) == ours.argmax(-1)).mean() >= 0.99


def test_float_network_stays_as_it_was():
    network = unet()
    before, outputs = [w.copy() for w in network.get_weights()], network.get_layer("join").output
    quantized = quantization.quantize(network, calibration=[images(2)[0]])
    quantized.compile("sgd", "mse")
    quantized.fit(images(2)[0], np.ones((2, *SIZE, CLASSES)), verbose=0)
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert network.get_layer("join").output is outputs


def test_trains_what_the_float_network_trains(trained):
    network, quantized = trained
    if network.name == "toy_transposed":
        pytest.skip("its BatchNorm has become a kernel and a bias")
    shapes, quantized_shapes = (
        sorted(tuple(variable.shape) for variable in one.trainable_variables) for one in (network, quantized)
    )
    assert quantized_shapes == shapes
    assert not quantized.get_layer("quant_normalization").trainable_variables


@pytest.mark.slow
def test_fit_moves_weights_but_not_normalization_or_pixels():
    network = mobile()
    quantized = quantization.quantize(network)
    normalization = quantized.get_layer("quant_normalization")
    fixed = [w.copy() for w in normalization.get_weights()]
    before = [variable.numpy() for variable in quantized.trainable_variables]
    quantized.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    quantized.fit(*images(8), batch_size=2, verbose=0)
    for old, new in zip(fixed, normalization.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    after = [variable.numpy() for variable in quantized.trainable_variables]
    assert all((old != new).any() for old, new in zip(before, after, strict=True))
    assert all(not layer.weights for layer in quantized.layers if layer.name == "pixels_range")


def test_pixels_and_normalization_are_exact(trained):
    _, quantized = trained
    probe = keras.Model(
        quantized.inputs,
        [quantized.get_layer(name).output for name in ("pixels_range", "quant_normalization")],
    )
    pixels = np.resize(np.arange(256, dtype=np.float32), (1, *SIZE, 3))
    for training in (False, True):
        seen, normalized = probe(pixels, training=training)
        np.testing.assert_array_equal(seen, pixels)
        np.testing.assert_allclose(normalized, (pixels - 127) / 128, atol=1e-6)


def test_range_is_the_mean_of_the_first_batches_and_then_a_moving_average():
    quantizer = ActivationQuantizer(limits=(None, 6.0), decay=0.5)
    weights = quantizer.build(None, "output", layers.Layer())

    def ends():
        return [variable.numpy().tolist() for variable in (weights["min_var"], weights["max_var"])]

    assert ends() == [[-6.0], [6.0]]
    low, high = None, None
    for low_seen, high_seen in ((-1.0, 2.0), (-3.0, 4.0), (1.0, 8.0), (-2.0, -1.0)):
        values = tf.constant([low_seen, high_seen])
        quantizer(values, training=True, weights=weights)
        within = min(low_seen, 0.0), min(max(high_seen, 0.0), 6.0)
        low = within[0] if low is None else (low + within[0]) / 2
        high = within[1] if high is None else (high + within[1]) / 2
        assert ends() == [[pytest.approx(low)], [pytest.approx(high)]]
    rounded = quantizer(tf.constant([100.0]), training=False, weights=weights)
    assert float(rounded[0]) == pytest.approx(high, abs=(high - low) / 255)
    assert ends()[1] == [pytest.approx(high)]


def test_range_of_several_tensors_covers_them_all():
    quantizer = ActivationQuantizer(members=2)
    weights = quantizer.build(None, "output", layers.Layer())
    quantizer(tf.constant([-1.0, 2.0]), training=True, weights=weights, member=0)
    quantizer(tf.constant([-0.5, 8.0]), training=True, weights=weights, member=1)
    # Each moves its own average only.
    assert weights["min_var"].numpy().tolist() == [-1.0, -0.5]
    assert weights["max_var"].numpy().tolist() == [2.0, 8.0]
    rounded = quantizer(tf.constant([-9.0, 9.0]), training=False, weights=weights).numpy()
    step = 9 / 255
    np.testing.assert_allclose(rounded, np.array([-1.0, 8.0]), atol=step)


@pytest.mark.parametrize("training", [False, True])
def test_four_bits_have_sixteen_levels_of_which_one_is_zero(training):
    quantizer = ActivationQuantizer(bits=4, decay=0.0)
    weights = quantizer.build(None, "output", layers.Layer())
    values = np.linspace(-1.0, 3.0, 201, dtype=np.float32)
    quantizer(tf.constant(values), training=True, weights=weights)
    rounded = quantizer(tf.constant(values), training=training, weights=weights).numpy()
    step, zero = 4 / 15, 4  # round(1 / step)
    expected = (np.clip(np.round(values / step + zero), 0, 15) - zero) * step
    np.testing.assert_allclose(np.unique(rounded), np.unique(expected), atol=1e-6)
    assert (np.abs(rounded - expected) < 1e-6).mean() > 0.98  # but for ties


@pytest.mark.parametrize("axes", ["channel", "depthwise", "tensor"])
def test_kernel_is_rounded_to_127_levels_a_side(axes):
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 2)) * [
        [1.0, 5.0],
        [0.1, 2.0],
        [9.0, 0.3],
        [1.0, 0.0],
    ]
    rounded = WeightQuantizer(axes)(tf.constant(kernel, tf.float32), training=True, weights={}).numpy()
    parts = {"channel": (0, 1, 2), "depthwise": (0, 1), "tensor": None}[axes]
    step = np.maximum(np.abs(kernel).max(axis=parts, keepdims=True), 1e-7) / 127
    np.testing.assert_allclose(rounded, np.round(kernel / step) * step, atol=1e-4 * step.max())


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_saved_network_is_the_same(trained, tmp_path, suffix):
    _, quantized = trained
    path = tmp_path / f"network.{suffix}"
    quantized.save(path)
    loaded = models.load(path)
    pixels, _ = images(2, seed=2)
    np.testing.assert_array_equal(loaded.predict(pixels, verbose=0), quantized.predict(pixels, verbose=0))
    assert [w.name for w in loaded.layers] == [w.name for w in quantized.layers]
    assert len(loaded.trainable_variables) == len(quantized.trainable_variables)


def test_frozen_layer_stays_frozen_and_saves(tmp_path):
    quantized = quantization.quantize(unet())
    quantized.get_layer("quant_fine_conv").trainable = False
    quantized.get_layer("quant_coarse_bn").trainable = False
    names = {id(v) for v in quantized.trainable_variables}
    for name in ("quant_fine_conv", "quant_coarse_bn"):
        assert not names & {id(v) for v in quantized.get_layer(name).weights}
    quantized.save(tmp_path / "frozen.h5")
    loaded = models.load(tmp_path / "frozen.h5")
    for old, new in zip(quantized.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def _small(*tail):
    inputs = keras.Input((*SIZE, 3))
    x = inputs
    for layer in tail:
        x = layer(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: _small(layers.Conv2D(4, 3), layers.ELU(name="bend")), r"'bend' \(ELU\).*Replace it"),
        (lambda: _small(layers.GroupNormalization(3, name="norm")), "'norm'.*Use BatchNormalization"),
        (lambda: _small(layers.PReLU(name="bend")), r"'bend' \(PReLU\).*shared_axes"),
        (
            lambda: _small(layers.Conv2D(4, 3, activation="gelu", name="curve")),
            r"'curve' \(Conv2D\).*'gelu'.*Replace it by one of",
        ),
        (lambda: _small(layers.Lambda(lambda x: tf.sort(x, 1), name="secret")), r"'secret' \(Lambda\)"),
        (lambda: _small(*[layers.Conv2D(3, 1, name="twice")] * 2), "'twice'.*more than once"),
        (lambda: _small(layers.ReLU(threshold=1.0, name="late")), "'late'.*without threshold"),
        (lambda: _small(layers.Flatten(), layers.BatchNormalization(name="norm")), "'norm'.*2 axes"),
    ],
)
def test_layer_that_would_stay_in_float_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        quantization.quantize(build())


def test_refuses_what_is_no_float_network():
    with pytest.raises(TypeError, match="functional tf_keras model"):
        quantization.quantize(layers.ReLU())
    network = unet()
    with pytest.raises(ValueError, match="quantized already"):
        quantization.quantize(quantization.quantize(network))
    for batches, message in (
        ([], "empty"),
        ([np.zeros((1, 8, 8, 3))], "input shape"),
        ([images(1)[0] / 255], "raw pixels"),
        ([images(1)[0] - 200], "raw pixels"),
    ):
        with pytest.raises(ValueError, match=message):
            quantization.quantize(network, calibration=batches)


def test_calibration_takes_images_alone():
    with pytest.raises(TypeError, match="Leave the masks out"):
        quantization.quantize(unet(), calibration=[images(2)])


def test_norm_folded_into_a_transposed_convolution_changes_nothing():
    network = transposed()
    rng = np.random.default_rng(0)
    network.set_weights([rng.uniform(0.1, 0.5, weight.shape) for weight in network.get_weights()])
    folded = rebuild(fold(read(network)))
    assert "up_bn" in [layer.name for layer in network.layers]
    assert "up_bn" not in [layer.name for layer in folded.layers]
    # Compared before the ReLU6 further on, which would hide a difference.
    before, after = (
        keras.Model(one.inputs, one.get_layer("up_relu").output).predict(images(2)[0], verbose=0)
        for one in (network, folded)
    )
    assert before.std() > 0
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)


def test_every_layer_has_a_wrapper_of_its_name():
    network = mobile()
    quantized = quantization.quantize(network)
    expected = {f"quant_{layer.name}" for layer in network.layers[1:]}
    assert expected <= {layer.name for layer in quantized.layers if isinstance(layer, QuantizedLayer)}
    others = [layer for layer in quantized.layers if not isinstance(layer, QuantizedLayer)]
    # What is enlarged keeps its range, and what is joined has one.
    assert {layer.name: layer.members for layer in others[2:]} == {
        "classifier_range": ("classifier", "enlarge"),
        "context_range": ("context", "join"),
    }


def test_networks_saved_before_the_class_was_renamed_still_load():
    assert keras.utils.get_registered_object("tfsegkd>JointRounding") is SharedRange
    assert keras.utils.get_registered_name(SharedRange) == "tfsegkd>JointRounding"


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_quantize_makes_at_most_three_networks(policy, monkeypatch):
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = unet()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    made, initialize = {}, type(model).__init__

    def noted(self, *args, **kwargs):  # which Keras calls twice
        made[id(self)] = self
        initialize(self, *args, **kwargs)

    monkeypatch.setattr(type(model), "__init__", noted)
    quantization.quantize(model, calibration=[np.full((1, *SIZE, 3), 9.0)])
    # One that quantizes, one whose outputs are measured, and one of float32 if it was not.
    assert len(made) == (2 if policy == "float32" else 3)
