"""Enlarging by repetition: equal to a nearest UpSampling2D, and int8 in one piece."""

import numpy as np
import pytest

from tfsegkd._keras import keras
from tfsegkd.layers import RepeatPixels


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 1), (5, 7), (8, 6)])
def test_it_is_a_nearest_upsampling(size):
    images = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    expected = images.repeat(size[0], 1).repeat(size[1], 2)
    np.testing.assert_array_equal(RepeatPixels(size)(images), expected)


def test_it_can_be_saved():
    layer = RepeatPixels((2, 3), name="up")
    again = RepeatPixels.from_config(layer.get_config())
    inputs = keras.Input((4, 4, 1))
    assert again(inputs).shape == layer(inputs).shape == (None, 8, 12, 1)


@pytest.mark.parametrize("size", [(0, 1), (2, -1)])
def test_a_size_below_1_is_refused(size):
    with pytest.raises(ValueError, match="from 1 up"):
        RepeatPixels(size)
