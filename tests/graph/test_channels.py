"""A network without some channels computes what the whole one does when nobody reads them."""

import numpy as np
import pytest
from channel_oracle import RandomNetwork, pick, shake, zeroed

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.graph import ChannelGraph, cost

layers = keras.layers


def outputs(model, seed=0):
    shape = model.input_shape[1:]
    images = np.random.default_rng(seed).uniform(0, 2, (2, *shape)).astype(model.dtype)
    return model(images, training=False)


def check_exact(model, keep, channels):
    pruned = channels.rebuild(channels.edits(keep))
    expected, found = outputs(zeroed(model, channels.kept(keep))), outputs(pruned)
    for one, other in zip(*(o if isinstance(o, list) else [o] for o in (expected, found)), strict=True):
        scale = max(1.0, float(np.abs(one).max()))
        np.testing.assert_allclose(other / scale, one / scale, atol=1e-5)
    counted = cost(pruned)
    assert channels.counts(keep) == (counted.parameters, counted.macs)
    return pruned


@pytest.mark.parametrize("seed", range(8))
def test_random_networks_are_pruned_exactly(seed):
    model = RandomNetwork(seed).model
    channels = ChannelGraph(model)
    assert channels.prunable
    keep = pick(channels, seed)
    assert not keep.all()
    pruned = check_exact(model, keep, channels)
    assert cost(pruned).macs < cost(model).macs
    dense, less = outputs(model), outputs(pruned)
    assert max(float(np.abs(a - b).max()) for a, b in zip(dense, less, strict=True)) > 1e-3


@pytest.mark.parametrize("spec", ["unet(width=4)", "mobile_unet(width_multiplier=0.5)"])
def test_the_networks_of_the_zoo_are_pruned_exactly(spec):
    model = shake(models.build(spec, 4, (32, 32, 3)))
    channels = ChannelGraph(model)
    check_exact(model, pick(channels, 1, share=0.6), channels)


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        "deeplab_v3_plus(weights=None, filters=16)",
        "segnet(width=4, unpooling=upsample)",
        "erfnet(width_multiplier=0.5, block=dg2s)",
        "erfnet(width_multiplier=0.5)",
    ],
)
def test_the_large_networks_of_the_zoo_are_pruned_exactly(spec):
    model = shake(models.build(spec, 4, (32, 64, 3)))
    channels = ChannelGraph(model)
    assert len(channels.prunable) > 10
    check_exact(model, pick(channels, 2, share=0.6), channels)


@pytest.mark.slow
def test_unpooling_at_the_places_of_maxima_is_pruned_exactly():
    # In float32 the last bit decides which of two nearly equal pixels is the maximum.
    keras.backend.set_floatx("float64")
    try:
        model = shake(models.build("segnet(width=4)", 4, (32, 64, 3)))
        channels = ChannelGraph(model)
        check_exact(model, pick(channels, 2, share=0.6), channels)
    finally:
        keras.backend.set_floatx("float32")


def network(body, shape=(8, 8, 3)):
    inputs = keras.Input(shape, name="pixels")
    return shake(keras.Model(inputs, body(inputs)))


def groups(model):
    return {group.name: group for group in ChannelGraph(model).groups}


def test_what_is_added_is_one_group():
    def body(x):
        a, b = layers.Conv2D(4, 1, name="a")(x), layers.Conv2D(4, 1, name="b")(x)
        return layers.Conv2D(2, 1, name="out")(layers.ReLU()(layers.Add()([a, b])))

    found = groups(network(body))
    assert found["a"].producers == ("a", "b")
    assert found["a"].consumers == ("out",)
    assert found["a"].is_prunable
    assert found["out"].frozen == ("'out' is an output of the network",)


def test_a_tensor_joined_to_itself_loses_channels_in_both_places():
    def body(x):
        x = layers.Conv2D(4, 1, name="a")(x)
        return layers.Conv2D(2, 1, name="out")(layers.Concatenate(name="join")([x, x]))

    channels = ChannelGraph(network(body))
    keep = channels.all()
    keep[groups_by_name(channels)["a"].units[[0, 2]]] = False
    assert channels.kept(keep)["join"] == (1, 3, 5, 7)


def groups_by_name(channels):
    return {group.name: group for group in channels.groups}


def test_depthwise_channels_come_in_multiples():
    def body(x):
        x = layers.Conv2D(4, 1, name="a")(x)
        x = layers.DepthwiseConv2D(3, depth_multiplier=3, name="depthwise")(x)
        return layers.Conv2D(2, 1, name="out")(x)

    channels = ChannelGraph(network(body))
    group = groups_by_name(channels)["a"]
    assert group.widths == {"a": 1, "depthwise": 3}
    keep = channels.all()
    keep[group.units[1]] = False
    assert channels.kept(keep)["depthwise"] == (0, 1, 2, 6, 7, 8, 9, 10, 11)


def test_grouped_convolutions_lose_as_many_in_each_block():
    def body(x):
        x = layers.Conv2D(8, 1, name="a")(x)
        x = layers.Conv2D(6, 3, groups=2, name="grouped")(x)
        return layers.Conv2D(2, 1, name="out")(x)

    found = groups(network(body))
    assert (len(found["a"].units), found["a"].widths) == (4, {"a": 2})
    assert (len(found["grouped"].units), found["grouped"].widths) == (3, {"grouped": 2})


def test_filters_of_one_layer_can_have_different_partners():
    def body(x):
        c = layers.Conv2D(8, 1, name="c")(x)
        a, b = layers.Conv2D(4, 1, name="a")(c), layers.Conv2D(4, 1, name="b")(x)
        return layers.Conv2D(2, 1, name="out")(layers.Add()([c, layers.Concatenate()([a, b])]))

    channels = ChannelGraph(network(body))
    found = {name: group.producers for name, group in groups_by_name(channels).items() if group.is_prunable}
    assert sorted(map(sorted, found.values())) == [["a", "c"], ["b", "c"]]
    check_exact(channels.model, pick(channels, 0), channels)


def test_two_calls_of_one_layer_share_their_channels():
    conv = layers.Conv2D(4, 1, name="shared")

    def body(x):
        a, b = layers.Conv2D(5, 1, name="a")(x), layers.Conv2D(5, 1, name="b")(x)
        return layers.Conv2D(2, 1, name="out")(layers.Concatenate()([conv(a), conv(b)]))

    channels = ChannelGraph(network(body))
    found = groups_by_name(channels)
    assert set(found["a"].producers) == {"a", "b"} and len(found["a"].units) == 5
    assert len(found["shared"].units) == 4
    assert cost(channels.model).macs == 64 * (3 * 5 * 2 + 5 * 4 * 2 + 8 * 2)


class Blend(layers.Layer):
    """A layer that nobody knows."""

    def call(self, inputs):
        return inputs + inputs[..., ::-1]


@pytest.mark.parametrize(
    ("middle", "reason"),
    [
        (lambda x: layers.Lambda(lambda t: t * 2, name="double")(x), "'double' (Lambda)"),
        (lambda x: Blend(name="blend")(x), "'blend' (Blend)"),
        (lambda x: x * 2.0, "math.multiply"),
        (lambda x: layers.Activation("softmax", name="soft")(x), "'softmax'"),
        (lambda x: layers.LayerNormalization(name="norm")(x), "all channels at once"),
        (lambda x: layers.Permute((3, 1, 2), name="turn")(x), "moves the channels"),
        (lambda x: layers.BatchNormalization(axis=1, name="norm")(x), "last axis"),
        (lambda x: layers.Reshape((8, 16, 2), name="fold")(x), "mixes channels with positions"),
    ],
)
def test_what_is_not_known_freezes_channels_and_says_why(middle, reason):
    def body(x):
        x = middle(layers.Conv2D(4, 1, name="a")(x))
        x = layers.Conv2D(6, 1, name="b")(x)
        return layers.Conv2D(2, 1, name="out")(x)

    model = network(body)
    channels = ChannelGraph(model)
    found = groups_by_name(channels)
    assert not found["a"].is_prunable
    assert any(reason in why for why in found["a"].frozen), found["a"].frozen
    assert found["b"].is_prunable
    assert reason in channels.describe()
    check_exact(model, pick(channels, 0), channels)


def test_frozen_channels_cannot_be_removed():
    channels = ChannelGraph(network(lambda x: layers.Conv2D(2, 1, name="out")(x)))
    keep = channels.all()
    keep[-1] = False
    with pytest.raises(ValueError, match="'out' is an output"):
        channels.edits(keep)


def test_a_layer_without_channels_is_refused():
    def body(x):
        return layers.Conv2D(2, 1, name="out")(layers.Conv2D(4, 1, name="a")(x))

    channels = ChannelGraph(network(body))
    keep = channels.all()
    keep[groups_by_name(channels)["a"].units] = False
    with pytest.raises(ValueError, match="'a' would be left without channels"):
        channels.edits(keep)


def test_the_description_reads_well():
    text = ChannelGraph(models.build("unet(width=2)", 3, (16, 16, 3))).describe()
    assert text.startswith("unet: 22 groups with 214 units can lose channels; 2 groups are frozen")
    part = text.split("stage1_conv: 2 channels\n")[1].split("\n\n")[0]
    assert [line.split(None, 2) for line in part.splitlines()] == [
        ["made", "by", "stage1_conv"],
        ["carried", "by", "stage1_bn"],
        ["read", "by", "stage2_1_conv, decoder_1_conv"],
    ]
