"""Curves are what was logged, through interruptions."""

import numpy as np
import tensorflow as tf

from tfsegkd.reporting.curves import read_curves


def scalars(directory, values, steps):
    writer = tf.summary.create_file_writer(str(directory))
    with writer.as_default():
        for step, value in zip(steps, values, strict=True):
            tf.summary.scalar("epoch_loss", value, step=step)
            tf.summary.scalar("batch_steps_per_second", 1.0, step=step)
    writer.close()


def test_an_epoch_done_twice_counts_as_it_was_done_the_second_time(tmp_path):
    scalars(tmp_path / "train", [4.0, 3.0, 9.0], [0, 1, 2])
    scalars(tmp_path / "train", [2.0, 1.0], [2, 3])
    scalars(tmp_path / "validation", [5.0], [3])
    curves = read_curves(tmp_path)
    assert curves == {"loss": {1: 4.0, 2: 3.0, 3: 2.0, 4: 1.0}, "val_loss": {4: 5.0}}
    assert list(curves["loss"]) == sorted(curves["loss"])


def test_a_file_cut_short_by_a_kill_gives_what_it_holds(tmp_path):
    scalars(tmp_path / "train", np.arange(5.0), range(5))
    (path,) = (tmp_path / "train").iterdir()
    path.write_bytes(path.read_bytes()[:-30])
    found = read_curves(tmp_path)["loss"]
    assert found == {step + 1: float(step) for step in range(len(found))} and 3 <= len(found) <= 5


def test_no_log_is_no_curve(tmp_path):
    assert read_curves(tmp_path / "nowhere") == {}
