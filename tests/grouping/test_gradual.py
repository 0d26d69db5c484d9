"""Layers between dense and grouped, and how a network gets them."""

import numpy as np
import pytest
from channel_oracle import RandomNetwork, shake
from grouping_oracle import check_close, grouped_convolution, images, masked, one_layer, small

from tfsegkd import grouping, models
from tfsegkd._keras import keras
from tfsegkd.grouping import GradualConv2D, alpha, make_gradual, set_alpha
from tfsegkd.layers import ChannelShuffle
from tfsegkd.quantization import quantize

layers = keras.layers


def gradual_names(model):
    return [layer.name for layer in model.layers if isinstance(layer, GradualConv2D)]


@pytest.mark.parametrize("value", [1.0, 0.3, 0.0])
def test_weights_between_groups_are_scaled(value):
    model = one_layer(kernel_size=3, padding="same", activation="relu")
    gradual = make_gradual(model, 2)
    set_alpha(gradual, value)
    assert alpha(gradual) == np.float32(value)
    kernel, bias = model.layers[1].get_weights()
    for i in range(4):
        for o in range(8):
            kernel[:, :, i, o] *= 1 if i // 2 == o // 4 else np.float32(value)
    x = images(model)
    expected = np.maximum(grouped_convolution(x, kernel, bias, groups=1), 0)
    check_close(gradual(x), expected)
    check_close(model(x), gradual(x) if value == 1 else model(x))


def test_a_dense_network_stays_what_it_is():
    model = small()
    before, x = model.get_weights(), images(model)
    model.get_layer("middle_conv").trainable = False
    gradual = make_gradual(model, 4)
    assert gradual_names(gradual) == ["widen_conv", "middle_conv", "narrow_conv"]
    assert [layer.name for layer in gradual.layers] == [layer.name for layer in model.layers]
    np.testing.assert_array_equal(gradual(x), model(x))
    assert not gradual.get_layer("middle_conv").trainable
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    set_alpha(gradual, 0.0)
    check_close(gradual(x), masked(model, gradual)(x))
    trained = {weight.name for weight in gradual.trainable_weights}
    assert not [name for name in trained if "alpha" in name or "slots" in name]


def test_one_group_is_the_dense_layer():
    model = small()
    gradual = make_gradual(model, 1)
    set_alpha(gradual, 0.0)
    np.testing.assert_array_equal(gradual(images(model)), model(images(model)))


@pytest.mark.parametrize(
    ("wished", "found"),
    [
        (["middle_conv"], ["middle_conv"]),
        (["*_conv"], None),
        (["w*", "narrow_conv"], ["widen_conv", "narrow_conv"]),
    ],
)
def test_layers_are_chosen_by_name_and_pattern(wished, found):
    if found is None:
        with pytest.raises(ValueError, match=r"'stem_conv'.*groups=4 does not divide its 3 input and 8 out"):
            make_gradual(small(), 4, wished)
    else:
        assert gradual_names(make_gradual(small(), 4, wished)) == found


def test_shared_layers_and_models_inside_are_grouped():
    conv, inputs = layers.Conv2D(4, 3, padding="same", name="conv"), keras.Input((6, 6, 4), name="features")
    inner = keras.Model(inputs, conv(layers.ReLU()(conv(inputs))), name="inner")
    model = shake(keras.Model(inputs, inner(inputs)))
    conv.set_weights([w + 0.1 for w in conv.get_weights()])
    gradual = make_gradual(model, 2)
    assert gradual_names(gradual) == ["conv"]
    x = images(model)
    check_close(gradual(x), model(x))


def test_random_networks_stay_what_they_are():
    for seed in range(2):
        model = RandomNetwork(seed).model
        x = images(model)
        for one, other in zip(make_gradual(model, 2)(x), model(x), strict=True):
            check_close(one, other)


def test_a_shuffle_stands_where_one_grouped_layer_feeds_another():
    model = small()
    gradual = make_gradual(model, 4, shuffle=True)
    shuffles = [layer.name for layer in gradual.layers if isinstance(layer, ChannelShuffle)]
    # What narrow_conv gives is added to something else.
    assert shuffles == ["middle_conv_shuffle", "narrow_conv_shuffle"]
    x = images(model)
    check_close(gradual(x), model(x))
    set_alpha(gradual, 0.0)
    # The first channel of each group of 'widen' makes up the first group that 'middle' reads.
    twin, kernel = make_gradual(model, 4), model.get_layer("middle_conv").get_weights()[0]
    set_alpha(twin, 0.0)
    dealt = np.arange(16).reshape(4, 4).T.ravel()
    twin.get_layer("middle_conv").input_slots.assign(np.argsort(dealt))
    twin.get_layer("narrow_conv").input_slots.assign(np.argsort(dealt))
    check_close(gradual(x), twin(x))
    np.testing.assert_array_equal(gradual.get_layer("middle_conv").get_weights()[0][:, :, 1], kernel[:, :, 4])


@pytest.mark.slow
def test_the_papers_blocks_are_found():
    """Table 1 of the paper: with 'S', one shuffle in each block, between its two 1×1 convolutions."""
    model = models.build("erfnet(width_multiplier=0.25, block=d)", 3, (16, 16, 3))
    gradual = make_gradual(model, 4, ["stride*_pointwise*"], shuffle=True)
    assert len(gradual_names(gradual)) == 26
    shuffles = [layer.name for layer in gradual.layers if isinstance(layer, ChannelShuffle)]
    assert len(shuffles) == 13 and all(name.endswith("pointwise2_conv_shuffle") for name in shuffles)


def test_depthwise_has_a_pointwise_partner():
    model = small()
    gradual = make_gradual(model, "depthwise")
    assert gradual_names(gradual) == ["middle_conv_depthwise"]
    partner = gradual.get_layer("middle_conv")
    assert type(partner) is layers.Conv2D and partner.kernel_size == (1, 1) and not partner.use_bias
    x = images(model)
    check_close(gradual(x), model(x))
    set_alpha(gradual, 0.0)
    check_close(gradual(x), masked_to_diagonal(model)(x))


def masked_to_diagonal(model):
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    conv = twin.get_layer("middle_conv")
    conv.set_weights([conv.get_weights()[0] * np.eye(16, dtype=np.float32)])
    return twin


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_it_saves_and_loads(tmp_path, suffix):
    gradual = make_gradual(small(), 4, shuffle=True)
    set_alpha(gradual, 0.25)
    gradual.get_layer("widen_conv").input_slots.assign(np.arange(8)[::-1])
    gradual.save(tmp_path / f"gradual.{suffix}")
    again = models.load(tmp_path / f"gradual.{suffix}")
    assert alpha(again) == 0.25
    x = images(gradual)
    np.testing.assert_array_equal(again(x), gradual(x))
    resized = models.at_size(gradual, (4, 8))
    assert alpha(resized) == 0.25 and resized.get_layer("widen_conv").input_slots.numpy()[0] == 7


def test_mixed_precision():
    inputs = keras.Input((5, 6, 4), name="features")
    conv = layers.Conv2D(8, 3, padding="same", name="conv", dtype="mixed_float16")
    model = keras.Model(inputs, conv(inputs))
    gradual = make_gradual(model, 2)
    set_alpha(gradual, 0.0)
    x = np.random.default_rng(0).normal(size=(1, 5, 6, 4)).astype(np.float32)
    assert gradual(x).dtype == "float16"
    expected = masked(model, gradual)(x).numpy().astype(float)
    np.testing.assert_allclose(gradual(x), expected, atol=2e-3)


@pytest.mark.parametrize(
    ("groups", "wished", "message"),
    [
        (3, ["middle_conv"], r"'middle_conv'.*groups=3 does not divide its 16 input and 16 output.*2 or 4"),
        (10, ["narrow_conv"], r"'narrow_conv'.*16 input and 8 output.*nearest that does is 8"),
        (7, None, r"groups=7 divides the channels of no convolution of 'small'"),
        (4, ["midle_conv"], r"No convolution is called 'midle_conv'.*'middle_conv'"),
        (4, ["middle_bn"], r"'middle_bn'.*expected a Conv2D. Received: a BatchNormalization"),
        (0, None, r"groups must be a whole number from 1 up or 'depthwise'. Received: 0"),
        (2.0, None, r"groups must be"),
        (True, None, r"groups must be"),
        ("pointwise", None, r"groups must be"),
        ("depthwise", ["widen_conv"], r"'widen_conv'.*it is 1×1"),
        ("depthwise", ["stem_conv"], r"'stem_conv'.*multiple of the input channels.*3 input and 8 output"),
    ],
)
def test_bad_groups_and_names(groups, wished, message):
    with pytest.raises(ValueError, match=message):
        make_gradual(small(), groups, wished)


def test_what_is_grouped_already():
    grouped = one_layer(kernel_size=1, groups=2)
    with pytest.raises(ValueError, match=r"'conv'.*in 2 groups already. Leave it out"):
        make_gradual(grouped, 2, ["conv"])
    with pytest.raises(ValueError, match="divides the channels of no convolution"):
        make_gradual(grouped, 2)
    gradual = make_gradual(small(), 2, ["widen_conv"])
    with pytest.raises(ValueError, match=r"'widen_conv'.*a GradualConv2D already"):
        make_gradual(gradual, 2, ["widen_conv"])
    assert gradual_names(make_gradual(gradual, 2)) == ["widen_conv", "middle_conv", "narrow_conv"]


def test_what_is_no_float_network():
    with pytest.raises(ValueError, match=r"quantization-aware.*Group the float network first"):
        make_gradual(quantize(small()), 2)
    with pytest.raises(TypeError, match="functional"):
        make_gradual(layers.Conv2D(2, 1), 2)
    with pytest.raises(TypeError, match="must be a list of names"):
        make_gradual(small(), 2, "widen_conv")
    with pytest.raises(ValueError, match="shuffle is for groups of several channels"):
        make_gradual(small(), "depthwise", shuffle=True)


def test_alpha_is_a_share_and_needs_a_gradual_layer():
    with pytest.raises(ValueError, match=r"alpha must be a number from 0.0 to 1.0. Received: 1.5"):
        set_alpha(make_gradual(small(), 2), 1.5)
    for act in (lambda: set_alpha(small(), 0.5), lambda: alpha(small())):
        with pytest.raises(ValueError, match="'small' has no gradual layer"):
            act()
    assert grouping.SHAPES.keys() == {"linear", "cosine", "cubic"}
