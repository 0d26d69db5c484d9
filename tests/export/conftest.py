"""One tiny network, and its files, that the tests of this package share."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd import runtime
from tfsegkd._keras import keras
from tfsegkd.data.source import DatasetInfo
from tfsegkd.export import export_tflite, write_bundle
from tfsegkd.quantization import quantize

# The browser that other pages are tested in.
sys.path.append(str(Path(__file__).parents[1] / "reporting"))

HEIGHT, WIDTH = 64, 96
INFO = DatasetInfo(
    name="toy",
    class_names=("sky", "road", "tree — any", "car", "void?"),
    palette=tuple((40 * label, 0, 0) for label in range(5)),
)


def float_network() -> keras.Model:
    layers = keras.layers
    keras.utils.set_random_seed(3)
    image = keras.Input((HEIGHT, WIDTH, 3), name="image")
    x, skip = image, None
    for stage in range(3):
        x = layers.Conv2D(8, 3, strides=2 - stage % 2, padding="same", use_bias=False, name=f"conv{stage}")(x)
        x = layers.BatchNormalization(name=f"norm{stage}")(x)
        x = layers.ReLU(6.0, name=f"relu{stage}")(x)
        skip = x if skip is None else skip
    x = layers.UpSampling2D(2, interpolation="bilinear", name="up")(x)
    x = layers.Concatenate(name="join")([x, skip])
    x = layers.Conv2D(len(INFO.class_names), 1, name="logits")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear", name="enlarge")(x)
    model = keras.Model(image, x, name="tiny")
    # Statistics of the pixels, without which every activation is beyond the 6 of ReLU6 and all is one class.
    images = pixels(8).astype(np.float32)
    observe = tf.function(lambda: model(images, training=True))
    for _ in range(300):
        observe()
    # Logits of mean 0 and variance 1 on each class, so that each class is chosen somewhere.
    logits = model(images, training=False).numpy()
    mean, deviation = logits.mean((0, 1, 2)), logits.std((0, 1, 2))
    kernel, _ = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel / deviation, -mean / deviation])
    return model


def pixels(count: int, seed: int = 0) -> np.ndarray:
    """Smooth images, so that neighbouring pixels agree as they do in photographs."""
    noise = np.random.default_rng(seed).uniform(0, 255, (count, HEIGHT // 16, WIDTH // 16, 3))
    return tf.image.resize(noise, (HEIGHT, WIDTH)).numpy().clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def info():
    return INFO


@pytest.fixture(scope="session")
def float_model():
    return float_network()


@pytest.fixture(scope="session")
def aware_model(float_model):
    return quantize(float_model, calibration=[pixels(8).astype(np.float32)])


@pytest.fixture(scope="session")
def images():
    return pixels(4, seed=1)


@pytest.fixture(scope="session")
def converted(aware_model):
    """The bare int8 network, as the converter leaves it."""
    return runtime.convert(aware_model)


@pytest.fixture(scope="session")
def exported(aware_model, converted, info, tmp_path_factory):
    """The int8 file with everything in it, and its report."""
    path = tmp_path_factory.mktemp("export") / "model_int8.tflite"
    with pytest.MonkeyPatch.context() as patch:
        # Each conversion takes seconds; the arguments' way into the converter is tested with floats.
        patch.setattr(runtime, "convert", lambda *args, **kwargs: converted)
        return path, export_tflite(aware_model, path, metadata=info)


@pytest.fixture(scope="session")
def exported_float_io(aware_model, info, tmp_path_factory):
    """The same network with floats at both ends."""
    path = tmp_path_factory.mktemp("export") / "model_float_io.tflite"
    return path, export_tflite(aware_model, path, "float32", "float32", metadata=info)


@pytest.fixture(scope="session")
def bundle(aware_model, info, images, tmp_path_factory):
    """A bundle of the network, and its card; five files, of which a table knows the time of one."""
    parent = tmp_path_factory.mktemp("bundle")
    table = parent / "phone.csv"
    table.write_text("file,ms\nmodel_int8.tflite,7.25\nanother.tflite,3\n")
    card = write_bundle(
        aware_model,
        parent / "tiny",
        info,
        images[0],
        measure=lambda path: {"measured": path.name},
        device_table=runtime.DeviceTable(table),
        source="tiny.keras",
    )
    return parent / "tiny", card
