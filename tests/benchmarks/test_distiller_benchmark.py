"""The benchmark of the Distiller at toy size: it times what it says. No time is judged here."""

import math
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from benchmarks import distiller, two_keras
from benchmarks.interleaved import Seconds, interleaved, ratio
from benchmarks.two_keras import FEATURE, network

from tfsegkd import _keras
from tfsegkd._keras import keras
from tfsegkd.distillation import KerasTeacher

SMALL = "unet(width=4)"
FEATURES = ("hint@stage4:stage4", "hint@context:context", "attention@decoder:decoder")
TINY = {4: (8, 1), 8: (8, 1), 16: (8, 1)}  # one block at each stride


def test_every_case_is_timed_every_round():
    calls = []
    cases = {name: lambda name=name: calls.append(name) for name in "abc"}
    seconds = interleaved(cases, rounds=3, warmup=1)
    assert "".join(calls) == "abccbaabccba"
    assert set(seconds) == set("abc")
    assert all(len(taken.wall) == len(taken.cpu) == 3 for taken in seconds.values())
    with pytest.raises(ValueError, match="rounds"):
        interleaved(cases, rounds=0)


def test_waiting_takes_no_time_of_the_processor():
    def busy():
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass

    seconds = interleaved({"busy": busy, "idle": lambda: threading.Event().wait(0.05)}, rounds=1, warmup=0)
    assert seconds["busy"].cpu[0] > 0.04 > seconds["idle"].cpu[0]
    assert min(seconds["busy"].wall[0], seconds["idle"].wall[0]) > 0.04


def test_a_ratio_is_taken_round_by_round():
    # The second round was three times as slow for all: it counts like the others.
    assert ratio((2.0, 6.0, 4.0), (1.0, 3.0, 1.0), (1.0, 3.0, 1.0)) == 1.0


def test_both_kerases_build_the_same_networks():
    keras3 = pytest.importorskip("keras", minversion="3.12") and _keras.keras3
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 48, 3)).astype("float32")
    sizes = {}
    for role in ("teacher", "student"):
        one, other = (network(library, role, 5, (32, 48, 3)) for library in (keras, keras3))
        assert [weight.shape for weight in one.get_weights()] == [
            weight.shape for weight in other.get_weights()
        ]
        other.set_weights(one.get_weights())
        outputs = [model.get_layer(FEATURE).output for model in (one, other)]
        assert outputs[0].shape[-1] == outputs[1].shape[-1]
        np.testing.assert_allclose(one(images), other(images), atol=1e-4)
        sizes[role] = one.count_params()
    assert sizes["teacher"] > 4 * sizes["student"]


@pytest.mark.slow
def test_what_is_recorded_teaches_the_same():
    batch = distiller._random_batch((32, 48), 2)
    keras.utils.set_random_seed(0)
    teacher = distiller.models.build(SMALL, 11, (32, 48, 3))
    recorded = distiller.Recorded(KerasTeacher(teacher), batch[0], FEATURES)
    logs = []
    for taught, inputs in ((teacher, batch[0]), (recorded, {"images": batch[0], "teacher": recorded.shown})):
        keras.utils.set_random_seed(1)
        student = distiller.models.build(SMALL, 11, (32, 48, 3))
        trainer = distiller.Distiller(taught, student, distiller.parse_terms(FEATURES))
        trainer.compile("sgd", run_eagerly=True)
        logs.append(trainer.train_on_batch(inputs, batch[1], return_dict=True))
    assert logs[0] == pytest.approx(logs[1], rel=1e-4)
    assert len(recorded.shown) == 3 and not any(tf.reduce_all(x == 0) for x in recorded.shown.values())


def test_rows_divide_by_what_they_name():
    names = ["student", "teacher", "logits", "three features", "logits, cached", "three features, cached"]
    names += [f"our {name}" for name in ("student", "teacher", "logits", "one feature")]
    names += [f"Keras' {name}" for name in ("student", "teacher", "logits", "one feature")]
    seconds = {
        name: Seconds((float(place),) * 3, (2.0 * place + 1,) * 3)
        for place, name in enumerate(names, start=1)
    }
    rows = {(row["step"], row["over"]): row for row in distiller._rows(seconds)}
    logits = rows["logits", "student + teacher"]
    assert (logits["ratio"], logits["cpu_ratio"], logits["milliseconds"]) == (3 / (1 + 2), 7 / (3 + 5), 3000)
    assert logits["target"] == 1.05
    assert rows["three features, cached", "student"]["ratio"] == 6
    assert rows["our one feature", "Keras' one feature"]["ratio"] == 10 / 14
    assert len(rows) == 10


@pytest.mark.parametrize("theirs", [True, False])
@pytest.mark.slow
def test_a_small_run_measures_everything(theirs, capsys, monkeypatch):
    monkeypatch.setattr(two_keras, "PLANS", {"teacher": TINY, "student": TINY})
    if not theirs:
        monkeypatch.setattr(distiller, "_keras", object())
    rows = distiller.run((32, 48), 2, rounds=1, teacher=SMALL, student=SMALL, features=FEATURES, xla=False)
    assert len(rows) == (10 if theirs else 6)
    for row in rows:
        assert all(math.isfinite(row[key]) and row[key] > 0 for key in ("milliseconds", "ratio", "cpu_ratio"))
    printed = capsys.readouterr().out
    assert all(row["step"] in printed for row in rows) and "≤ 1.05" in printed
