"""Scores against the plain definition of each."""

import numpy as np
import pytest
from channel_oracle import shake

from tfsegkd._keras import keras
from tfsegkd.graph import ChannelGraph
from tfsegkd.pruning import prune_channels
from tfsegkd.pruning.gates import gated
from tfsegkd.pruning.importance import score

layers = keras.layers


@pytest.fixture(scope="module")
def model():
    inputs = keras.Input((6, 6, 3), name="pixels")
    a = layers.Conv2D(5, 3, padding="same", name="a")(inputs)
    a = layers.Activation("tanh", name="curved")(layers.BatchNormalization(name="a_norm")(a))
    b = layers.Add(name="sum")([a, layers.Conv2D(5, 1, name="b")(inputs)])
    b = layers.Concatenate(name="join")([b, b, a])
    return shake(keras.Model(inputs, layers.Conv2D(3, 3, padding="same", name="logits")(b)))


def batches(seed=0):
    random = np.random.default_rng(seed)
    images = random.normal(size=(3, 6, 6, 3)).astype(np.float32)
    masks = random.integers(0, 3, (3, 6, 6))
    masks[0, :3] = 255
    return [(images[:2], masks[:2]), (images[2:], masks[2:])]


def scores(model, name, data=None):
    channels = ChannelGraph(model)
    (group,) = channels.prunable
    return score(name, channels, data, 0)[group.units]


def filters(model):
    a, b = (model.get_layer(name).get_weights()[0] for name in "ab")
    return [np.concatenate([a[..., i].ravel(), b[..., i].ravel()]) for i in range(5)]


def loss(model, images, masks, classes=(0, 1, 2)):
    """Each image's mean cross-entropy over the pixels of some classes."""
    found = []
    for logits, mask in zip(model(images).numpy().astype(float), masks, strict=True):
        pixels = [
            np.log(np.exp(logits[y, x]).sum()) - logits[y, x, mask[y, x]]
            for y in range(6)
            for x in range(6)
            if mask[y, x] in classes
        ]
        found.append(np.mean(pixels) if pixels else 0.0)
    return np.array(found)


def dimmed(model, channel, factor):
    """The network whose classifier sees one channel of 'a' and 'b' multiplied."""
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    kernel, bias = twin.get_layer("logits").get_weights()
    kernel[:, :, [channel, channel + 5, channel + 10]] *= factor
    twin.get_layer("logits").set_weights([kernel, bias])
    return twin


def slopes(model, images, masks, classes=(0, 1, 2), step=1e-2):
    return np.array(
        [
            [
                (after - before) / (2 * step)
                for after, before in zip(
                    loss(dimmed(model, c, 1 + step), images, masks, classes),
                    loss(dimmed(model, c, 1 - step), images, masks, classes),
                    strict=True,
                )
            ]
            for c in range(5)
        ]
    )


def test_norms(model):
    for name, norm in (("l1", lambda f: np.abs(f).sum()), ("l2", lambda f: np.sqrt((f**2).sum()))):
        norms = np.array([norm(f) for f in filters(model)])
        np.testing.assert_allclose(scores(model, name), norms / norms.mean(), rtol=1e-5)


def test_geometric_median(model):
    rows = filters(model)
    distances = np.array([sum(np.sqrt(((f - g) ** 2).sum()) for g in rows) for f in rows])
    np.testing.assert_allclose(scores(model, "fpgm"), distances / distances.mean(), rtol=1e-5)


def test_lamp(model):
    squares = [(f**2).sum() for f in filters(model)]
    expected = [s / sum(t for t in squares if t >= s) for s in squares]
    np.testing.assert_allclose(scores(model, "lamp"), expected, rtol=1e-5)
    assert max(expected) == pytest.approx(1)


def test_batch_norm_scale(model):
    np.testing.assert_allclose(scores(model, "bn_scale"), np.abs(model.get_layer("a_norm").gamma))


def test_without_batch_norm_nothing_may_go():
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 1)(layers.Conv2D(4, 1, name="a")(inputs))
    assert np.isinf(scores(keras.Model(inputs, x), "bn_scale")).all()


def test_gates_dim_what_is_read(model):
    channels = ChannelGraph(model)
    (group,) = channels.prunable
    images, _ = batches()[0]
    gates = np.ones((1, channels.num_units), np.float32)
    gates[0, group.units[2]] = 0.3
    np.testing.assert_allclose(gated(channels)([images, gates]), dimmed(model, 2, 0.3)(images), atol=1e-5)


def test_taylor_is_the_squared_slope_of_the_loss(model):
    expected = sum((slopes(model, *batch) ** 2).sum(1) for batch in batches())
    np.testing.assert_allclose(scores(model, "taylor", batches()), expected, rtol=2e-3, atol=1e-6)


def test_class_balanced_taylor_weighs_classes_alike(model):
    expected = 0
    for label in range(3):
        part = sum((slopes(model, *batch, classes=(label,)) ** 2).sum(1) for batch in batches())
        expected = expected + part / part.sum()
    np.testing.assert_allclose(
        scores(model, "class_balanced_taylor", batches()), expected, rtol=2e-3, atol=1e-5
    )


def test_hessian_is_half_the_curvature(model):
    step = 0.1
    curvature = np.array(
        [
            sum(
                (
                    loss(dimmed(model, c, 1 + step), *batch)
                    - 2 * loss(model, *batch)
                    + loss(dimmed(model, c, 1 - step), *batch)
                ).sum()
                / step**2
                for batch in batches()
            )
            for c in range(5)
        ]
    )
    # Random signs give the diagonal on average only.
    found = scores(model, "hessian", batches() * 20) / 20
    np.testing.assert_allclose(found, curvature / 2, atol=0.2 * np.abs(curvature).max())
    assert np.corrcoef(found, curvature)[0, 1] > 0.8


def test_a_function_is_an_importance(model):
    def first_stay(channels):
        found = np.full(channels.num_units, np.inf)
        for group in channels.prunable:
            found[group.units] = -np.arange(len(group.units))
        return found

    assert scores(model, first_stay).tolist() == [0, -1, -2, -3, -4]
    pruned, report = prune_channels(model, "macs:0.7", first_stay, round_to=1)
    assert report.importance == "first_stay" and report.kept["a"] == tuple(
        range(pruned.get_layer("a").filters)
    )


@pytest.mark.parametrize("fault", [np.zeros(3), np.full(5, np.nan)])
def test_wrong_scores_of_a_function_are_refused(model, fault):
    with pytest.raises(ValueError, match=r"`importance=.*`.*num_units"):
        scores(model, lambda channels: fault)
