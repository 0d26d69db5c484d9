"""BatchNorm and ranges that stop following the batches."""

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd import quantization
from tfsegkd._keras import keras

layers = keras.layers


class Trainer(keras.Model):
    """A model with a training step of its own around a student."""

    def __init__(self, student):
        super().__init__()
        self.student = student

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self.student(x, training=True) - y) ** 2)
        variables = self.student.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return {"loss": loss}


class Watch(keras.callbacks.Callback):
    """Notes the moving mean at the end of each epoch."""

    def __init__(self, norm, kernel):
        super().__init__()
        self.norm, self.kernel, self.means, self.kernels = norm, kernel, [], []

    def on_epoch_end(self, epoch, logs=None):
        self.means.append(self.norm.moving_mean.numpy())
        self.kernels.append(self.kernel.numpy())


def network():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, use_bias=False, name="conv")(inputs)
    return keras.Model(inputs, layers.BatchNormalization(name="norm")(x))


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("as_student", [False, True])
def test_statistics_stop_at_the_epoch_and_training_goes_on(wrapped, as_student):
    keras.utils.set_random_seed(0)
    model = quantization.quantize(network()) if wrapped else network()
    norm = model.get_layer("quant_norm").layer if wrapped else model.get_layer("norm")
    trainer = Trainer(model) if as_student else model
    trainer.compile("adam", "mse")
    watch = Watch(norm, model.trainable_variables[0])
    pixels = np.random.default_rng(0).uniform(0, 255, (8, 8, 8, 3)).astype("float32")
    target = np.ones((8, 6, 6, 4), "float32")
    freeze = quantization.FreezeBatchNorm(at_epoch=2)
    trainer.fit(pixels, target, batch_size=4, epochs=4, verbose=0, callbacks=[freeze, watch])
    assert (watch.means[0] != watch.means[1]).any()
    np.testing.assert_array_equal(watch.means[1], watch.means[2])
    np.testing.assert_array_equal(watch.means[1], watch.means[3])
    assert (watch.kernels[2] != watch.kernels[3]).any()

    # Another training follows the batches again.
    assert norm.trainable
    trainer.fit(pixels, target, batch_size=4, verbose=0)
    assert (norm.moving_mean.numpy() != watch.means[3]).any()


def test_refuses_a_negative_epoch():
    with pytest.raises(ValueError, match="at_epoch"):
        quantization.FreezeBatchNorm(at_epoch=-1)


@pytest.mark.parametrize("quantizer", ["minmax", "lsq"])
def test_ranges_stop_at_the_epoch_and_training_goes_on(quantizer):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    x = layers.Concatenate(name="join")([layers.ReLU(name="relu")(x), x])
    model = quantization.quantize(keras.Model(inputs, x), quantizer=quantizer)
    model.compile("adam", "mse")
    kernel = model.get_layer("quant_conv").trainable_weights[0]
    assert kernel.shape == (3, 3, 3, 4)
    ranged = [model.get_layer(name) for name in ("quant_conv", "conv_range", "quant_relu")]
    ranges = [w for layer in ranged for w in layer.weights if w is not kernel and "bias" not in w.name]
    assert len(ranges) > 3
    seen = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: seen.append([kernel.numpy(), *(w.numpy() for w in ranges)])
    )
    order = [w.name for w in model.weights]
    pixels = np.random.default_rng(0).uniform(0, 255, (8, 8, 8, 3)).astype("float32")
    data = {"x": pixels, "y": np.ones((8, 6, 6, 8), "float32"), "batch_size": 4, "verbose": 0}
    freeze = quantization.FreezeRanges(at_epoch=1)
    model.fit(**data, epochs=3, callbacks=[freeze, note])
    assert (seen[1][0] != seen[2][0]).any()
    for before, after in zip(seen[0][1:], seen[2][1:], strict=True):
        np.testing.assert_array_equal(before, after)
    # Files store weights by position; another training moves the ranges again.
    assert [w.name for w in model.weights] == order
    model.fit(**data)
    assert any((before != w.numpy()).any() for before, w in zip(seen[2][1:], ranges, strict=True))


def test_ranges_of_a_float_network_cannot_freeze():
    model = network()
    model.compile("adam", "mse")
    freeze = quantization.FreezeRanges(at_epoch=0)
    with pytest.raises(ValueError, match=r"found no ranges in 'model.*quantize"):
        model.fit(np.zeros((1, 8, 8, 3)), np.zeros((1, 6, 6, 4)), verbose=0, callbacks=[freeze])
