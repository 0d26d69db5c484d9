"""Layers that int8 has no operation for: what they become computes the same, and converts."""

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd import models, quantization
from tfsegkd._keras import keras
from tfsegkd.graph import rebuild
from tfsegkd.layers import AdaptiveMean, HardGate
from tfsegkd.quantization.decomposition import decompose
from tfsegkd.quantization.folding import fold
from tfsegkd.runtime import Network, convert, profile

layers = keras.layers
SIZE = (13, 18)
INT8 = {"Activation", "Add", "BatchNormalization", "Concatenate", "Conv2D", "DepthwiseConv2D", "GridGain"}
INT8 |= {"LeakyReLU", "Multiply", "ReLU", "StripMean"}


def pair(layer):
    """Calls a layer on two different images of the same size."""
    return lambda x: layer([x, layers.Conv2D(x.shape[-1], 1, name="other")(x)])


def many(layer, count):
    def call(x):
        return layer([x, *(layers.Conv2D(x.shape[-1], 1, name=f"other{n}")(x) for n in range(count - 1))])

    return call


def nested(x):
    inner = keras.Sequential([keras.Input(x.shape[1:]), layers.Conv2D(5, 1), layers.ReLU()], name="inner")
    return inner(x)


OPENED = {
    "swish": layers.Activation("swish"),
    "hard_sigmoid": layers.Activation("hard_sigmoid"),
    "inline": layers.Conv2D(5, 3, activation="swish"),
    "separable": layers.SeparableConv2D(
        5, 3, depth_multiplier=2, strides=2, padding="same", activation="relu"
    ),
    "leaky": layers.ReLU(negative_slope=0.2),
    "prelu": layers.PReLU(shared_axes=[1, 2], alpha_initializer=keras.initializers.RandomUniform(-0.5, 1.0)),
    "add": many(layers.Add(), 4),
    "multiply": many(layers.Multiply(), 3),
    "average": many(layers.Average(), 3),
    "concatenate": many(layers.Concatenate(), 7),
    "rescaling": layers.Rescaling(0.3, offset=-1.5),
    "rescaling by channel": layers.Rescaling([0.1, 0.2, 0.3, 0.4], offset=[1.0, 0.0, -1.0, 2.0]),
    "normalization": layers.Normalization(mean=[1.0, 2.0, 3.0, 4.0], variance=[4.0, 1.0, 0.5, 9.0]),
    "adaptive mean": AdaptiveMean(6),
    "average pooling": layers.AveragePooling2D(3, strides=2, padding="same"),
    "average pooling, inside": layers.AveragePooling2D(2),
    "average pooling, wide": layers.AveragePooling2D(5, strides=1, padding="same"),
    "norm after add": lambda x: layers.BatchNormalization()(pair(layers.Add())(x)),
    "norm after pooling": lambda x: layers.BatchNormalization()(layers.MaxPooling2D()(x)),
    "norm read twice": lambda x: pair(layers.Concatenate())(
        layers.BatchNormalization()(layers.Conv2D(4, 1)(x))
    ),
    "relu after pooling": lambda x: layers.ReLU(3.0)(layers.MaxPooling2D()(x)),
    "nested": nested,
}


def shaken(model):
    """With weights that are nowhere at their initial values."""
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 2.0, w.shape) for w in layer.get_weights()])
    return model


@pytest.mark.parametrize("name", OPENED)
def test_what_a_layer_becomes_computes_the_same(name):
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((*SIZE, 3))
    x = layers.Conv2D(4, 1, name="entrance")(x)
    network = shaken(keras.Model(inputs, layers.Dropout(0.1, name="exit")(OPENED[name](x))))
    opened = rebuild(fold(decompose(network)))
    pixels = np.random.default_rng(2).uniform(0, 255, (2, *SIZE, 3)).astype(np.float32)
    before, after = (model(pixels, training=False).numpy() for model in (network, opened))
    assert before.std() > 0
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4 * before.std())
    kinds = {type(layer).__name__ for layer in opened.layers[1:] if layer.name != "exit"}
    assert kinds - {"MaxPooling2D"} <= INT8
    trained, opened_trained = (sum(np.prod(w.shape) for w in m.trainable_weights) for m in (network, opened))
    # PReLU's slopes train in two places.
    assert opened_trained == trained + (4 if name == "prelu" else 0)


def test_slopes_above_one_are_refused():
    x = inputs = keras.Input((*SIZE, 3))
    steep = layers.PReLU(shared_axes=[1, 2], alpha_initializer=keras.initializers.Constant(1.5), name="steep")
    with pytest.raises(ValueError, match=r"'steep'.*reach 1\.5.*at most 1"):
        decompose(keras.Model(inputs, steep(x)))


def menagerie():
    """Every kind of layer that must become int8 in one piece."""
    x = inputs = keras.Input((24, 32, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalization")(x)
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(x)
    x = stem = layers.PReLU(shared_axes=[1, 2], name="stem")(layers.BatchNormalization(name="stem_bn")(x))
    x = layers.Conv2D(8, 3, padding="same", activation="swish", groups=2, name="swish")(x)
    x = layers.SeparableConv2D(8, 3, padding="same", activation="hard_sigmoid", name="separable")(x)
    x = layers.BatchNormalization(name="sum_bn")(layers.Add(name="sum")([x, stem, x]))
    x = layers.Multiply(name="hard_swish")([x, HardGate(name="gate")(x)])
    small = layers.AveragePooling2D(3, strides=2, padding="same", name="mean")(x)
    small = layers.BatchNormalization(name="mean_bn")(small)
    nested = [keras.Input(small.shape[1:]), layers.Conv2D(8, 3, padding="same", name="inner_conv")]
    small = keras.Sequential([*nested, layers.LeakyReLU(0.1, name="inner_leaky")], name="inner")(small)
    weights = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(small)
    weights = layers.Conv2D(8, 1, activation="sigmoid", name="excite")(weights)
    small = layers.Multiply(name="attention")([small, weights])
    up = layers.Conv2DTranspose(8, 2, strides=2, use_bias=False, name="up_conv")(small)
    up = layers.ReLU(name="up")(layers.BatchNormalization(name="up_bn")(up))
    bins = layers.Resizing(12, 16, name="spread")(AdaptiveMean(6, name="bins")(layers.ReLU(3.0)(x)))
    difference = layers.Subtract(name="difference")([x, up])
    average = layers.Average(name="average")([x, up])
    x = layers.Concatenate(name="join")([x, up, bins, difference, average, stem])
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="join_bn")(x))
    x = layers.Conv2D(4, 1, name="classifier")(x)
    return keras.Model(inputs, layers.UpSampling2D(2, interpolation="bilinear", name="logits")(x))


@pytest.mark.slow
def test_every_kind_of_layer_becomes_int8_in_one_piece(tmp_path):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    pixels = np.repeat(np.repeat(rng.integers(0, 256, (4, 6, 8, 3)), 4, 1), 4, 2).astype(np.float32)
    quantized = quantization.quantize(menagerie(), calibration=[pixels])
    content = convert(quantized)
    found = profile(content)
    assert found.float_ops == []
    assert found.delegate_partitions == 1
    file = Network(content)
    step = file.output_quantization[0]
    from_file, from_keras = file.predict(pixels), quantized.predict(pixels, verbose=0)
    assert from_keras.std() > 10 * step
    assert np.abs(from_file - from_keras).max() <= 4 * step

    quantized.save(tmp_path / "network.h5")
    again = models.load(tmp_path / "network.h5")
    np.testing.assert_array_equal(again.predict(pixels, verbose=0), from_keras)


@pytest.mark.parametrize("kind", ["UpSampling2D", "Resizing"])
def test_an_interpolation_that_int8_lacks_is_refused(kind):
    image = keras.Input((8, 12, 3))
    more = {"UpSampling2D": {"size": 2}, "Resizing": {"height": 16, "width": 24}}[kind]
    x = getattr(layers, kind)(interpolation="bicubic", name="larger", **more)(layers.Conv2D(2, 1)(image))
    with pytest.raises(ValueError, match=r"'larger' .* no interpolation 'bicubic' in int8"):
        decompose(keras.Model(image, x))


def _of_mobilenet(x):
    return tf.nn.relu6(x + 3) / 6


_of_mobilenet.__name__ = "hard_sigmoid"


def _another(x):
    return tf.nn.relu6(2 * x)


_another.__name__ = "relu6"


def test_an_activation_is_what_it_computes_and_not_its_name():
    image = keras.Input((4, 5, 3))
    model = keras.Model(image, layers.Activation(_of_mobilenet)(layers.Conv2D(4, 1)(image)))
    images = np.random.default_rng(0).uniform(-9, 9, (2, 4, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(rebuild(decompose(model))(images), model(images), atol=1e-5)
    model = keras.Model(image, layers.Activation(_another, name="odd")(image))
    with pytest.raises(ValueError, match=r"'odd' .* called 'relu6' and computes something else"):
        decompose(model)
