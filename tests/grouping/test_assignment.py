"""Which channels belong together."""

import itertools

import numpy as np
import pytest
from channel_oracle import shake
from grouping_oracle import check_close, images, masked, one_layer, small

from tfsegkd._keras import keras
from tfsegkd.grouping import ChannelOrder, assign_channels, make_gradual, regroup, set_alpha

layers = keras.layers


def test_hidden_groups_are_found():
    """A grouped network whose channels were mixed up loses nothing."""
    model = small(width=8, seed=3)
    gradual = make_gradual(model, 4)
    random = np.random.default_rng(1)
    mixed = {width: random.permutation(width) for width in (8, 16)}
    for name, into, out_of in (("widen", 8, 16), ("middle", 16, 16), ("narrow", 16, 8)):
        layer = gradual.get_layer(f"{name}_conv")
        kernel = layer.kernel.numpy()
        for i, o in itertools.product(range(into), range(out_of)):
            if mixed[into][i] * 4 // into != mixed[out_of][o] * 4 // out_of:
                kernel[:, :, i, o] = 0
        layer.kernel.assign(kernel)
    before = gradual(images(model)).numpy()
    report = assign_channels(gradual)
    assert max(report.kept_before.values()) < 0.8
    assert min(report.kept_after.values()) > 1 - 1e-6 and report.ordered == ()
    set_alpha(gradual, 0.0)
    grouped = regroup(gradual)
    assert not any(isinstance(layer, ChannelOrder) for layer in grouped.layers)
    check_close(grouped(images(model)), before)


@pytest.mark.parametrize("seed", range(3))
def test_small_layers_are_assigned_as_well_as_can_be(seed):
    """Against all ways to put 4 channels into 2 groups, on both sides."""
    inputs = keras.Input((4, 4, 3), name="pixels")
    x = layers.Conv2D(4, 1, name="before")(inputs)
    x = layers.Conv2D(4, 3, name="conv")(x)
    model = shake(keras.Model(inputs, layers.Conv2D(3, 1, name="after")(x)), seed)
    energy = np.square(model.get_layer("conv").get_weights()[0].astype(float)).sum((0, 1))
    halves = [np.isin(np.arange(4), half) for half in itertools.combinations(range(4), 2)]
    best = max(
        energy[np.ix_(i, o)].sum() + energy[np.ix_(~i, ~o)].sum()
        for i, o in itertools.product(halves, halves)
    )
    gradual = make_gradual(model, 2, ["conv"])
    report = assign_channels(gradual)
    assert report.kept_after["conv"] == pytest.approx(best / energy.sum(), rel=1e-6)
    assert report.kept_before["conv"] == pytest.approx(
        (energy[:2, :2].sum() + energy[2:, 2:].sum()) / energy.sum(), rel=1e-6
    )


def test_every_layer_gains_or_pays_for_others():
    gradual = make_gradual(small(), 2)
    x = images(gradual)
    before = gradual(x).numpy()
    report = assign_channels(gradual)
    assert np.mean(list(report.kept_after.values())) > np.mean(list(report.kept_before.values()))
    assert "3 layers" in str(report) and "→" in str(report)
    np.testing.assert_array_equal(gradual(x), before)
    again = make_gradual(small(), 2)
    assert assign_channels(again) == report, "the same weights give the same groups"


def test_bound_channels_get_a_layer_of_their_own():
    model = one_layer(kernel_size=1, channels=8, filters=8)
    gradual = make_gradual(model, 4)
    report = assign_channels(gradual)
    assert report.ordered == ("conv_inputs",) and "conv_inputs" in str(report)
    assert report.kept_after["conv"] > report.kept_before["conv"]
    set_alpha(gradual, 0.0)
    grouped, x = regroup(gradual), images(model)
    assert [layer.name for layer in grouped.layers] == ["features", "conv_inputs", "conv"]
    check_close(grouped(x), masked(model, gradual)(x))


def test_it_needs_gradual_layers():
    with pytest.raises(ValueError, match="no gradual layer"):
        assign_channels(small())
