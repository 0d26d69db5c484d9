"""The record of what is done."""

import numpy as np
import pytest

from tfsegkd._keras import keras
from tfsegkd.recipe.state import Progress, State

SETTINGS = {"size": (48, 64), "schedule": {"epochs": 2}, "seed": 0}


def test_a_stage_that_is_done_is_found_again(tmp_path):
    state = State(tmp_path)
    assert state.result("teacher", SETTINGS) is None
    state.complete("teacher", SETTINGS, {"mean_iou": 0.5})
    for reader in (state, State(tmp_path)):
        assert reader.result("teacher", SETTINGS) == {"mean_iou": 0.5}
        assert reader.result("student", SETTINGS) is None


def test_settings_that_changed_are_named(tmp_path):
    State(tmp_path).complete("teacher", SETTINGS, {})
    changed = {"size": (48, 64), "schedule": {"epochs": 3}, "crop_size": (32, 32)}
    with pytest.raises(ValueError) as error:
        State(tmp_path).result("teacher", changed)
    message = str(error.value)
    for words in (
        "schedule was {'epochs': 2} and is {'epochs': 3}",
        "seed was 0 and is None",
        "crop_size was None and is [32, 32]",
        "--output_dir",
    ):
        assert words in message
    assert "size was [48" not in message, "a tuple and the list that JSON makes of it are equal"


@pytest.mark.parametrize("content", [b"", b'{"teacher": {"sett', b"\xff\xfe", b"[]", b'{"teacher": 3}'])
def test_a_damaged_record_says_so(content, tmp_path):
    (tmp_path / "state.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"state.json' is damaged.*Delete it"):
        State(tmp_path)


def trainer(seed):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    return model


def test_progress_returns_weights_optimizer_and_epoch(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(2, 8, 3)).astype("float32")
    first = trainer(0)
    progress = Progress(tmp_path, first)
    assert progress.restore() == 0
    first.train_on_batch(x, y[:, :2])
    progress.save(1)
    first.train_on_batch(x, y[:, :2])
    second = trainer(1)
    assert Progress(tmp_path, second).restore() == 1
    second.train_on_batch(x, y[:, :2])
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
