"""A network of either Keras becomes one of ours: flat, plain, and equal in what it computes."""

import re
import subprocess
import sys

import foreign_networks
import numpy as np
import pytest
import tensorflow as tf
from foreign_networks import NUM_CLASSES, shaken

from tfsegkd import _keras, models
from tfsegkd._keras import keras
from tfsegkd.models.adoption.keras3 import Keras3Frontend

SHAPE = (8, 12, 3)


@pytest.fixture(scope="module")
def keras3():
    return _keras.keras3


def pixels(shape, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (2, *shape)).astype(np.float32)


def check_form(model):
    assert not any(isinstance(layer, keras.Model | keras.layers.Lambda) for layer in model.layers)
    assert not any("OpLambda" in type(layer).__name__ for layer in model.layers)
    assert model.input_shape[1:] == (*model.output_shape[1:3], 3)


def largest_difference(one, other):
    return float(np.abs(np.asarray(one) - np.asarray(other)).max())


def test_a_keras_3_unet(keras3):
    original = foreign_networks.unet(keras3)
    before = original.get_weights()
    model, report = models.adopt(original)
    check_form(model)
    images = pixels((16, 24, 3))
    assert largest_difference(tf.nn.softmax(model(images)), original(images)) < 1e-5
    assert report.difference < 1e-5
    assert (report.keras, report.num_classes, report.input_shape) == ("keras 3", NUM_CLASSES, (16, 24, 3))
    assert report.removed == ("softmax 'head_softmax'",)
    # Keras numbers what has no name, in the order of the process.
    assert any(re.fullmatch(r"rescaling(_\d+)? \(Rescaling\)", name) for name in report.opened)
    assert model.get_layer("normalization").trainable is False
    assert "head" in report.to_json()
    for one, other in zip(before, original.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    norm = next(layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization))
    assert (norm.epsilon, norm.momentum) == (2e-3, 0.9)


def test_a_keras_3_deeplab_trains_in_the_mode_it_was_built_in(keras3):
    original = foreign_networks.deeplab(keras3)
    model, report = models.adopt(original)
    check_form(model)
    images = pixels((32, 64, 3))
    np.testing.assert_allclose(model(images), original(images), atol=1e-5)
    assert "features (Functional)" in report.opened
    # What moves when the original trains moves here: the backbone was called with training=False.
    assert moved_by_training(model, images) == moved_by_training(original, images)


def moved_by_training(model, images):
    """Which BatchNorms update their statistics, by name."""
    norms = {layer.name: layer for layer in model._flatten_layers() if hasattr(layer, "moving_mean")}
    before = {name: np.asarray(norm.moving_mean) for name, norm in norms.items()}
    model(images, training=True)
    return {name: largest_difference(norm.moving_mean, before[name]) > 0 for name, norm in norms.items()}


LAYERS = {
    "conv": lambda k: k.layers.Conv2D(4, 3, strides=2, padding="same", kernel_regularizer="l2"),
    "grouped": lambda k: k.Sequential(
        [k.layers.Conv2D(4, 1), k.layers.Conv2D(4, 3, groups=2, padding="same")]
    ),
    "depthwise": lambda k: k.layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
    "separable": lambda k: k.layers.SeparableConv2D(4, 3, padding="same", activation="elu"),
    "transposed": lambda k: k.layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
    "dense": lambda k: k.layers.Dense(4, activation="gelu"),
    "norm": lambda k: k.layers.BatchNormalization(scale=False, epsilon=0.1),
    "layer norm": lambda k: k.layers.LayerNormalization(),
    "group norm": lambda k: k.layers.GroupNormalization(groups=3),
    "normalization": lambda k: k.layers.Normalization(mean=[100.0, 90, 80], variance=[9.0, 16, 25]),
    "relu": lambda k: k.layers.ReLU(max_value=100.0, negative_slope=0.1, threshold=5.0),
    "leaky": lambda k: k.layers.LeakyReLU(negative_slope=0.2),
    "prelu": lambda k: k.layers.PReLU(shared_axes=[1, 2]),
    "hard sigmoid": lambda k: k.layers.Activation("hard_sigmoid"),
    "hard swish": lambda k: k.layers.Conv2D(4, 1, activation="hard_swish"),
    "own activation": lambda k: k.layers.Conv2D(4, 1, activation=lambda x: k.ops.maximum(x, 0.0) * 2.0),
    "activation layer": lambda k: k.layers.Conv2D(4, 1, activation=k.layers.LeakyReLU(0.3)),
    "nearest": lambda k: k.layers.UpSampling2D((2, 1), interpolation="nearest"),
    "bilinear": lambda k: k.layers.UpSampling2D(2, interpolation="bilinear"),
    "padding": lambda k: k.layers.ZeroPadding2D(((1, 0), (2, 3))),
    "cropping": lambda k: k.layers.Cropping2D(((1, 0), (2, 3))),
    "resizing": lambda k: k.layers.Resizing(5, 7),
    "average": lambda k: k.layers.AveragePooling2D(2, padding="same"),
    "mean": lambda k: k.layers.GlobalAveragePooling2D(keepdims=True),
    "augmentation": lambda k: k.layers.RandomContrast(0.5),
    "noise": lambda k: k.Sequential([k.layers.SpatialDropout2D(0.2), k.layers.GaussianNoise(0.1)]),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_of_keras_3(keras3, kind):
    images = keras3.Input(SHAPE)
    x = LAYERS[kind](keras3)(images - 128.0)
    head = keras3.layers.Conv2D(2, 1)
    original = shaken(keras3.Model(images, head(x)))
    original.layers[-1].trainable = False
    model, report = models.adopt(original)
    check_form(model)
    inputs = pixels(SHAPE)
    expected = np.asarray(original(inputs, training=False))
    if kind == "cropping":  # what is cut away stays empty; the rest stays where it was
        expected = np.pad(expected, ((0, 0), (1, 0), (2, 3), (0, 0)))
    if expected.shape[1:3] != SHAPE[:2]:
        assert report.added
        expected = tf.image.resize(expected, SHAPE[:2])
    np.testing.assert_allclose(model(inputs), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert len(model.trainable_weights) == len(original.trainable_weights)
    assert len(model.losses) == len(original.losses)


def test_shared_layers_and_models_of_keras_3(keras3):
    layers = keras3.layers
    inner = keras3.Sequential(
        [keras3.Input((None, None, 4)), layers.Conv2D(4, 3, padding="same"), layers.ReLU()]
    )
    images = keras3.Input((None, None, 3))
    x = layers.Conv2D(4, 1)(images)
    original = shaken(keras3.Model(images, inner(inner(x) * 0.5) - x))
    with pytest.raises(ValueError, match="leaves its input size open"):
        models.adopt(original)
    model, _ = models.adopt(original, input_shape=(9, 7))
    check_form(model)
    assert model.count_params() == original.count_params() + 4  # the frozen factor 0.5 of 4 channels
    np.testing.assert_allclose(model(pixels((9, 7, 3))), original(pixels((9, 7, 3))), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("pixel_range", [(0, 1), (-1, 1)])
def test_the_pixel_range_becomes_part_of_the_network(keras3, pixel_range):
    original = foreign_networks.unet(keras3)
    model, _ = models.adopt(original, pixel_range=pixel_range)
    images, (low, high) = pixels((16, 24, 3)), pixel_range
    expected = original(low + images / 255 * (high - low))
    assert largest_difference(tf.nn.softmax(model(images)), expected) < 1e-5
    assert sum("normalization" in layer.name.split("/")[0] for layer in model.layers) >= 1
    assert len([layer for layer in model.layers if layer.name == "normalization"]) == 1, (
        "one map, with Rescaling"
    )


def test_a_softmax_before_the_last_resize_is_removed(keras3):
    images = keras3.Input(SHAPE)
    x = keras3.layers.Conv2D(3, 3, strides=2, padding="same", activation="softmax", name="head")(images)
    original = shaken(keras3.Model(images, keras3.layers.Resizing(*SHAPE[:2], name="big")(x)))
    model, report = models.adopt(original)
    assert "before 'big': logits are resized now" in report.removed[0]
    inputs = pixels(SHAPE)
    kernel, bias = original.get_layer("head").get_weights()
    logits = tf.nn.conv2d(inputs, kernel, 2, "SAME") + bias
    np.testing.assert_allclose(model(inputs), tf.image.resize(logits, SHAPE[:2]), rtol=1e-4, atol=1e-3)


def test_weights_go_back_where_they_came_from(keras3):
    original = foreign_networks.unet(keras3)
    adoption = models.Adoption(original)
    random = np.random.default_rng(5)
    for layer in adoption.model.layers:
        if layer.trainable:  # the frozen ones hold constants of the original, such as 1 / 127.5
            layer.set_weights([w + 0.05 * random.random(w.shape) for w in layer.get_weights()])
    images = pixels((16, 24, 3))
    assert largest_difference(tf.nn.softmax(adoption.model(images)), original(images)) > 1e-3
    adoption.write_back()
    assert largest_difference(tf.nn.softmax(adoption.model(images)), original(images)) < 1e-5


def test_a_tf_keras_network_with_inner_models_and_operations():
    layers = keras.layers
    inputs = keras.Input((None, None, 4))
    inner = keras.Model(inputs, layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(inputs)))
    images = keras.Input((None, None, 3))
    x = inner(layers.Conv2D(4, 1)(images / 255.0))
    original = shaken(keras.Model(images, layers.Softmax()(tf.image.resize(x + tf.nn.relu(x), (8, 12)))))
    model, report = models.adopt(original, input_shape=(8, 12))
    check_form(model)
    assert report.keras == "tf_keras"
    assert largest_difference(tf.nn.softmax(model(pixels(SHAPE))), original(pixels(SHAPE))) < 1e-5
    assert not {id(w) for w in model.weights} & {id(w) for w in original.weights}


def test_what_cannot_be_adopted_is_named_layer_by_layer(keras3):
    layers = keras3.layers

    class Own(layers.Layer):
        def build(self, input_shape):
            self.gain = self.add_weight(shape=(*input_shape[1:3], 1), name="gain")

        def call(self, x):
            return x * self.gain

    images = keras3.Input(SHAPE)
    x = Own(name="own")(layers.Lambda(lambda t: keras3.ops.sort(t, axis=1), name="secret")(images))
    for number in range(30):
        x = layers.MultiHeadAttention(1, 2, name=f"attention{number}")(x, x)
    with pytest.raises(
        ValueError, match=r"'secret' \(Lambda\).*'own' \(Own\).*'attention0.*more of this kind.*Cumsum"
    ) as refusal:
        models.adopt(keras3.Model(images, keras3.ops.cumsum(x, axis=1)))
    assert len(str(refusal.value)) < 2000  # a screen


def test_a_layer_that_computes_something_else_is_named(keras3, monkeypatch):
    convert = Keras3Frontend.convert

    def wrong(self, call, shapes):
        made = convert(self, call, shapes)
        if call.layer.name == "context":
            made.set_weights([1.01 * weight for weight in made.get_weights()])
        return made

    monkeypatch.setattr(Keras3Frontend, "convert", wrong)
    with pytest.raises(
        ValueError, match=r"difference of .*first layer whose output differs is 'context' \(Conv2D\)"
    ):
        models.adopt(foreign_networks.unet(keras3))


def test_bad_input(keras3):
    with pytest.raises(TypeError, match="Only a Keras model"):
        models.adopt(lambda images: images)
    two = keras3.Input(SHAPE), keras3.Input(SHAPE)
    with pytest.raises(ValueError, match="one batch of images"):
        models.adopt(keras3.Model(two, keras3.layers.Add()(two)))
    images = keras3.Input(SHAPE)
    x = keras3.layers.Conv2D(2, 1)(images)
    with pytest.raises(ValueError, match="one value for each class and pixel"):
        models.adopt(keras3.Model(images, keras3.layers.GlobalAveragePooling2D()(x)))
    for pixel_range in ((1, 0), (0, np.inf)):
        with pytest.raises(ValueError, match="darkest and the brightest"):
            models.adopt(keras3.Model(images, x), pixel_range=pixel_range)
    with pytest.raises(ValueError, match=r"must be \(height, width\)"):
        models.adopt(keras3.Model(images, x), input_shape=(8,))
    infinite = keras3.Model(images, x)
    infinite.set_weights([w + np.inf for w in infinite.get_weights()])
    with pytest.raises(ValueError, match="not finite"):
        models.adopt(infinite)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["keras", "tf_keras", "tfsegkd"])
def test_the_order_of_imports_does_not_matter(first):
    program = f"""
import {first}
import keras, tf_keras, tfsegkd
images = keras.Input({SHAPE})
x = keras.layers.Conv2D(2, 3, padding="same", activation="softmax")(images)
model, report = tfsegkd.models.adopt(keras.Model(images, x + 0.0))
assert isinstance(model, tf_keras.Model), type(model)
print(report.difference)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert float(run.stdout) < 1e-5
