"""Layers that fit sizes, against NumPy and against what they leave in a graph."""

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.layers import CropLike, PadToStride, ResizeLike

IMAGES = np.random.default_rng(0).normal(size=(2, 6, 9, 3)).astype("float32")


def bilinear(image, height, width):
    """Half-pixel centres, no averaging, edges repeated."""
    out = np.empty((height, width, image.shape[-1]))
    for y in range(height):
        for x in range(width):
            row = np.clip((y + 0.5) * image.shape[0] / height - 0.5, 0, image.shape[0] - 1)
            column = np.clip((x + 0.5) * image.shape[1] / width - 0.5, 0, image.shape[1] - 1)
            top, left = int(row), int(column)
            below, right = min(top + 1, image.shape[0] - 1), min(left + 1, image.shape[1] - 1)
            down, across = row - top, column - left
            upper = (1 - across) * image[top, left] + across * image[top, right]
            lower = (1 - across) * image[below, left] + across * image[below, right]
            out[y, x] = (1 - down) * upper + down * lower
    return out


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5, 8, 16])
def test_padding_reaches_the_next_multiple(stride):
    got = PadToStride(stride)(IMAGES).numpy()
    height, width = (int(np.ceil(side / stride)) * stride for side in (6, 9))
    want = np.zeros((2, height, width, 3), "float32")
    want[:, :6, :9] = IMAGES
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("size", [(6, 9), (5, 9), (6, 7), (1, 2)])
def test_cropping_cuts_below_and_on_the_right(size):
    reference = np.zeros((2, *size, 5), "float32")
    np.testing.assert_array_equal(CropLike()([IMAGES, reference]), IMAGES[:, : size[0], : size[1]])


@pytest.mark.parametrize("size", [(6, 9), (12, 18), (13, 10), (3, 4)])
def test_resizing_is_bilinear(size):
    got = ResizeLike()([IMAGES, np.zeros((2, *size, 5), "float32")])
    for image, want in zip(got.numpy(), IMAGES, strict=True):
        np.testing.assert_allclose(image, bilinear(want, *size), rtol=1e-5, atol=1e-5)


def network(height, width, stride=4):
    image = keras.Input((height, width, 3), name="image")
    x = PadToStride(stride, name="pad")(image)
    x = keras.layers.Conv2D(5, 3, strides=stride, padding="same", name="conv")(x)
    x = ResizeLike(name="resize")([x, image])
    return keras.Model(image, CropLike(name="crop")([x, image]), name="sizes")


@pytest.mark.parametrize("form", ["keras", "h5"])
def test_a_saved_network_is_the_same(form, tmp_path):
    model = network(6, 9)
    path = tmp_path / f"model.{form}"
    model.save(path)
    loaded = keras.models.load_model(path)
    assert loaded.get_layer("pad").stride == 4
    np.testing.assert_allclose(loaded(IMAGES), model(IMAGES), rtol=1e-6)


def test_the_same_layers_serve_another_size():
    model = network(6, 9)
    larger = models.at_size(model, (11, 14))
    assert larger.output_shape == (None, 11, 14, 5)
    for one, other in zip(model.get_weights(), larger.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_where_nothing_is_to_do_no_op_is_added():
    spec = tf.TensorSpec((1, 8, 12, 3))
    pad, crop = PadToStride(4), CropLike()
    idle = tf.function(lambda x: crop([pad(x), x])).get_concrete_function(spec)
    assert {op.type for op in idle.graph.get_operations()} <= {"Placeholder", "Identity"}
    pad, crop = PadToStride(5), CropLike()
    busy = tf.function(lambda x: crop([pad(x), x])).get_concrete_function(spec)
    assert {"Pad", "StridedSlice"} <= {op.type for op in busy.graph.get_operations()}
