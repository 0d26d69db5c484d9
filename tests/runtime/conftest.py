"""Tiny networks, and the files made of them, that the tests of this package share."""

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd._keras import keras, tfmot
from tfsegkd.runtime import convert

HEIGHT, WIDTH, NUM_CLASSES = 32, 48, 5


def float_network() -> keras.Model:
    layers = keras.layers
    keras.utils.set_random_seed(7)
    image = keras.Input((HEIGHT, WIDTH, 3), name="image")
    x, skip = image, None
    for stage in range(3):
        x = layers.Conv2D(8, 3, strides=2 - stage % 2, padding="same", use_bias=False, name=f"conv{stage}")(x)
        x = layers.BatchNormalization(name=f"norm{stage}")(x)
        x = layers.ReLU(6.0, name=f"relu{stage}")(x)
        skip = x if skip is None else skip
    x = layers.UpSampling2D(2, interpolation="bilinear", name="up")(x)
    x = layers.Concatenate(name="join")([x, skip])
    x = layers.Conv2D(NUM_CLASSES, 1, name="logits")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear", name="enlarge")(x)
    model = keras.Model(image, x, name="tiny")
    # The biases make the range of the logits lopsided, and their zero point differ from 0. They differ among
    # each other, because the converter rounds equal biases by the scale of the first channel.
    kernel, _ = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel, np.linspace(3.0, 5.0, NUM_CLASSES)])
    return model


def pixels(count: int, seed: int = 0) -> np.ndarray:
    """Smooth images, so that neighbouring pixels agree as they do in photographs."""
    noise = np.random.default_rng(seed).uniform(0, 255, (count, HEIGHT // 8, WIDTH // 8, 3))
    return tf.image.resize(noise, (HEIGHT, WIDTH)).numpy().clip(0, 255).astype(np.uint8)


def make_aware(model: keras.Model, input_range=(0.0, 255.0)) -> keras.Model:
    """TF-MOT's quantize_model with observed ranges and a fixed input range."""
    aware = tfmot.quantization.keras.quantize_model(model)
    images = pixels(8).astype(np.float32)
    observe = tf.function(lambda: aware(images, training=True))
    for _ in range(200):
        observe()
    quantize_layer = next(layer for layer in aware.layers if layer.name.startswith("quantize_layer"))
    for variable, limit in zip(quantize_layer.weights[:2], input_range, strict=True):
        variable.assign(limit)
    return aware


@pytest.fixture(scope="session")
def float_model():
    return float_network()


@pytest.fixture(scope="session")
def aware_model():
    return make_aware(float_network())


@pytest.fixture(scope="session")
def images():
    return pixels(3, seed=1)


@pytest.fixture(scope="session")
def files(float_model, aware_model, tmp_path_factory):
    """Paths of the three files that one network can become."""
    directory = tmp_path_factory.mktemp("runtime")
    contents = {
        "int8": convert(aware_model),
        "float_io": convert(aware_model, inputs="float32", outputs="float32"),
        "float": convert(float_model, inputs="float32", outputs="float32"),
    }
    paths = {name: directory / f"{name}.tflite" for name in contents}
    for name, content in contents.items():
        paths[name].write_bytes(content)
    return paths


@pytest.fixture(scope="session")
def network_with():
    """Returns a function that builds a quantization-aware file around layers in its middle.

    The converter runs here and not through ours: the reading of a file is tested on files of others.
    """

    def build(*middle: keras.layers.Layer) -> bytes:
        layers = keras.layers
        head = [layers.Conv2D(8, 3, strides=2, padding="same", name="head"), layers.ReLU(6.0)]
        tail = [layers.Conv2D(NUM_CLASSES, 1, name="tail")]
        model = keras.Sequential([layers.InputLayer((HEIGHT, WIDTH, 3)), *head, *middle, *tail])
        aware = make_aware(model)
        function = tf.function(
            lambda image: aware(image, training=False),
            input_signature=[tf.TensorSpec((1, HEIGHT, WIDTH, 3), tf.float32)],
        )
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], aware)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        return converter.convert()

    return build
