"""ResNet's blocks against plain NumPy, padding and dilations included."""

import numpy as np
import pytest
from model_battery import shaken, trainable
from torch_oracle import conv2d, max_pool, norm, relu

from tfsegkd._keras import keras
from tfsegkd.graph import cost
from tfsegkd.models import resnet
from tfsegkd.models.dilation import Position, dilate

RNG = np.random.default_rng(0)


def tensors(model, name):
    """A block's convolution in PyTorch's layout and its BatchNorm."""
    layer = {layer.name: layer for layer in model.layers}
    (kernel,) = layer[f"{name}_conv"].get_weights()
    bn = layer.get(f"{name}_bn") or layer[name]
    return kernel.transpose(3, 2, 0, 1), bn.get_weights()


@pytest.mark.parametrize(
    "place",
    [
        Position("one", 1, 1, 1, 4),
        Position("one", 2, 1, 1, 8),
        Position("one", 1, 1, 2, 8),
        Position("one", 1, 2, 2, 8),
    ],
    ids=["plain", "stride", "traded", "dilated"],
)
@pytest.mark.parametrize("kind", ["_basic", "_bottleneck"])
def test_a_block_is_that_of_torchvision(kind, place):
    image = RNG.normal(size=(1, 10, 12, 6)).astype(np.float32)
    inputs = keras.Input(image.shape[1:])
    model = shaken(keras.Model(inputs, getattr(resnet, kind)(inputs, 4, place)))

    def conv(x, name, stride=1, dilation=1):
        kernel, weights = tensors(model, name)
        return norm(conv2d(x, kernel, stride, dilation), *weights)

    x = image[0]
    if kind == "_basic":
        y = relu(conv(x, "one_1", place.stride, place.dilation))
        y = conv(y, "one_2", dilation=place.after)
    else:
        y = relu(conv(x, "one_1"))
        y = conv(relu(conv(y, "one_2", place.stride, place.dilation)), "one_3")
    expected = relu(conv(x, "one_shortcut", place.stride) + y)
    np.testing.assert_allclose(model(image, training=False)[0], expected, rtol=1e-4, atol=1e-4)


def test_the_entrance_is_that_of_torchvision():
    inputs = keras.Input((16, 24, 3))
    model = shaken(keras.Model(inputs, resnet.resnet(inputs, 18, 32, width_multiplier=0.125)))
    probe = keras.Model(inputs, model.get_layer("backbone_pool").output)
    image = RNG.normal(size=(1, 16, 24, 3)).astype(np.float32)
    kernel, weights = tensors(model, "backbone_stem")
    expected = max_pool(relu(norm(conv2d(image[0], kernel, 2), *weights)))
    np.testing.assert_allclose(probe(image, training=False)[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("depth", "published", "gmacs"),
    [
        (18, 11_689_512, 1.814),
        (50, 25_557_032, 4.089),
        pytest.param(101, 44_549_160, 7.801, marks=pytest.mark.slow),
    ],
)
def test_published_counts(depth, published, gmacs):
    """`num_params` and `_ops` of torchvision's classifiers of 224×224 images; theirs end in 1000 classes."""
    inputs = keras.Input((224, 224, 3))
    features = resnet.resnet(inputs, depth, 32)
    model = keras.Model(inputs, features)
    channels = features[32].shape[-1]
    assert trainable(model) + 1000 * channels + 1000 == published
    assert (cost(model).macs + 1000 * channels) / 1e9 == pytest.approx(gmacs, abs=0.0005)


def test_strides_turn_into_dilations():
    strides = [1, 2, 1, 2, 1]
    assert [(p.name, p.stride, p.dilation, p.after) for p in dilate(strides, 4, 8)] == [
        ("stride4", 1, 1, 1),
        ("backbone_1", 2, 1, 1),
        ("backbone_2", 1, 1, 1),
        ("backbone_3", 1, 1, 2),
        ("stride8", 1, 2, 2),
    ]
    assert [(p.name, p.stride, p.dilation) for p in dilate(strides, 4, 16)][-2:] == [
        ("backbone_3", 2, 1),
        ("stride16", 1, 1),
    ]


def test_a_dilated_backbone_computes_what_the_strided_one_does():
    inputs = keras.Input((64, 64, 3))
    coarse, fine = (
        keras.Model(inputs, resnet.resnet(inputs, 18, stride, 0.125)[stride]) for stride in (32, 16)
    )
    shaken(coarse)
    fine.set_weights(coarse.get_weights())
    image = RNG.normal(size=(1, 64, 64, 3)).astype(np.float32)
    every_other = fine(image, training=False)[:, ::2, ::2]
    np.testing.assert_allclose(every_other, coarse(image, training=False), rtol=1e-4, atol=1e-4)
