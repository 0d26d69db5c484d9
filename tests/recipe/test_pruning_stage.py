"""Pruning within a recipe: what goes, for how long the rest is trained, and what comes after."""

import json

import numpy as np
import pytest
from PIL import Image

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.data.road_scenes import RoadScenes
from tfsegkd.graph import cost
from tfsegkd.pruning import sparsity_report
from tfsegkd.recipe import Prune, Quantize, Recipe, Schedule, TrainingData
from tfsegkd.recipe import pruning as stage_file
from tfsegkd.recipe.stages import Run

layers = keras.layers
SCHEDULE = Schedule(epochs=2, learning_rate=1e-3, batch_size=4)
SIZE = (32, 48)


def frames():
    train, val = (RoadScenes(split, height=32, width=48, num_images=8) for split in ("train", "val"))
    return TrainingData(train, val, size=SIZE)


def small(width=16):
    """Two stages and a skip; quicker to build than any network of ours."""
    inputs = keras.Input((*SIZE, 3), name="pixels")

    def conv(x, filters, name):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
        return layers.ReLU(name=name)(layers.BatchNormalization(name=f"{name}_bn")(x))

    fine = conv(layers.Rescaling(1 / 255, name="scale")(inputs), width, "fine")
    x = conv(layers.MaxPooling2D(name="pool")(fine), 2 * width, "coarse")
    x = layers.Concatenate(name="join")([layers.UpSampling2D(name="up")(x), fine])
    return keras.Model(inputs, layers.Conv2D(11, 1, name="logits")(x), name="small")


def dense(directory, model=None):
    """A run's student, saved as a stage would have."""
    model = model or small()
    directory.mkdir(parents=True, exist_ok=True)
    model.save(directory / "student.keras")
    return model


def prune(target, **options):
    return Prune(target, SCHEDULE, **{"importance": "l1", "round_to": 4, **options})


@pytest.fixture
def untrained(monkeypatch):
    """Trainings that only note where and how long they would have been."""
    noted = []

    def note(distiller, frames, schedule, directory, callbacks=(), recorded=None):
        noted.append((distiller, schedule.epochs, directory, list(callbacks)))

    monkeypatch.setattr(stage_file, "train", note)
    return noted


def test_the_dense_network_teaches_what_is_left_of_it(tmp_path, untrained):
    model = dense(tmp_path)
    stage = prune("macs:0.5", distill=("pixelwise", "hint@coarse:coarse"))
    pruned = stage.make(Run(tmp_path, frames()))
    assert 0.4 < cost(pruned).macs / cost(model).macs <= 0.5
    ((distiller, epochs, directory, _),) = untrained
    assert (epochs, directory) == (2, tmp_path / "pruned")
    assert cost(distiller.student).macs == cost(pruned).macs
    teacher = distiller.teacher
    images = np.random.default_rng(0).uniform(0, 255, (1, *SIZE, 3)).astype(np.float32)
    shown = teacher(images) if callable(teacher) else teacher.model(images)
    np.testing.assert_allclose(shown, model(images), atol=1e-4)
    noted = json.loads((tmp_path / "pruned" / "pruning_1.json").read_text())
    assert noted["target"] == "macs:0.5" and noted["after"]["macs"] == cost(pruned).macs


def test_keeping_all_is_the_dense_network_trained_as_long(tmp_path, untrained):
    model = dense(tmp_path)
    same = prune("macs:1").make(Run(tmp_path, frames()))
    assert untrained[0][1] == 2
    for one, other in zip(model.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_rounds_share_the_epochs_and_go_on_after_an_interruption(tmp_path, untrained, monkeypatch):
    model = dense(tmp_path)
    stage = Prune("params:0.25", Schedule(3, 1e-3, 4), "l1", round_to=2, rounds=2)
    run = Run(tmp_path, frames())
    pruned, made = stage.make(run), []
    assert [(epochs, directory) for _, epochs, directory, _ in untrained] == [
        (2, tmp_path / "pruned" / "progress" / "round_1"),
        (1, tmp_path / "pruned"),
    ]
    shares = [cost(entry[0].student).parameters / cost(model).parameters for entry in untrained]
    assert 0.4 < shares[0] <= 0.5 and 0.2 < shares[1] <= 0.25
    assert cost(pruned).parameters == cost(untrained[1][0].student).parameters
    untrained.clear()
    monkeypatch.setattr(Prune, "_prune", lambda *_: made.append("again"))
    stage.make(run)
    assert not made and [epochs for _, epochs, *_ in untrained] == [1], "only the last training goes on"


def test_a_path_is_left_beside_the_run(tmp_path, untrained):
    model = dense(tmp_path)
    run = Run(tmp_path, frames())
    pruned = prune("macs:0.7", importance="cost_complexity").make(run)
    assert 0.5 < cost(pruned).macs / cost(model).macs <= 0.7
    notes = tmp_path / "pruned" / "path_1"
    assert "held-out mean IoU" in (notes / "path.md").read_text()
    with Image.open(notes / "path.png") as picture:
        assert picture.format == "PNG"
    assert json.loads((notes / "path.json").read_text())["done_to"] == 0.7


@pytest.mark.parametrize("steps", [2, 10, 37, 300])
def test_weights_reach_their_share_of_zeros_in_time(steps):
    """The last step of the schedule is one at which TF-MOT updates its masks."""
    spec = prune("sparsity:0.8")._thinning(steps)
    found = dict(part.split("=") for part in spec[spec.index("(") + 1 : -1].split(", "))
    end, every = int(found["end_step"]), int(found["frequency"])
    assert end % every == 0 and 1 <= end <= max(1, steps * 2 // 3)
    assert float(found["final_sparsity"]) == 0.8
    assert end // every <= 40


def test_the_settings_hold_the_files_and_not_their_names(tmp_path):
    table = tmp_path / "layers.csv"
    table.write_text("one")
    stage = prune("latency:0.5", latency_table=str(table))
    before = stage.settings()["latency_table"]
    assert len(before) == 64
    table.write_text("other")
    assert stage.settings()["latency_table"] != before
    with pytest.raises(FileNotFoundError, match=r"'gone\.csv'"):
        prune("latency:0.5", latency_table="gone.csv").settings()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "macs"}, "target must be one of"),
        ({"target": "macs:2"}, "target must be one of"),
        ({"target": "sparsity:1"}, "'sparsity:1' cannot be read"),
        ({"target": "sparsity:4:2"}, "cannot be read"),
        ({"target": "flops", "importance": "cost_complexity"}, "target must be one of"),
        ({"target": "macs", "importance": "cost_complexity", "rounds": 2}, "2 rounds need the share"),
        ({"target": "sparsity:0.5", "rounds": 2}, "Prune in one round"),
        ({"target": "latency:0.5", "rounds": 2, "latency_table": "phone.csv"}, "Prune in one round"),
        ({"target": "macs:0.5", "rounds": 3}, "rounds"),
        ({"target": "macs:0.5", "importance": "luck"}, "importance"),
        ({"target": "macs:0.5", "scope": "galactic"}, "scope"),
        ({"target": "macs:0.5", "task_weight": 0.0}, "task_weight=0"),
        ({"target": "macs:0.5", "distill": ("pixelwize",)}, "pixelwise"),
    ],
)
def test_wrong_settings_show_before_anything_is_read(options, message):
    with pytest.raises(ValueError, match=message):
        prune(**options)


def test_without_a_student_there_is_nothing_to_prune(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'student.keras', 'student_alone.keras'"):
        prune("macs:0.5").make(Run(tmp_path, frames()))


@pytest.mark.slow
def test_pruned_then_quantized(tmp_path):
    model = dense(tmp_path, models.build("unet(width=16)", 11, (*SIZE, 3)))
    stages = [prune("macs:0.5", distill=("pixelwise",)), Quantize(SCHEDULE)]
    report = Recipe(stages).run(tmp_path, frames())
    rows = {row["name"]: row for row in report["stages"]}
    assert [*rows] == ["pruned", "student_qat", "int8"]
    assert rows["pruned"]["macs"] == rows["int8"]["macs"] <= 0.5 * cost(model).macs
    assert report["float_ops"] == [] and rows["pruned"]["latency_ms"] > 0
    assert not list(tmp_path.rglob("progress"))


@pytest.mark.slow
def test_zeros_come_through_quantization(tmp_path):
    dense(tmp_path)
    Recipe([prune("sparsity:0.5"), Quantize(SCHEDULE)], export=False).run(tmp_path, frames())
    before = sparsity_report(models.load(tmp_path / "pruned.keras"))
    assert before.sparsity == pytest.approx(0.5, abs=0.02)
    quantized = models.load(tmp_path / "student_qat.keras")
    kernels = [w.numpy() for w in quantized.trainable_weights if "kernel" in w.name]
    assert np.mean(np.concatenate([kernel.ravel() for kernel in kernels]) == 0) >= before.sparsity - 1e-6
