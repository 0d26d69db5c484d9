"""Deployed networks compute what the masked ones did, with fewer weights."""

import numpy as np
import pytest
from channel_oracle import RandomNetwork, shake
from grouping_oracle import check_close, grouped_convolution, images, masked, one_layer, small

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.graph import cost
from tfsegkd.grouping import (
    ChannelOrder,
    as_dense,
    assign_channels,
    make_gradual,
    regroup,
    set_alpha,
    written_dense,
)

layers = keras.layers


def at_zero(model, groups, **options):
    gradual = make_gradual(model, groups, **options)
    set_alpha(gradual, 0.0)
    return gradual


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1},
        {"kernel_size": 3, "padding": "same", "strides": 2, "use_bias": False},
        {"kernel_size": (3, 1), "padding": "same", "dilation_rate": (2, 1)},
        {"kernel_size": (1, 3), "padding": "valid", "strides": (1, 2)},
    ],
)
@pytest.mark.parametrize("groups", [2, 4])
def test_it_is_the_grouped_convolution_of_the_textbook(options, groups):
    model = one_layer(**options)
    gradual = at_zero(model, groups)
    grouped = regroup(gradual)
    layer = grouped.layers[1]
    assert getattr(layer, "groups", None) == groups or isinstance(layer, layers.DepthwiseConv2D)
    kernel, *bias = layer.get_weights()
    assert kernel.size == model.layers[1].kernel.numpy().size // groups
    if isinstance(layer, layers.DepthwiseConv2D):
        kernel = kernel.reshape(*kernel.shape[:2], 1, 8)
    x = images(model)
    expected = grouped_convolution(
        x,
        kernel,
        bias[0] if bias else 0.0,
        groups,
        tuple(model.layers[1].strides),
        tuple(model.layers[1].dilation_rate),
        options.get("padding", "valid"),
    )
    check_close(grouped(x), expected)
    check_close(grouped(x), gradual(x))


def test_single_channels_become_depthwise_where_tensorflow_has_it():
    square = regroup(at_zero(one_layer(kernel_size=3, strides=2), 4)).layers[1]
    assert type(square) is layers.DepthwiseConv2D and square.depth_multiplier == 2
    uneven = regroup(at_zero(one_layer(kernel_size=3, strides=(1, 2)), 4)).layers[1]
    assert type(uneven) is layers.Conv2D and uneven.groups == 4


def test_a_network_becomes_as_much_smaller():
    model = small()
    gradual = at_zero(model, 4)
    grouped, x = regroup(gradual), images(model)
    check_close(grouped(x), masked(model, gradual)(x))
    assert [layer.name for layer in grouped.layers] == [layer.name for layer in model.layers]
    positions = 4 * 6
    kernels = 8 * 16 + 9 * 16 * 16 + 16 * 8
    assert cost(model).macs - cost(grouped).macs == positions * kernels * 3 // 4
    assert cost(model).parameters - cost(grouped).parameters == kernels * 3 // 4


def test_depthwise_and_its_partner():
    model = small()
    gradual = at_zero(model, "depthwise")
    grouped, x = regroup(gradual), images(model)
    assert type(grouped.get_layer("middle_conv_depthwise")) is layers.DepthwiseConv2D
    check_close(grouped(x), gradual(x))


@pytest.mark.parametrize("seed", range(2))
def test_channels_find_together_in_random_networks(seed):
    model = RandomNetwork(seed).model
    gradual, x = make_gradual(model, 2), images(model)
    assign_channels(gradual)
    for one, other in zip(gradual(x), model(x), strict=True):
        check_close(one, other)
    set_alpha(gradual, 0.0)
    grouped = regroup(gradual)
    for one, other, oracle in zip(grouped(x), gradual(x), masked(model, gradual)(x), strict=True):
        check_close(one, other)
        check_close(one, oracle)


def test_channels_that_cannot_move_are_reordered_on_the_way():
    model = small()
    gradual = at_zero(model, 4)
    random = np.random.default_rng(0)
    for layer in gradual.layers:
        if hasattr(layer, "blocks"):  # every layer wants an order of its own
            layer.input_slots.assign(random.permutation(layer.kernel.shape[2]))
            layer.output_slots.assign(random.permutation(layer.kernel.shape[3]))
    grouped, x = regroup(gradual), images(model)
    assert any(isinstance(layer, ChannelOrder) for layer in grouped.layers)
    check_close(grouped(x), masked(model, gradual)(x))


def test_a_layer_without_neighbours_is_reordered_on_both_sides():
    model = one_layer(kernel_size=1, filters=4)
    gradual = at_zero(model, 2)
    gradual.layers[1].input_slots.assign([2, 0, 3, 1])
    gradual.layers[1].output_slots.assign([0, 3, 1, 2])
    grouped, x = regroup(gradual), images(model)
    assert [layer.name for layer in grouped.layers] == ["features", "conv_inputs", "conv", "conv_outputs"]
    check_close(grouped(x), masked(model, gradual)(x))


def test_it_saves_loads_and_trains(tmp_path):
    gradual = make_gradual(small(), 4, shuffle=True)
    assign_channels(gradual)
    set_alpha(gradual, 0.0)
    grouped, x = regroup(gradual), images(gradual)
    grouped.save(tmp_path / "grouped.keras")
    check_close(models.load(tmp_path / "grouped.keras")(x), gradual(x))
    dense = as_dense(grouped)
    dense.compile("adam", "mse", run_eagerly=True)
    dense.fit(x, np.ones((2, 8, 12, 3)), verbose=0)
    check_close(regroup(dense)(x), dense(x))


def test_the_dense_form_learns_what_the_grouped_one_would():
    grouped = regroup(at_zero(small(), 4))
    dense, x = as_dense(grouped), images(grouped)
    assert written_dense(dense) == {"widen_conv": 4, "middle_conv": 4, "narrow_conv": 4}
    assert not written_dense(grouped)
    check_close(dense(x), grouped(x))
    for model in (dense, grouped):
        # Where a gradient is all rounding, a smaller epsilon would make a step of it.
        model.compile(keras.optimizers.AdamW(1e-2, epsilon=1e-3), "mse", run_eagerly=True)
        model.fit(x, np.ones((2, 8, 12, 3)), epochs=3, verbose=0)
    again = regroup(dense)
    for one, other in zip(again.get_weights(), grouped.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)
    assert cost(again) == cost(grouped)
    # What was never grouped comes back equal.
    plain = small()
    np.testing.assert_array_equal(as_dense(plain)(x), plain(x))


def test_bad_input():
    gradual = make_gradual(small(), 4)
    set_alpha(gradual, 0.125)
    with pytest.raises(ValueError, match=r"'widen_conv' is not grouped yet: its alpha is 0.125.*set_alpha"):
        regroup(gradual)
    with pytest.raises(ValueError, match="'small' has no layer to regroup"):
        regroup(small())
    dense = as_dense(regroup(at_zero(small(), 4)))
    kernel = dense.get_layer("widen_conv").kernel
    kernel.assign(kernel + 1.0)
    with pytest.raises(ValueError, match=r"'widen_conv' has weights between its 4 groups"):
        regroup(dense)
    bounded = one_layer(kernel_size=1, groups=2, kernel_constraint="non_neg")
    with pytest.raises(ValueError, match=r"'conv' has a kernel_constraint.*NonNeg"):
        as_dense(bounded)


ZOO = [
    "bisenet_v2",
    "deeplab_v3(backbone=resnet18, width_multiplier=0.25, filters=32)",
    "deeplab_v3_plus(weights=None, filters=32)",
    "enet",
    "erfnet(width_multiplier=0.25)",
    "erfnet(width_multiplier=0.25, block=d, decoder=light)",
    "fast_scnn",
    "fcn(backbone=resnet18, width_multiplier=0.25)",
    "lite_unet(stages=4, width=16, weights=None)",
    "lraspp(weights=None)",
    "mobile_unet(width_multiplier=0.5)",
    "pspnet(backbone=resnet18, width_multiplier=0.25, filters=32)",
    "segnet(width=8)",
    "unet(width=4)",
]


def test_the_zoo_is_whole():
    assert {spec.split("(")[0] for spec in ZOO} == set(models.names())


# Their k×k convolutions are depthwise already, or read the pixels.
WITHOUT_KERNELS = ("deeplab_v3_plus", "fast_scnn", "lite_unet", "lraspp", "mobile_unet")


@pytest.fixture
def double():
    """With random weights, networks of many layers blow rounding errors of float32 up to 1e-4."""
    keras.backend.set_floatx("float64")
    yield
    keras.backend.set_floatx("float32")


@pytest.mark.slow
@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("spec", ZOO)
def test_every_network(spec, tmp_path):
    """Its own convolutions: strides, dilations, biases and BatchNorms as they come."""
    model = shake(models.build(spec, 4, (32, 32, 3)))
    x = images(model)
    for groups, options in ((2, {"shuffle": True}), ("depthwise", {}), (4, {})):
        if groups == "depthwise" and model.name in WITHOUT_KERNELS:
            with pytest.raises(ValueError, match="divides the channels of no convolution"):
                make_gradual(model, groups)
            continue
        gradual = make_gradual(model, groups, **options)
        check_close(gradual(x), model(x))
        if not options:
            assign_channels(gradual)
            check_close(gradual(x), model(x))
        set_alpha(gradual, 0.0)
        if groups == 4:
            check_close(gradual(x), masked(model, gradual)(x))
        grouped = regroup(gradual)
        assert not any(isinstance(layer, ChannelOrder) for layer in grouped.layers)
        check_close(grouped(x), gradual(x))
        assert cost(grouped).macs < cost(model).macs
    grouped.save(tmp_path / "grouped.keras")
    check_close(models.load(tmp_path / "grouped.keras")(x), grouped(x))
