"""Callbacks that weaken channels: by how much, and which."""

import numpy as np
import pytest
from channel_oracle import shake
from test_prune_channels import batches, network

from tfsegkd._keras import keras
from tfsegkd.distillation import Distiller
from tfsegkd.graph import ChannelGraph
from tfsegkd.pruning import GrowGroupDecay, SlimNorms

layers = keras.layers


def begun(callback, model, rate=0.1):
    """The callback at the begin of a training that has made no step."""
    model.compile(keras.optimizers.SGD(rate), "mse")
    callback.set_model(model)
    callback.on_train_begin()
    return callback


def coupled():
    """Two convolutions whose channels are added, with a BatchNorm behind one of them."""
    inputs = keras.Input((4, 4, 3), name="pixels")
    a = layers.BatchNormalization(name="norm")(layers.Conv2D(3, 1, name="a")(inputs))
    b = layers.Conv2D(3, 1, use_bias=False, name="b")(inputs)
    x = layers.Add(name="sum")([a, b])
    return shake(keras.Model(inputs, layers.Conv2D(2, 1, name="logits")(x)), seed=2)


def test_scales_shrink_by_a_step_and_stop_at_zero():
    model = coupled()
    norm = model.get_layer("norm")
    norm.set_weights([np.array([0.5, -0.3, 0.01], np.float32), *norm.get_weights()[1:]])
    callback = begun(SlimNorms(0.4), model)
    others = [w.numpy() for w in model.weights if w is not norm.gamma]
    callback.on_train_batch_end(0)
    np.testing.assert_allclose(norm.gamma, [0.46, -0.26, 0.0], atol=1e-6)
    for before, after in zip(others, [w for w in model.weights if w is not norm.gamma], strict=True):
        np.testing.assert_array_equal(before, after)


def test_decay_grows_with_the_weakness_of_a_channel():
    model = coupled()
    a, b, norm = (model.get_layer(name) for name in ("a", "b", "norm"))
    callback = begun(GrowGroupDecay(0.2), model)
    (group,) = ChannelGraph(model).prunable
    decay = np.zeros(3)
    for epoch in range(2):
        weights = [a.kernel[0, 0], b.kernel[0, 0], a.bias[None], norm.gamma[None], norm.beta[None]]
        weights = [np.asarray(weight, float) for weight in weights]
        norms = [np.sqrt(sum((weight[:, channel] ** 2).sum() for weight in weights)) for channel in range(3)]
        decay += 0.2 * (max(norms) - np.array(norms)) / (max(norms) - min(norms))
        callback.on_epoch_begin(epoch)
        np.testing.assert_allclose(callback.decay[group.units], decay, rtol=1e-5)
        callback.on_train_batch_end(0)
        for before, after in zip(
            weights, (a.kernel[0, 0], b.kernel[0, 0], a.bias, norm.gamma, norm.beta), strict=True
        ):
            np.testing.assert_allclose(after, (before * (1 - 0.1 * decay)).reshape(after.shape), rtol=1e-5)
    assert decay.max() == pytest.approx(0.4), "the weakest stays the weakest"
    frozen = np.delete(callback.decay, group.units)
    assert not frozen.any()


@pytest.mark.slow
@pytest.mark.parametrize("callback", [SlimNorms(50.0), GrowGroupDecay(20.0)])
def test_weak_channels_become_weaker_under_a_distiller(callback):
    student = network(width=4)
    spread = [np.ptp(np.abs(student.get_layer(f"{name}_bn").gamma)) for name in ("fine", "decoder")]
    distiller = Distiller(None, student, [])
    distiller.compile("adam")
    distiller.fit(*next(batches()), epochs=20, verbose=0, callbacks=[callback])
    scales = [np.abs(student.get_layer(f"{name}_bn").gamma) for name in ("fine", "decoder")]
    for before, after in zip(spread, scales, strict=True):
        assert after.min() < 0.1 < 0.2 < after.max() and np.isfinite(after).all()
        assert before > 0


def test_what_has_nothing_to_weaken_is_refused():
    inputs = keras.Input((4, 4, 3))
    stiff = keras.Model(inputs, layers.Conv2D(2, 1)(inputs), name="stiff")
    with pytest.raises(ValueError, match="'stiff' has no channel"):
        begun(SlimNorms(), stiff)
    x = layers.Conv2D(2, 1)(layers.Conv2D(4, 1)(inputs))
    with pytest.raises(ValueError, match=r"no trainable BatchNorm.*GrowGroupDecay"):
        begun(SlimNorms(), keras.Model(inputs, x))
    with pytest.raises(ValueError, match="growth"):
        GrowGroupDecay(0)
