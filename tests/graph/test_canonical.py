"""Whatever a model is written with, its canonical form consists of plain layers and computes the same."""

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.graph import canonical, rebuild

layers = keras.layers
SHAPE = (6, 8, 4)


def shaken(model):
    """With weights that are not at their initial values, moving variances above zero."""
    random = np.random.default_rng(0)
    model.set_weights([w + 0.1 * random.random(w.shape, np.float32) for w in model.get_weights()])
    return model


def network(function, shape=SHAPE):
    inputs = keras.Input(shape, name="pixels")
    return shaken(keras.Model(inputs, function(inputs), name="network"))


def check_same(model, twin):
    images = np.random.default_rng(1).normal(0, 3, (2, *model.input_shape[1:])).astype(np.float32)
    for training in (False, True):
        ones, others = (tf.nest.flatten(each(images, training=training)) for each in (model, twin))
        for one, other in zip(ones, others, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)


def kinds(model):
    return [type(layer).__name__ for layer in model.layers[1:]]


class Pair(layers.Layer):
    """A composite layer: its result is a BatchNorm's plus what came in."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(4, 3, padding="same", activation=lambda x: tf.maximum(x, 0.0), name="inner")
        self.norm = layers.BatchNormalization(name="inner_norm")

    def call(self, inputs, training=None):
        return self.norm(self.conv(inputs), training=training) + inputs


class Gain(layers.Layer):
    """A layer with a weight of its own."""

    def build(self, input_shape):
        self.gain = self.add_weight("gain", shape=(input_shape[-1],), initializer="ones")

    def call(self, inputs):
        return inputs * self.gain


class Sums(layers.Layer):
    """A layer that does what no Keras layer does."""

    def call(self, inputs):
        return tf.cumsum(inputs, axis=1)


class Noise(layers.Layer):
    def call(self, inputs, training=None):
        return inputs + tf.random.normal(tf.shape(inputs)) if training else inputs


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x + tf.nn.relu(x), ["ReLU", "Add"]),
        (lambda x: tf.add_n([x, tf.nn.relu(x), x]), ["ReLU", "Add"]),
        (lambda x: tf.nn.relu(x) - x, ["ReLU", "Subtract"]),
        (lambda x: x * tf.sigmoid(x), ["Activation", "Multiply"]),
        (lambda x: tf.maximum(x, tf.tanh(x)), ["Activation", "Maximum"]),
        (lambda x: tf.square(x), ["Multiply"]),
        (lambda x: 2.0 - x / 4.0, ["DepthwiseConv2D"]),
        (lambda x: (x * [1.0, 2.0, 3.0, 4.0] - 1.0) * 0.5, ["DepthwiseConv2D"]),
        (lambda x: tf.nn.relu6(x + 3.0) / 6.0, ["DepthwiseConv2D", "ReLU", "DepthwiseConv2D"]),
        (lambda x: tf.clip_by_value(x, 0.0, 2.0), ["ReLU"]),
        (lambda x: tf.nn.leaky_relu(x, 0.1), ["LeakyReLU"]),
        (lambda x: tf.nn.elu(x), ["ELU"]),
        (lambda x: tf.nn.softmax(x), ["Softmax"]),
        (lambda x: tf.concat([x, x], -1), ["Concatenate"]),
        (lambda x: tf.concat([x, x], 1), ["Concatenate"]),
        (lambda x: tf.image.resize(x, (12, 24)), ["UpSampling2D"]),
        (lambda x: tf.image.resize(x, (12, 24), "nearest"), ["UpSampling2D"]),
        (lambda x: tf.image.resize(x, (5, 7)), ["Resizing"]),
        (lambda x: tf.image.resize(tf.image.resize(x, (5, 7)), (6, 8)), ["Resizing", "ResizeLike"]),
        (lambda x: tf.image.resize(x, (6, 8)) + x, ["Add"]),
        (lambda x: tf.reshape(x, (-1, 48, 4)), ["Reshape"]),
        (lambda x: tf.expand_dims(tf.reduce_mean(x, [1, 2]), 1), ["GlobalAveragePooling2D", "Reshape"]),
        (lambda x: tf.reduce_max(x, [1, 2], keepdims=True), ["GlobalMaxPooling2D"]),
        (lambda x: tf.transpose(x, [0, 2, 1, 3]), ["Permute"]),
        (lambda x: tf.pad(x, [[0, 0], [1, 2], [3, 0], [0, 0]]), ["ZeroPadding2D"]),
        (lambda x: x[:, 1:-1, 2:], ["Cropping2D"]),
        (lambda x: x[..., ::-1], ["Conv2D"]),
        (lambda x: tf.stack([x[..., 2], x[..., 0]], -1), ["Conv2D"]),
        (lambda x: tf.nn.max_pool2d(x, 3, 2, "SAME"), ["MaxPooling2D"]),
        (lambda x: tf.nn.avg_pool2d(x, 2, 2, "VALID"), ["AveragePooling2D"]),
        (lambda x: layers.Rescaling(0.5, 1.0)(x), ["DepthwiseConv2D"]),
        (
            lambda x: layers.Normalization(mean=[1.0, 2, 3, 4], variance=[1.0, 4, 9, 2])(x),
            ["DepthwiseConv2D"],
        ),
        (lambda x: layers.Resizing(12, 16)(x), ["UpSampling2D"]),
        (lambda x: layers.Conv2D(3, 1, activation="swish")(x), ["Conv2D", "Activation", "Multiply"]),
        (lambda x: layers.Conv2D(3, 1, activation="tanh")(x), ["Conv2D", "Activation"]),
        (lambda x: layers.Conv2D(3, 1, activation="relu")(x), ["Conv2D"]),
        (lambda x: layers.Dense(3, activation="hard_sigmoid")(x), ["Dense", "DepthwiseConv2D", "ReLU"]),
        (lambda x: Pair(name="pair")(x), ["Conv2D", "ReLU", "BatchNormalization", "Add"]),
        (lambda x: Gain(name="gain")(x), ["Gain"]),
        (lambda x: Sums(name="sums")(x), ["Sums"]),
    ],
)
def test_operations_and_composites_become_layers(function, expected):
    model = network(function)
    before = [len(layer.inbound_nodes) for layer in model.layers]
    twin = rebuild(canonical(model).graph)
    assert kinds(twin) == expected
    check_same(model, twin)
    assert [len(layer.inbound_nodes) for layer in model.layers] == before
    assert "call" not in vars(model)


@pytest.mark.parametrize("spec", ["unet(width=2)", pytest.param("erfnet", marks=pytest.mark.slow)])
def test_our_own_networks_are_canonical(spec):
    model = models.build(spec, 3, (16, 24, 3))
    found = canonical(model)
    assert not (found.opened or found.replaced or found.removed or found.renamed)
    twin = rebuild(found.graph)
    assert [layer.name for layer in twin.layers] == [layer.name for layer in model.layers]
    assert [w.name for w in twin.weights] == [w.name for w in model.weights]
    for one, other in zip(model.weights, twin.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_was_one_layer_ends_with_its_name():
    found = canonical(network(lambda x: Pair(name="second")(Pair(name="first")(x))))
    names = [node.name for node in found.graph.nodes]
    assert names[4] == "first" and names[-1] == "second"
    assert found.opened == ("first (Pair)", "second (Pair)")
    assert dict(found.renamed) == {"second/inner": "second_inner", "second/inner_norm": "second_inner_norm"}
    assert "Maximum 'first/inner_lambda' → ReLU 'inner_lambda_re_lu'" in found.replaced


def test_weights_stay_shared_and_layers_without_are_copied():
    def function(x):
        conv, relu = layers.Conv2D(4, 1, name="conv"), layers.ReLU(name="relu")
        return relu(conv(relu(conv(x))))

    model = network(function)
    graph = canonical(model).graph
    assert [node.name for node in graph.nodes] == ["pixels", "conv", "relu", "conv", "relu_1"]
    twin = rebuild(graph)
    assert twin.count_params() == model.count_params()
    check_same(model, twin)


def test_inner_models_keep_the_mode_that_they_are_called_in():
    inner = network(lambda x: layers.BatchNormalization(name="norm")(x))
    model = network(lambda x: layers.BatchNormalization(name="outer")(inner(x, training=False)))
    twin = rebuild(canonical(model).graph)
    assert kinds(twin) == ["BatchNormalization"] * 2
    check_same(model, twin)


def test_frozen_layers_stay_frozen():
    model = network(lambda x: layers.Conv2D(2, 1)(layers.Conv2D(4, 1, trainable=False, activation="tanh")(x)))
    assert len(rebuild(canonical(model).graph).trainable_weights) == 2


def test_what_only_acts_in_training_is_removed_and_reported():
    found = canonical(network(lambda x: layers.Dropout(0.5)(Noise(name="noise")(x))))
    assert [type(node.layer).__name__ for node in found.graph.nodes] == ["InputLayer", "Dropout"]
    assert found.removed == ("noise (Noise)",)


def test_everything_that_cannot_be_done_is_named_at_once():
    secret = layers.Lambda(lambda t: tf.math.sin(t), name="secret")
    model = network(lambda x: tf.reverse(tf.cumsum(secret(x), 1), [1]))
    with pytest.raises(ValueError, match=r"Sin in 'secret' \(Lambda\).*Cumsum.*ReverseV2"):
        canonical(model)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: tf.reshape(x, (-1, 8, 4)), "mixes the images"),
        (lambda x: tf.concat([x, x], 0), "joins images"),
        (lambda x: tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT"), "MirrorPad"),
        (lambda x: tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=1.0), "else than zeros"),
        (lambda x: x + np.arange(8, dtype="float32")[:, None] * np.ones(4, "float32"), "place to place"),
        (lambda x: 1.0 / x, "divides by"),
        (lambda x: tf.clip_by_value(x, -1.0, 1.0), "only ReLU"),
        (lambda x: x[:, 1:3, :, :2], "else than a window"),
        (lambda x: x[:, 2], "number of axes"),
        (lambda x: x[..., 1], "single channel"),
        (lambda x: tf.reduce_mean(x, 1, keepdims=True), "instead of height and width"),
    ],
)
def test_what_no_layer_does_is_refused_with_the_reason(function, reason):
    with pytest.raises(ValueError, match=reason):
        canonical(network(function))


def test_open_sizes_are_asked_for():
    model = network(lambda x: layers.Conv2D(2, 3)(x), (None, None, 3))
    with pytest.raises(ValueError, match=r"input size open.*input_shape="):
        canonical(model)
    assert canonical(model, (9, 7, 3)).graph.outputs.shape == (None, 7, 5, 2)
    with pytest.raises(ValueError, match=r"built for inputs.*Leave input_shape out"):
        canonical(network(lambda x: x + 1.0), (9, 7, 4))
    with pytest.raises(TypeError, match="Only a model with inputs"):
        canonical(keras.Sequential([layers.ReLU()]))
