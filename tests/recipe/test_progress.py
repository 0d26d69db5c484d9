"""Checkpoints of a training."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.recipe.progress import Progress, resumable_randomness


def trainer(seed):
    keras.utils.set_random_seed(seed)
    with resumable_randomness():
        model = keras.Sequential(
            [keras.layers.Dense(20, input_shape=(3,)), keras.layers.Dropout(0.5), keras.layers.Dense(2)]
        )
    model.compile(keras.optimizers.Adam(0.1), "mse")
    return model


def test_progress_returns_weights_optimizer_dropout_and_epoch(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(2, 8, 3)).astype("float32")
    first = trainer(0)
    progress = Progress(tmp_path, first)
    assert progress.restore() == 0
    first.train_on_batch(x, y[:, :2])
    progress.save(1)
    assert not list(tmp_path.glob(".*")), "nothing unfinished is left"
    first.train_on_batch(x, y[:, :2])
    second = trainer(1)
    assert Progress(tmp_path, second).restore() == 1
    second.train_on_batch(x, y[:, :2])
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def trained(directory, epochs):
    model = trainer(0)
    variable = tf.Variable(0.0)
    progress = Progress(directory, model, epoch=variable)
    for epoch in range(1, epochs + 1):
        variable.assign(epoch)
        progress.save(epoch)
    return progress, variable


def test_two_checkpoints_are_kept(tmp_path):
    trained(tmp_path, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_000003", "epoch_000004"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [cut, flip, lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_damaged_checkpoint_is_reported_and_the_previous_one_is_used(spoil, tmp_path, capsys):
    trained(tmp_path / "whole", 2)
    for number, file in enumerate(sorted((tmp_path / "whole" / "epoch_000002").iterdir())):
        copy = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", copy)
        spoil(copy / "epoch_000002" / file.name)
        variable = tf.Variable(0.0)
        assert Progress(copy, trainer(1), epoch=variable).restore() == 1, file.name
        assert variable.numpy() == 1
        assert "epoch_000002' is damaged" in capsys.readouterr().out


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    progress, _ = trained(tmp_path, 2)

    def full(path):
        (tmp_path / ".part").mkdir()
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(progress._checkpoint, "write", full)
    with pytest.raises(OSError, match=r"epoch_000003.*No space left"):
        progress.save(3)
    assert Progress(tmp_path, trainer(1), epoch=tf.Variable(0.0)).restore() == 2
