"""When the weights between groups go, and that an interruption changes nothing."""

import numpy as np
import pytest
import tensorflow as tf
from grouping_oracle import images, small

from tfsegkd._keras import keras
from tfsegkd.distillation import Distiller, parse_terms
from tfsegkd.grouping import GradualGroupingSchedule, alpha, assign_channels, make_gradual, regroup


@pytest.mark.parametrize(
    ("shape", "values"),
    [
        ("linear", [1, 1, 1, 0.75, 0.5, 0.25, 0, 0]),
        ("cosine", [1, 1, 1, 0.853553, 0.5, 0.146447, 0, 0]),
        ("cubic", [1, 1, 1, 0.421875, 0.125, 0.015625, 0, 0]),
    ],
)
def test_shapes(shape, values):
    schedule = GradualGroupingSchedule(2, 6, shape)
    assert [schedule.alpha_after(step) for step in range(8)] == pytest.approx(values, abs=1e-6)


def test_grouped_from_the_first_step():
    assert [GradualGroupingSchedule(0, 0).alpha_after(step) for step in (0, 1)] == [0, 0]
    assert [GradualGroupingSchedule(3, 3).alpha_after(step) for step in (2, 3)] == [1, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5, 4), "0 ≤ begin ≤ end"),
        ((-1, 4), "0 ≤ begin ≤ end"),
        ((0.1, 0.6), "whole numbers"),
        ((0, 4, "square"), r"shape must be one of \['linear', 'cosine', 'cubic'\]"),
    ],
)
def test_bad_schedules(arguments, message):
    with pytest.raises(ValueError, match=message):
        GradualGroupingSchedule(*arguments)


class Note(keras.callbacks.Callback):
    """What alpha is in each step."""

    def __init__(self, network):
        super().__init__()
        self.network, self.values = network, []

    def on_train_batch_begin(self, batch, logs=None):
        self.values.append(alpha(self.network))


def data(model, count=4):
    return images(model, count), np.random.default_rng(0).integers(0, 3, (count, 8, 12))


def compiled(model, eager=True):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-2), loss, run_eagerly=eager)
    return model


def test_a_network_is_grouped_while_it_trains():
    model = compiled(make_gradual(small(), 4), eager=False)
    note = Note(model)
    history = model.fit(
        *data(model),
        batch_size=2,
        epochs=4,
        verbose=0,
        callbacks=[GradualGroupingSchedule(1, 5), note],
    ).history
    assert note.values == [1, 1, 0.75, 0.5, 0.25, 0, 0, 0]
    assert history["alpha"] == pytest.approx([0.75, 0.25, 0, 0])
    regroup(model)


def test_a_student_is_grouped_while_it_learns():
    student = make_gradual(small(), 4)
    distiller = Distiller(small(seed=1), student, parse_terms(["pixelwise"]))
    distiller.compile("adam", run_eagerly=True)
    history = distiller.fit(
        *data(student), batch_size=2, epochs=2, verbose=0, callbacks=[GradualGroupingSchedule(0, 4, "cosine")]
    ).history
    assert history["alpha"][-1] == 0 and np.isfinite(history["loss"]).all()
    x = images(student)
    np.testing.assert_allclose(regroup(student)(x), distiller.predict(x, verbose=0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("assign", [False, True])
def test_it_goes_on_after_an_interruption(tmp_path, assign):
    """Two epochs in one go, and one in each of two processes: equal weights, orders and alphas."""

    def start(seed):
        model = compiled(make_gradual(small(seed=seed), 4))
        model.optimizer.build(model.trainable_variables)
        return model, tf.train.Checkpoint(model=model, optimizer=model.optimizer)

    def fit(model, epochs, initial_epoch=0):
        schedule = GradualGroupingSchedule(1, 3, assign=assign)
        model.fit(
            *data(model),
            batch_size=2,
            epochs=epochs,
            initial_epoch=initial_epoch,
            shuffle=False,
            verbose=0,
            callbacks=[schedule],
        )
        return schedule

    whole, _ = start(0)
    fit(whole, 2)
    first, checkpoint = start(0)
    assert (fit(first, 1).assignment is not None) == assign
    assert alpha(first) == 0.5
    path = checkpoint.save(str(tmp_path / "progress"))
    second, checkpoint = start(7)
    checkpoint.restore(path).assert_existing_objects_matched()
    assert alpha(second) == 0.5
    assert fit(second, 2, initial_epoch=1).assignment is None, "the groups are chosen once"
    assert alpha(whole) == alpha(second) == 0
    for one, other in zip(whole.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    slots = whole.get_layer("middle_conv").input_slots.numpy()
    assert np.array_equal(slots, np.arange(16)) != assign


def test_groups_are_chosen_when_the_schedule_begins():
    model = compiled(make_gradual(small(), 4))
    schedule = GradualGroupingSchedule(2, 4, assign=True)
    model.fit(*data(model), batch_size=2, epochs=1, verbose=0, callbacks=[schedule])
    twin = make_gradual(small(), 4)
    twin.set_weights(model.get_weights())
    assert schedule.assignment.kept_after == assign_channels(twin).kept_after


def test_a_network_without_gradual_layers_is_refused():
    with pytest.raises(ValueError, match="no gradual layer"):
        compiled(small()).fit(*data(small()), verbose=0, callbacks=[GradualGroupingSchedule(0, 4)])
