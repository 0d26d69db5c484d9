"""A network that has seen nothing is not passed off as int8."""

import numpy as np
import pytest

from tfsegkd import export, models, quantization
from tfsegkd._keras import keras

layers = keras.layers
SIZE = (16, 24)


def network():
    keras.utils.set_random_seed(0)
    pixels = keras.Input((*SIZE, 3), name="pixels")
    x = layers.ReLU(name="relu")(layers.Conv2D(4, 3, padding="same", name="first")(pixels))
    y = layers.Conv2D(4, 1, name="branch")(x)
    x = layers.Concatenate(name="join")([x, y])  # a range that two tensors share
    return keras.Model(pixels, layers.Conv2D(5, 1, name="logits")(x), name="toy")


def images():
    return np.random.default_rng(0).uniform(0, 255, (2, *SIZE, 3)).astype(np.float32)


@pytest.mark.parametrize("quantizer", ["minmax", "lsq"])
def test_ranges_must_have_been_measured(quantizer, tmp_path):
    blind = quantization.quantize(network(), quantizer=quantizer)
    told = r"'toy' cannot become int8: nothing was ever measured of 2 ranges.*Pass calibration=.*train it"
    with pytest.raises(ValueError, match=told):
        export.export_tflite(blind, tmp_path / "toy.tflite")
    assert not list(tmp_path.iterdir())
    # Looking at the network is not enough.
    blind.predict(images(), verbose=0)
    blind.save(tmp_path / "blind.keras")
    with pytest.raises(ValueError, match=told):
        quantization.check_observed(models.load(tmp_path / "blind.keras"))
    # Either cure does.
    quantization.check_observed(quantization.quantize(network(), quantizer=quantizer, calibration=[images()]))
    blind.compile("sgd", "mse")
    blind.train_on_batch(images(), np.zeros((2, *SIZE, 5)))
    quantization.check_observed(blind)
    blind.save(tmp_path / "seen.keras")
    quantization.check_observed(models.load(tmp_path / "seen.keras"))


def test_other_networks_pass():
    quantization.check_observed(network())
