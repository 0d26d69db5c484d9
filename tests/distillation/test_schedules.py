"""Schedules: their curves, their words in the flags, and that a term that is off does nothing."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tiny_networks import IGNORE, Table, batch, network, same

from tfsegkd._keras import keras
from tfsegkd.distillation import Distiller, Term, parse_terms, schedules
from tfsegkd.distillation.schedules import CosineDecay, Schedule, Stop, WarmUp
from tfsegkd.losses import DistillationLoss


def curve(schedule, steps):
    return [float(schedule(tf.constant(step, tf.int64))) for step in steps]


def test_curves():
    assert curve(WarmUp(4), range(7)) == [0, 0.25, 0.5, 0.75, 1, 1, 1]
    want = [0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    assert curve(CosineDecay(4), range(4)) == pytest.approx(want)
    assert curve(CosineDecay(3), [3, 4, 10**9]) == [0, 0, 0]
    assert curve(Stop(2), range(4)) == [1, 1, 0, 0]
    both = WarmUp(4) * CosineDecay(4) * Stop(3)
    assert curve(both, range(4)) == pytest.approx([want[0] * 0, want[1] / 4, want[2] / 2, 0])


@pytest.mark.parametrize(
    "schedule", [WarmUp(3), CosineDecay(7), Stop(9), WarmUp(3) * CosineDecay(7) * Stop(9)]
)
def test_they_come_back_from_their_config(schedule):
    copy = keras.utils.deserialize_keras_object(keras.utils.serialize_keras_object(schedule))
    assert copy == schedule and curve(copy, range(10)) == curve(schedule, range(10))


def test_words_in_the_flags():
    plain, grown, several = parse_terms(
        [
            "pixelwise*0.5",
            "hint@a:b*2.0*warm_up(steps=200)",
            "pairwise@a:b*warm_up(steps=2)*cosine_decay(steps=9)*stop(step=5)",
        ]
    )
    assert plain.schedule is None
    assert (grown.weight, grown.schedule) == (2.0, WarmUp(200))
    assert several.weight == 1
    want = WarmUp(2) * CosineDecay(9) * Stop(5)
    assert curve(several.schedule, range(9)) == curve(want, range(9))
    assert Term("pixelwise", schedule="stop(step=4)").schedule == Stop(4)
    assert Term("pixelwise", schedule=Stop(4)).schedule == Stop(4)
    assert {"warm_up", "cosine_decay", "stop"} == set(schedules.names())


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("warm_up(steps=0)", "steps of warm_up must be a whole number"),
        ("cosine_decay(steps=0.5)", "steps of cosine_decay must be a whole number"),
        ("stop(step=-1)", "step of stop must be a whole number"),
        ("warm_upp(steps=3)", "Did you mean 'warm_up'"),
        ("warm_up(step=3)", "Wrong arguments"),
        ("warm_up", "Wrong arguments"),
        ("stop(step=3)*0.5", "neither layers nor a weight"),
        ("stop(step=3)@a", "neither layers nor a weight"),
    ],
)
def test_what_is_wrong_is_said(schedule, words):
    with pytest.raises(ValueError, match=words):
        Term("pixelwise", schedule=schedule)


def test_other_things_are_no_schedule():
    with pytest.raises(TypeError, match="must be a Schedule"):
        Term("pixelwise", schedule=0.5)
    with pytest.raises(TypeError, match="must be a Schedule"):
        Term("pixelwise", schedule=lambda step: 1.0)


def logs_of(distiller, count):
    images, masks = batch()
    return [distiller.train_on_batch(images, masks, return_dict=True) for _ in range(count)]


@pytest.mark.parametrize("eager", [True, False])
def test_a_term_counts_as_its_schedule_says(eager):
    def distiller(**options):
        made = Distiller(network("teacher", 6, seed=1), network("student", 6, seed=2), [Term(**options)])
        made.compile(keras.optimizers.SGD(0.0), run_eagerly=eager)
        return made

    (still,) = logs_of(distiller(loss="pixelwise", weight=2.0), 1)
    moving = logs_of(distiller(loss="pixelwise", weight=2.0, schedule=WarmUp(2) * Stop(4)), 5)
    shares = [0, 0.5, 1, 1, 0]
    assert [logs["pixelwise"] / still["pixelwise"] for logs in moving] == pytest.approx(shares)
    for logs in moving:
        assert logs["loss"] == pytest.approx(logs["task_loss"] + logs["pixelwise"])


class Broken(DistillationLoss):
    """NaN, in the value and in the gradient."""

    def compare(self, teacher, student, valid, labels, images):
        return tf.reduce_sum(student, [1, 2, 3]) * float("nan")


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("off", [{"weight": 0}, {"schedule": WarmUp(9) * Stop(1)}])
def test_a_term_that_is_off_does_nothing(off, eager):
    students = []
    for terms in ([], [Term(Broken(name="broken"), **off)]):
        student = network("student", 6, seed=2)
        distiller = Distiller(network("teacher", 6, seed=1), student, terms)
        distiller.compile(keras.optimizers.SGD(0.1), run_eagerly=eager)
        logs = logs_of(distiller, 3)
        students.append(student)
    assert all(np.isfinite(list(each.values())).all() for each in logs) and logs[-1]["broken"] == 0
    for one, other in zip(*(student.get_weights() for student in students), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_the_step_is_resumed(tmp_path):
    def made(seed):
        distiller = Distiller(
            network("teacher", 6, seed=1),
            network("student", 6, seed=seed),
            parse_terms(["pixelwise*stop(step=3)"]),
        )
        distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        return distiller, tf.train.Checkpoint(model=distiller)

    first, checkpoint = made(2)
    assert [logs["pixelwise"] > 0 for logs in logs_of(first, 2)] == [True, True]
    path = checkpoint.save(str(tmp_path / "progress"))
    second, checkpoint = made(3)
    checkpoint.restore(path).assert_existing_objects_matched()
    assert [logs["pixelwise"] > 0 for logs in logs_of(second, 2)] == [True, False]


def test_a_schedule_of_one_s_own():
    class EveryOther(Schedule):
        def __call__(self, step):
            return tf.cast(step % 2, tf.float32)

    distiller = Distiller(network("teacher"), network("student"), [Term("pixelwise", schedule=EveryOther())])
    distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    assert [logs["pixelwise"] > 0 for logs in logs_of(distiller, 4)] == [False, True, False, True]


def test_void_stays_void_while_a_term_warms_up():
    images, masks = batch()
    values = np.random.default_rng(0).normal(size=(*masks.shape[1:], 4)).astype("float32")
    masks[:] = masks[0]
    values[masks[0] == IGNORE] = np.nan
    inputs = keras.Input(images.shape[1:])
    student = network("student")
    terms = parse_terms(["pixelwise*warm_up(steps=2)"])
    distiller = Distiller(keras.Model(inputs, Table(values)(inputs)), student, terms)
    distiller.compile(keras.optimizers.SGD(0.1))
    before = student.get_weights()
    for _ in range(3):
        assert np.isfinite(list(distiller.train_on_batch(images, masks, return_dict=True).values())).all()
    assert not same(before, student.get_weights())
    assert all(np.isfinite(weight).all() for weight in student.get_weights())
