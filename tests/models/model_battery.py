"""What every network of ours must do, whatever it is, and how its parts are counted."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfsegkd import models, runtime
from tfsegkd._keras import keras
from tfsegkd.graph import cost
from tfsegkd.models.registry import published_feature_layers

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


class Part(NamedTuple):
    """A line of a paper's table.

    Args:
        stride: Of the positions at which its kernel is applied.
        kernel: Parameters of the kernel.
        others: Biases, and the scales and offsets of a BatchNorm.
        positions: Their number, where it does not follow from a stride.
    """

    stride: int
    kernel: int
    others: int = 0
    positions: int | None = None


def conv(stride, kernel, before, after):
    """A square convolution with BatchNorm."""
    return Part(stride, kernel * kernel * before * after, 2 * after)


def depthwise(stride, channels, kernel=3):
    """`channels` are those that come out."""
    return Part(stride, kernel * kernel * channels, 2 * channels)


def classifier(stride, before, classes, kernel=1):
    return Part(stride, kernel * kernel * before * classes, classes)


def separable(stride, before, after):
    return [depthwise(stride, before), conv(stride, 1, before, after)]


def inverted_residual(stride, before, after, expansion=6, down=False, kernel=3):
    """MobileNetV2's block, `stride` being that of its output."""
    inner = expansion * before
    first = [conv(stride // 2 if down else stride, 1, before, inner)] if expansion > 1 else []
    return [*first, depthwise(stride, inner, kernel), conv(stride, 1, inner, after)]


def pooled(before, after, bins=(1,)):
    """1×1 convolutions of means over grids of windows."""
    return [conv(0, 1, before, after)._replace(positions=number**2) for number in bins]


def auxiliary(before, classes, stride=8):
    """torchvision's auxiliary head, which its counts include and our networks leave out."""
    return [conv(stride, 3, before, before // 4), classifier(stride, before // 4, classes)]


def parameters(parts):
    return sum(part.kernel + part.others for part in parts)


def macs(parts, height, width):
    """For an image whose sides the strides divide."""

    def positions(part):
        return part.positions or height * width // part.stride**2

    return sum(part.kernel * positions(part) for part in parts)


def check_parts(model, parts):
    """`model` has the parameters of `parts` and their MACs at its own size, and nothing more."""
    height, width, _ = model.input_shape[1:]
    assert trainable(model) == parameters(parts)
    assert cost(model).macs == macs(parts, height, width) + 3 * height * width  # pixels are normalised


def check_model(model, name):
    """Tries what a user does first with a small member of a family, built at an odd size."""
    _check_normalization(model)
    shaken(model)
    _check_logits(model, frames(ODD))
    _check_layers(model, name)
    _check_layers(model, name)
    _check_cost(model)


def _check_logits(model, images):
    assert model.input_shape == (None, *ODD)
    assert model.output_shape == (None, *ODD[:2], NUM_CLASSES)
    logits = model(images, training=False).numpy()
    assert logits.shape == (2, *ODD[:2], NUM_CLASSES)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert abs(logits[0] - logits[1]).max() > 0
    assert logits.min() < 0 or logits.sum(-1).std() > 1e-3  # logits, not shares


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


def _check_layers(model, name):
    published = published_feature_layers()[name]
    assert set(published) <= set(models.feature_layers(model))
    assert published[-1] == "logits"
    padded = model.get_layer("padding").output.shape[1:3]
    for layer_name in models.feature_layers(model):
        shape = model.get_layer(layer_name).output.shape
        assert len(shape) == 4
        if layer_name.startswith("stride"):
            stride = int(layer_name.removeprefix("stride"))
            assert shape[1:3] == tuple(side // stride for side in padded)


def _check_cost(model):
    counted = cost(model)
    assert counted.uncounted == ()
    assert counted.macs > 0
    assert counted.parameters == model.count_params()


def check_file(model, tmp_path):
    """Saved and loaded, it is the same."""
    images = frames(model.input_shape[1:])
    logits = model(images, training=False)
    model.save(tmp_path / "network.keras")
    again = models.load(tmp_path / "network.keras")
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    assert again.get_layer("normalization").trainable is False
    for old, new in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(again(images, training=False), logits)


def check_other_size(model, spec):
    """At another size it is the network that the spec gives there, and a copy."""
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


def check_learning(model):
    """Every weight that is trained has a say in the logits."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(frames(model.input_shape[1:]), training=True)))
    gradients = tape.gradient(loss, model.trainable_weights)
    silent = [w.name for w, g in zip(model.trainable_weights, gradients, strict=True) if g is None]
    assert silent == []
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def check_tflite(model):
    """As a float .tflite it computes what Keras does, in operations that every runtime has."""
    images = frames(model.input_shape[1:])
    expected = model(images, training=False).numpy()
    network = runtime.Network(runtime.convert(model, inputs="float32", outputs="float32"))
    scale = abs(expected).max()
    np.testing.assert_allclose(network.predict(images) / scale, expected / scale, atol=1e-4)
