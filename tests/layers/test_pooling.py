"""Adaptive means and the inverse of max pooling, against plain loops."""

import numpy as np
import pytest

from tfsegkd._keras import keras
from tfsegkd.layers import AdaptiveMean, MaxUnpooling

IMAGES = np.random.default_rng(0).normal(size=(2, 6, 9, 3)).astype("float32")


@pytest.mark.parametrize("bins", [1, 2, 3, 4, 6, 7])
def test_windows_are_pytorchs(bins):
    got = AdaptiveMean(bins)(IMAGES).numpy()
    assert got.shape == (2, bins, bins, 3)
    for i in range(bins):
        for j in range(bins):
            top, below = int(np.floor(i * 6 / bins)), int(np.ceil((i + 1) * 6 / bins))
            left, right = int(np.floor(j * 9 / bins)), int(np.ceil((j + 1) * 9 / bins))
            want = IMAGES[:, top:below, left:right].mean((1, 2))
            np.testing.assert_allclose(got[:, i, j], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bins", [0, -1, "two"])
def test_windows_are_counted_from_one(bins):
    with pytest.raises(ValueError, match="bins must be a number above 0"):
        AdaptiveMean(bins)


def test_values_go_where_the_maxima_were():
    before = np.random.default_rng(1).permutation(2 * 4 * 6 * 3).reshape(2, 4, 6, 3).astype("float32")
    before[0, 0, :2, 0] = 1000.0  # a shared maximum
    maxima = keras.layers.MaxPooling2D(2)(before).numpy()
    values = np.random.default_rng(2).normal(size=maxima.shape).astype("float32")
    want = np.zeros_like(before)
    for at in np.ndindex(before.shape):
        n, y, x, c = at
        if before[at] == before[n, y // 2 * 2 : y // 2 * 2 + 2, x // 2 * 2 : x // 2 * 2 + 2, c].max():
            want[at] = values[n, y // 2, x // 2, c]
    np.testing.assert_array_equal(MaxUnpooling()([values, before, maxima]), want)
    assert np.count_nonzero(want[0, 0, :2, 0]) == 2


def test_they_come_back_from_a_file(tmp_path):
    image = keras.Input((6, 8, 3), name="image")
    pooled = keras.layers.MaxPooling2D(2, name="pool")(image)
    x = MaxUnpooling(name="unpool")([pooled, image, pooled])
    model = keras.Model(image, AdaptiveMean(3, name="means")(x))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_layer("means").bins == 3
    np.testing.assert_array_equal(again(IMAGES[:, :, :8]), model(IMAGES[:, :, :8]))
