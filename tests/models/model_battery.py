"""What every network of ours must do, whatever it is."""

import numpy as np

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.graph import cost
from tfsegkd.models.registry import published_taps

ODD = (50, 70, 3)
NUM_CLASSES = 5


def shaken(model, seed=0):
    """Moves every weight a little, BatchNorm's statistics included, so that none is at its initial value."""
    rng = np.random.default_rng(seed)
    model.set_weights([w + 0.05 * rng.random(w.shape, np.float32) for w in model.get_weights()])
    return model


def frames(shape, seed=1):
    return np.random.default_rng(seed).uniform(0, 255, (2, *shape)).astype(np.float32)


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def kernels(model):
    """The parameters of the convolutions without biases."""
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights if "kernel" in w.name)


def check_model(spec, tmp_path):
    """Builds a small member of a family at an odd size and tries everything that a user may do with it."""
    name = spec.split("(")[0]
    model = models.build(spec, NUM_CLASSES, ODD)
    _check_normalization(model)
    shaken(model)
    images = frames(ODD)
    logits = _check_logits(model, images)
    _check_layers(model, name)
    _check_taps(model, name)
    _check_cost(model)
    _check_file(model, images, logits, tmp_path)
    _check_other_size(model, spec)


def _check_logits(model, images):
    assert model.input_shape == (None, *ODD)
    assert model.output_shape == (None, *ODD[:2], NUM_CLASSES)
    logits = model(images, training=False).numpy()
    assert logits.shape == (2, *ODD[:2], NUM_CLASSES)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert abs(logits[0] - logits[1]).max() > 0
    assert logits.min() < 0 or logits.sum(-1).std() > 1e-3  # logits, not shares
    return logits


def _check_normalization(model):
    """Raw pixels come to lie around zero at about unit scale."""
    normalization = model.get_layer("normalization")
    assert not normalization.trainable
    black, white = (normalization(np.full((1, 1, 1, 3), pixel, np.float32)).numpy() for pixel in (0, 255))
    assert -2.3 < black.min() <= black.max() < -0.95
    assert 0.95 < white.min() <= white.max() < 2.7


def _check_layers(model, name):
    assert model.name == name
    names = [layer.name for layer in model.layers]
    assert len(set(names)) == len(names)
    for layer in model.layers:
        assert not isinstance(layer, keras.Model | keras.layers.Lambda)
        assert "OpLambda" not in type(layer).__name__
        # Keras calls an unnamed layer by its class and a number, as in re_lu_3.
        assert layer.name.replace("_", "").rstrip("0123456789") != type(layer).__name__.lower()
    assert len({weight.name for weight in model.weights}) == len(model.weights)


def _check_taps(model, name):
    published = published_taps()[name]
    assert set(published) <= set(models.taps(model))
    assert published[-1] == "logits"
    padded = model.get_layer("padding").output.shape[1:3]
    for tap in models.taps(model):
        shape = model.get_layer(tap).output.shape
        assert len(shape) == 4
        if tap.startswith("stride"):
            stride = int(tap.removeprefix("stride"))
            assert shape[1:3] == tuple(side // stride for side in padded)


def _check_cost(model):
    counted = cost(model)
    assert counted.uncounted == ()
    assert counted.macs > 0
    assert counted.parameters == model.count_params()


def _check_file(model, images, logits, tmp_path):
    model.save(tmp_path / "network.keras")
    again = models.load(tmp_path / "network.keras")
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    assert again.get_layer("normalization").trainable is False
    for old, new in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(again(images, training=False), logits)


def _check_other_size(model, spec):
    resized = models.at_size(model, (64, 33))
    assert resized.output_shape == (None, 64, 33, NUM_CLASSES)
    for old, new in zip(model.get_weights(), resized.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert [layer.name for layer in resized.layers] == [layer.name for layer in model.layers]
    assert [layer.trainable for layer in resized.layers] == [layer.trainable for layer in model.layers]
    built = models.build(spec, NUM_CLASSES, (64, 33, 3))
    built.set_weights(model.get_weights())
    images = frames((64, 33, 3))
    np.testing.assert_array_equal(resized(images, training=False), built(images, training=False))
    # The copy is the network's own: training it does not touch the first.
    before = model.get_weights()
    shaken(resized, seed=2)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
