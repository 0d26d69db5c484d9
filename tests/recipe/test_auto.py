"""Quantization by budget: the order, where it stops, and what it writes down."""

import json
import re

import numpy as np
import pytest

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.data.road_scenes import RoadScenes
from tfsegkd.quantization import NothingToEqualize
from tfsegkd.recipe import AutoQuantize, Distill, Recipe, Schedule, StudentAlone, Teacher, TrainingData
from tfsegkd.recipe import auto as automatic
from tfsegkd.recipe.auto import SearchLog, hold_out

SCHEDULE = Schedule(epochs=1, learning_rate=1e-3, batch_size=4)
LADDER = ["calibration", "equalization", "bias correction"]


def frames():
    train, val = (RoadScenes(split, height=48, width=64, num_images=12) for split in ("train", "val"))
    return TrainingData(train, val, size=(48, 64))


def network(score):
    model = keras.Sequential([keras.layers.Conv2D(1, 1, input_shape=(4, 4, 3))], name="toy")
    model.score = score
    return model


def search_log(budget=1.0):
    return SearchLog(lambda model: model.score, network(0.80), budget)


def test_the_first_within_the_budget_is_taken():
    found = search_log()
    assert not found.take("a", lambda: network(0.70))
    assert found.take("b", lambda: network(0.791))
    written = found.to_json()
    assert written["chosen"] == "b" and written["within_budget"] and found.best.score == 0.791
    assert [one["name"] for one in written["tried"]] == ["a", "b"]
    assert written["tried"][0]["drop"] == pytest.approx(10)


def test_without_one_the_best_is_taken():
    found = search_log()
    for score in (0.70, 0.78, 0.75):
        assert not found.take(str(score), lambda score=score: network(score))
    assert found.to_json()["chosen"] == "0.78" and not found.to_json()["within_budget"]


def test_what_cannot_be_done_is_passed_over_and_said():
    def refuse():
        raise NothingToEqualize("there is nothing")

    found = search_log()
    assert not found.take("a", refuse)
    found.take("b", lambda: network(0.8))
    assert found.tried[0].skipped == "there is nothing" and found.to_json()["chosen"] == "b"


def test_the_last_frames_are_held_out():
    source = frames().train
    fitting, held_out = hold_out(source, 4)
    assert fitting.names + held_out.names == source.names and len(held_out) == 3
    with pytest.raises(ValueError, match=r"leaves 9.*fewer than a batch of 12"):
        hold_out(source, 12)


def test_a_budget_is_a_number_of_points():
    with pytest.raises(ValueError, match="max_miou_drop must be a number from 0"):
        AutoQuantize(SCHEDULE, max_miou_drop=-1)


@pytest.mark.slow
def test_a_run_takes_the_cheapest_that_will_do(tmp_path):
    stages = [StudentAlone("unet(width=8)", SCHEDULE), AutoQuantize(SCHEDULE, max_miou_drop=100)]
    report = Recipe(stages).run(tmp_path, frames())
    tried = report["quantization"]
    assert [one["name"] for one in tried["tried"]] == LADDER[:1] and tried["chosen"] == LADDER[0]
    assert tried == json.loads((tmp_path / automatic.TRIED).read_text()) and tried["held_out_images"] == 1
    assert report["stages"][-1]["name"] == "int8" and report["float_ops"] == []
    # Nobody has trained it: its kernels are the student's.
    kernels = [models.load(tmp_path / name).weights for name in ("student_alone.keras", "student_qat.keras")]
    first = [next(w.numpy() for w in found if w.name.endswith("kernel:0")) for found in kernels]
    np.testing.assert_array_equal(*first)


@pytest.mark.slow
def test_a_run_that_finds_nothing_good_enough_tries_all(tmp_path, monkeypatch):
    monkeypatch.setattr(SearchLog, "take", _never(SearchLog.take))
    monkeypatch.setattr(automatic, "_MOST_FLOAT", 0.1)
    stages = [StudentAlone("unet(width=8)", SCHEDULE), AutoQuantize(SCHEDULE)]
    report = Recipe(stages, export=False).run(tmp_path, frames())
    names = [one["name"] for one in report["quantization"]["tried"]]
    assert names == [*LADDER, "1 worst layers in float", "2 worst layers in float", "training"]
    scores = {one["name"]: one["mean_iou"] for one in report["quantization"]["tried"]}
    assert report["quantization"]["chosen"] == max(scores, key=scores.get)
    assert not list(tmp_path.rglob("progress"))


@pytest.mark.slow
def test_at_last_the_teacher_helps(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(SearchLog, "take", _never(SearchLog.take))
    monkeypatch.setattr(automatic, "_MOST_FLOAT", 0)
    teacher = models.build("unet(width=8)", 11, (48, 64, 3))
    teacher.save(tmp_path / "teacher_of_another.keras")
    terms = ("pixelwise", "hint@stage4:stage4")
    cache = str(tmp_path / "cache")
    stages = [
        Teacher(str(tmp_path / "teacher_of_another.keras")),
        Distill("unet(width=4)", SCHEDULE, terms, cache=cache, preflight="off"),
        AutoQuantize(SCHEDULE, terms, cache=cache),
    ]
    report = Recipe(stages, export=False).run(tmp_path / "run", frames())
    tried = report["quantization"]["tried"]
    assert [one["name"] for one in tried] == [*LADDER, "training", "training with the teacher"]
    assert not any(one["skipped"] for one in tried[-2:])
    recorded = "teacher cache: (.*) images recorded"
    assert re.findall(recorded, capsys.readouterr().out) == ["12 of 12", "0 of 12"]


def _never(take):
    return lambda self, name, make: bool(take(self, name, make)) and False
