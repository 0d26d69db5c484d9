"""Grouping within a recipe: from which network it starts, what it trains, and what it leaves."""

import json

import numpy as np
import pytest

from tfsegkd import models
from tfsegkd.data.road_scenes import RoadScenes
from tfsegkd.graph import cost
from tfsegkd.grouping import GradualConv2D, alpha, set_alpha
from tfsegkd.recipe import Group, Quantize, Recipe, Schedule, TrainingData
from tfsegkd.recipe import grouping as stage_file
from tfsegkd.recipe.stages import Run

SCHEDULE = Schedule(epochs=5, learning_rate=1e-3, batch_size=4)
SIZE = (32, 48)
UNET = "unet(width=4)"


def frames():
    train, val = (RoadScenes(split, height=32, width=48, num_images=8) for split in ("train", "val"))
    return TrainingData(train, val, size=SIZE)


@pytest.fixture
def untrained(monkeypatch):
    """Trainings that only note their networks and take alpha to its end."""
    noted = []

    def note(distiller, frames, schedule, directory, callbacks=(), recorded=None):
        network = distiller.student
        noted.append((distiller, list(callbacks), [weight.numpy() for weight in network.trainable_weights]))
        set_alpha(network, callbacks[0].alpha_after(10**6))

    monkeypatch.setattr(stage_file, "train", note)
    return noted


def test_from_scratch_it_is_the_dense_network_at_first(tmp_path, untrained):
    stage = Group(UNET, SCHEDULE, 4, begin=0.2, end=0.7, shape="cosine")
    grouped = stage.make(Run(tmp_path, frames()))
    ((distiller, (schedule,), initial),) = untrained
    assert (schedule.begin, schedule.end, schedule.shape) == (2, 7, "cosine") and not schedule.assign
    stage_file.keras.utils.set_random_seed(0)
    dense = models.build(UNET, 11, (*SIZE, 3))
    for one, other in zip(initial, dense.trainable_weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert cost(grouped).macs < 0.5 * cost(dense).macs
    assert not any(isinstance(layer, GradualConv2D) for layer in grouped.layers)
    assert alpha(distiller.student) == 0


@pytest.mark.slow
def test_grouped_from_scratch_starts_as_wide_as_a_grouped_network(tmp_path, untrained):
    spec, names = "erfnet(width_multiplier=0.5, block=d)", ["stride8_*_pointwise*"]
    Group(spec, SCHEDULE, 4, names, begin=0, end=0).make(Run(tmp_path, frames()))
    ((distiller, (schedule,), _),) = untrained
    assert schedule.alpha_after(0) == 0
    built = models.build("erfnet(width_multiplier=0.5, block=dg4)", 11, (*SIZE, 3))
    name = "stride8_3_pointwise1_conv"
    own, expected = (np.std(model.get_layer(name).kernel) for model in (distiller.student, built))
    assert own == pytest.approx(expected, rel=0.1)


def test_a_trained_student_is_taken_if_there_is_one(tmp_path, untrained):
    model = models.build(UNET, 11, (*SIZE, 3))
    model.save(tmp_path / "student.keras")
    stage = Group(None, SCHEDULE, "depthwise", distill=("pixelwise",), preflight="off")
    model.save(tmp_path / "teacher.keras")
    grouped = stage.make(Run(tmp_path, frames()))
    ((distiller, _, initial),) = untrained
    assert [term.name for term in distiller.terms] == ["pixelwise"]
    names = {weight.name: weight for weight in model.trainable_weights}
    carried = [w for w in distiller.student.trainable_weights if w.name in names and "kernel" in w.name]
    assert carried and len(initial) > len(names)
    assert any(layer.name.endswith("_depthwise") for layer in grouped.layers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 4, "begin": 0.5, "end": 0.2}, "begin must be"),
        ({"groups": 4, "end": 1.5}, "end must be"),
        ({"groups": 4, "shape": "square"}, "shape must be"),
        ({"groups": 4, "assignment": "lucky"}, "assignment must be"),
        ({"groups": 4, "assignment": "learned", "begin": 0.0}, "begin=0"),
        ({"groups": 4, "task_weight": 0.0}, "task_weight=0"),
        (
            {"groups": 4, "model": None, "initialize_from": "encoder.keras"},
            "initialize_from='encoder.keras'",
        ),
    ],
)
def test_wrong_settings_show_before_anything_is_read(options, message):
    with pytest.raises(ValueError, match=message):
        Group(**{"model": UNET, "schedule": SCHEDULE, **options})


def test_a_network_that_has_learnt_before_begins_from_its_weights(tmp_path, untrained):
    path = str(tmp_path / "before.keras")
    before = models.build(UNET, 11, (64, 64, 3))
    before.save(path)
    stage = Group(UNET, SCHEDULE, 4, initialize_from=path)
    stage.make(Run(tmp_path, frames()))
    ((_, _, initial),) = untrained
    for one, other in zip(initial, before.trainable_weights, strict=True):
        np.testing.assert_array_equal(one, other)
    settings = stage.settings()
    models.build(UNET, 11, (64, 64, 3)).save(path)
    assert stage.settings() != settings  # another file of that name is another training


def test_without_a_student_there_is_nothing_to_group(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'student.keras', 'student_alone.keras'"):
        Group(None, SCHEDULE, 4).make(Run(tmp_path, frames()))


@pytest.mark.slow
def test_grouped_then_quantized(tmp_path):
    stages = [Group(UNET, SCHEDULE, 4, begin=0.2, end=0.6, assignment="learned"), Quantize(SCHEDULE)]
    report = Recipe(stages).run(tmp_path, frames())
    rows = {row["name"]: row for row in report["stages"]}
    assert [*rows] == ["grouped", "student_qat", "int8"]
    assert rows["grouped"]["macs"] == rows["student_qat"]["macs"] == rows["int8"]["macs"]
    assert rows["int8"]["macs"] < 0.5 * cost(models.build(UNET, 11, (*SIZE, 3))).macs
    assert report["float_ops"] == [] and report["delegate_partitions"] == 1
    assert report["grouped_layers"] and all(layer["groups"] == 4 for layer in report["grouped_layers"])
    kept = json.loads((tmp_path / "grouped" / "assignment.json").read_text())
    assert kept["ordered"] == [] and kept["kept_after"].keys() == kept["kept_before"].keys()
    assert not list(tmp_path.rglob("progress"))
