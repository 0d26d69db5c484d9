"""Channel shuffles and gates, against NumPy."""

import numpy as np
import pytest

from tfsegkd._keras import keras
from tfsegkd.layers import ChannelShuffle, HardGate

IMAGES = np.random.default_rng(0).normal(size=(2, 3, 5, 12)).astype("float32")


@pytest.mark.parametrize("groups", [1, 2, 3, 12])
def test_channels_are_dealt_out(groups):
    each = 12 // groups
    got = ChannelShuffle(groups)(IMAGES).numpy()
    for group in range(groups):
        for number in range(each):
            np.testing.assert_array_equal(
                got[..., number * groups + group], IMAGES[..., group * each + number]
            )


def test_groups_must_divide_the_channels():
    with pytest.raises(ValueError, match=r"'deal' cannot shuffle 12 channels of 5 groups"):
        ChannelShuffle(5, name="deal")(IMAGES)


def test_a_gate_is_six_times_the_hard_sigmoid():
    got = HardGate()(4 * IMAGES).numpy()
    np.testing.assert_allclose(got, 6 * np.clip(4 * IMAGES / 6 + 0.5, 0, 1), rtol=1e-5, atol=1e-5)
    assert got.min() == 0.0
    assert got.max() == 6.0


def test_they_come_back_from_a_file(tmp_path):
    image = keras.Input((3, 5, 12), name="image")
    model = keras.Model(image, HardGate(name="gate")(ChannelShuffle(3, name="deal")(image)))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_layer("deal").groups == 3
    np.testing.assert_array_equal(again(IMAGES), model(IMAGES))
