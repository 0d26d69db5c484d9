"""All stages from Python, at toy size."""

import dataclasses
import itertools
import json
import resource
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfsegkd import export, models
from tfsegkd._keras import keras
from tfsegkd.data import Augmentation, Source, UnlabelledImages, WithoutLabels
from tfsegkd.data.road_scenes import RoadScenes
from tfsegkd.distillation import Distiller
from tfsegkd.evaluation import evaluate
from tfsegkd.recipe import (
    Distill,
    PretrainedTeacher,
    Quantize,
    Recipe,
    Schedule,
    StudentAlone,
    Teacher,
    TrainedStudent,
    TrainingData,
    plan,
)
from tfsegkd.reporting import read_runs

STUDENT = "mobile_unet(width_multiplier=0.5)"
SCHEDULE = Schedule(epochs=1, learning_rate=4e-3, batch_size=4)
SPECS = ("pixelwise(temperature=2)", "hint@stride8:stride8*0.1")
STAGES = [
    Teacher("deeplab_v3_plus(weights=None, filters=16, rates=(1, 2))", SCHEDULE),
    StudentAlone(STUDENT, SCHEDULE),
    Distill(STUDENT, SCHEDULE, SPECS, preflight="off"),  # an epoch makes no teacher
    Quantize(SCHEDULE, SPECS),
]
ROWS = ["teacher", "student_alone", "student", "student_qat", "int8"]


def frames(seed=0):
    train, val = (RoadScenes(split, height=48, width=64, num_images=8) for split in ("train", "val"))
    return TrainingData(train, val, size=(48, 64), seed=seed)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    return directory, Recipe(STAGES).run(directory, frames(), flags={"seed": 0})


def test_a_teacher_learns_from_its_own_images(tmp_path):
    stages, few, others = [Teacher("unet(width=2)", SCHEDULE)], frames(), frames().val
    seen = {
        "by the teacher": dataclasses.replace(few, teacher_train=others),
        "by all": dataclasses.replace(few, train=others),
        "by none": few,
    }
    kernels = {}
    for name, images in seen.items():
        Recipe(stages, export=False).run(tmp_path / name, images)
        kernels[name] = models.load(tmp_path / name / "teacher.keras").get_weights()
    for ours, theirs in zip(kernels["by the teacher"], kernels["by all"], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(kernels["by none"], kernels["by all"], strict=True))
    with pytest.raises(ValueError, match="made with other settings: teacher_train was"):
        Recipe(stages, export=False).run(tmp_path / "by the teacher", few)


def test_validation_images_without_labels_are_refused_before_training(tmp_path):
    few = frames()
    unknown = dataclasses.replace(few, val=WithoutLabels(few.val))
    with pytest.raises(ValueError, match=r"with labels\. Received: val='road_scenes', 8 images without"):
        Recipe(STAGES).run(tmp_path, unknown)
    assert not list(tmp_path.rglob("*.keras"))


@pytest.mark.slow
def test_everything_is_written(run):
    directory, report = run
    for name in ("teacher.keras", "student_alone.keras", "student.keras", "student_qat.keras"):
        assert models.load(directory / name).output_shape == (None, 48, 64, 11)
    for name in export.VARIANTS:
        assert (directory / name).is_file()
    names = (directory / "labels.txt").read_text().splitlines()
    assert names == list(frames().val.info.class_names)
    with Image.open(directory / "overlays.png") as picture:
        assert picture.format == "PNG"
    assert json.loads((directory / "report.json").read_text()) == json.loads(json.dumps(report))
    assert not list(directory.rglob("*.tmp*")) and not list(directory.rglob("progress"))


@pytest.mark.slow
def test_the_report_tells_cost_and_gain(run):
    directory, report = run
    assert [row["name"] for row in report["stages"]] == ROWS
    for row in report["stages"]:
        assert 0 <= row["mean_iou"] <= 1
        assert row["parameters"] > 0 and row["macs"] > 0
        assert row["file_bytes"] == (directory / row["file"]).stat().st_size
        assert row["latency_runs"] >= 50 and row["num_threads"] >= 1
        if row["name"] != "student_qat":
            assert row["latency_ms"] > 0, row["name"]
    by_name = {row["name"]: row for row in report["stages"]}
    assert by_name["student"]["parameters"] == by_name["student_alone"]["parameters"]
    assert by_name["teacher"]["macs"] > by_name["student"]["macs"]
    assert {name for name, row in by_name.items() if "bits_per_weight" in row} == {"student_qat"}
    assert 8 < by_name["student_qat"]["bits_per_weight"] < 16
    assert by_name["int8"]["mean_iou"] == evaluate(directory / "model_int8.tflite", frames().val).mean_iou
    assert 0.9 < report["int8_agreement"] <= 1
    assert report["float_ops"] == [] and report["delegate_partitions"] == 1
    assert report["seed"] == 0 and report["flags"] == {"seed": 0}
    status = Path("/proc/self/status").read_text()
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) / 1024
    peak = max(peak, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
    assert 0.5 * peak < report["peak_memory_mb"] <= peak + 1
    assert {"python", "tfsegkd", "tensorflow", "tf-keras"} <= set(report["versions"])


@pytest.mark.slow
def test_a_second_run_reuses_all_and_a_changed_one_is_refused(run, capsys):
    directory, report = run
    before = {path: path.read_bytes() for path in directory.glob("*.keras")}
    # Nothing is trained, so the teacher's network is not even built.
    again = Recipe(STAGES, export=False).run(directory, frames())
    printed = capsys.readouterr().out
    assert printed.count("done before, reusing") == 4 and "epoch" not in printed
    assert {path: path.read_bytes() for path in directory.glob("*.keras")} == before
    scores = [row["mean_iou"] for row in report["stages"]]
    assert [row["mean_iou"] for row in again["stages"]] == scores[:4]
    with pytest.raises(ValueError, match=r"'teacher'.*made with other settings: seed was 0 and is 1"):
        Recipe(STAGES, export=False).run(directory, frames(seed=1))


@pytest.mark.slow
def test_alone_and_distilled_start_from_the_same_weights(run, tmp_path):
    # With a task weight of 1 and no terms, distilling is training alone.
    directory, _ = run
    (tmp_path / "teacher.keras").write_bytes((directory / "teacher.keras").read_bytes())
    Recipe([Distill(STUDENT, SCHEDULE, ())], export=False).run(tmp_path, frames())
    alone, distilled = (
        models.load(path).get_weights()
        for path in (directory / "student_alone.keras", tmp_path / "student.keras")
    )
    for one, other in zip(alone, distilled, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_stage_that_lacks_an_earlier_one_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"teacher.keras.*a later stage needs it.*`stages`"):
        Recipe([STAGES[2]]).run(tmp_path, frames())
    with pytest.raises(FileNotFoundError, match=r"'student.keras', 'student_alone.keras'"):
        Recipe([STAGES[3]]).run(tmp_path, frames())


def test_a_teacher_that_knows_nothing_is_refused_before_the_first_step(tmp_path, capsys):
    models.build("unet(width=8)", 11, (48, 64, 3)).save(tmp_path / "random.keras")
    stages = [Teacher(str(tmp_path / "random.keras")), Distill("unet(width=8)", SCHEDULE, ["pixelwise"])]
    with pytest.raises(ValueError, match=r"does no better.*preflight=warn"):
        Recipe(stages, export=False).run(tmp_path / "run", frames())
    printed = capsys.readouterr().out
    assert "on 8 images" in printed and "epoch 1" not in printed  # each image once


@keras.utils.register_keras_serializable("test")
class Grey(keras.layers.Layer):
    """Logits that say the label for sure: the grey value of each frame is ten times its class."""

    def call(self, images):
        return -8 * tf.square(images[..., :1] / 10 - tf.range(11, dtype=tf.float32))


class Flat(Source):
    """Frames of one grey value each."""

    def __init__(self, count=8):
        super().__init__(frames().train.info, [f"flat_{number}" for number in range(count)])

    def read(self, index):
        mask = np.full((48, 64), index % 11, np.uint8)
        mask[:4] = 255
        return np.full((48, 64, 3), 10 * (index % 11), np.uint8), mask


@keras.utils.register_keras_serializable("test")
class GreyToADegree(Grey):
    """The same, but of bright pixels it says only whether they are on the left."""

    def call(self, images):
        columns = tf.range(tf.shape(images)[2])
        left = tf.one_hot(tf.cast(columns < tf.shape(images)[2] // 2, tf.int32), 11)
        return tf.where(images[..., :1] < 150, super().call(images), 8 * left)


@pytest.mark.parametrize(("cache", "shade", "warns"), [("cache", 200, True), (None, 50, False)])
def test_unlabelled_images_that_the_teacher_does_not_know_are_told(cache, shade, warns, tmp_path, capsys):
    images = keras.Input((48, 64, 3))
    keras.Model(images, GreyToADegree(name="says")(images), name="oracle").save(tmp_path / "oracle.keras")
    (tmp_path / "more").mkdir()
    for number in range(4):
        Image.fromarray(np.full((48, 64, 3), shade, np.uint8)).save(tmp_path / f"more/{number}.png")
    more = UnlabelledImages(tmp_path / "more", Flat().info)
    data = TrainingData(Flat(), Flat(), size=(48, 64), unlabelled=more, unlabelled_per_batch=2)
    stages = [
        PretrainedTeacher((str(tmp_path / "oracle.keras"),)),
        Distill(
            "unet(width=2)", SCHEDULE, ["pixelwise"], cache=cache and str(tmp_path / cache), preflight="warn"
        ),
    ]
    Recipe(stages, export=False).run(tmp_path / "run", data)
    printed = capsys.readouterr().out
    assert ("seems not to know the unlabelled images" in printed) == warns
    assert f"100.0% of IoU on labelled, {0 if warns else 100:.1f}% on unlabelled" in printed


@pytest.mark.slow
def test_without_labels_and_from_the_cache_of_a_pretrained_teacher(tmp_path, monkeypatch, capsys):
    images = keras.Input((48, 64, 3))
    keras.Model(images, Grey(name="says")(images), name="oracle").save(tmp_path / "oracle.keras")
    (tmp_path / "more").mkdir()
    for number in range(3):
        Image.fromarray(np.full((48, 64, 3), 10 * number, np.uint8)).save(tmp_path / f"more/{number}.png")
    batches, fit = [], Distiller.fit

    def spy(self, data, **options):
        batches.extend(itertools.islice(data, 2))
        return fit(self, data, **options)

    monkeypatch.setattr(Distiller, "fit", spy)
    more = UnlabelledImages(tmp_path / "more", Flat().info)
    geometry = Augmentation(0.7, 1.4, True, 0, 0, 0, 0)
    seen = TrainingData(
        Flat(), Flat(), size=(48, 64), augmentation=geometry, unlabelled=more, unlabelled_per_batch=2
    )
    cache = str(tmp_path / "cache")
    stages = [
        PretrainedTeacher((str(tmp_path / "oracle.keras"),), flip=True),
        Distill("unet(width=8)", SCHEDULE, ["pixelwise"], task_weight=0, cache=cache, preflight="off"),
    ]
    report = Recipe(stages, export=False).run(tmp_path / "run", seen)
    printed = capsys.readouterr().out
    assert "8 of 8 images recorded" in printed and "3 of 3 images recorded" in printed
    assert "mean_iou" not in printed  # which nothing tells in training
    assert report["stages"][0]["mean_iou"] == 1 and "file" not in report["stages"][0]
    for inputs, masks in batches:
        grey, said = inputs["images"].numpy()[..., 0], inputs["teacher"]["logits"].numpy().argmax(-1)
        assert grey.shape == (6, 48, 64)
        # Not even where the labels say void is known; only what lies outside of the frame is.
        assert set(np.unique(masks)) == {-1, 255}
        whole = (masks.numpy() == -1) & (grey % 10 == 0)
        assert whole.mean() > 0.5
        np.testing.assert_array_equal(said[whole], grey[whole] // 10)


def test_without_labels_there_must_be_something_to_learn():
    with pytest.raises(ValueError, match=r"\['ifvd'\] need them"):
        Distill(STUDENT, SCHEDULE, ["ifvd"], task_weight=0)
    with pytest.raises(ValueError, match="task_weight=0"):
        Quantize(SCHEDULE, ["hint@stride8"], task_weight=0)


def test_a_teacher_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.keras"):
        Recipe([Teacher(str(tmp_path / "gone.keras"))], export=False).run(tmp_path, frames())


def test_a_stage_is_not_reused_where_another_network_would_be_read(tmp_path):
    """Stages one by one in a directory; the last one reads the latest network of this run's stages."""
    alone, taught = StudentAlone("unet(width=2)", SCHEDULE), TrainedStudent(str(tmp_path / "other.keras"))
    models.build("unet(width=2)", 11, (48, 64, 3)).save(tmp_path / "other.keras")
    quantize, directory = Quantize(SCHEDULE, ()), tmp_path / "run"
    Recipe([alone, quantize], export=False).run(directory, frames())
    with pytest.raises(ValueError, match=r"made of student_alone.keras.*made of student.keras"):
        Recipe([alone, taught, quantize], export=False).run(directory, frames())
    with pytest.raises(ValueError, match=r"made of student_alone.keras.*made of student.keras"):
        plan(Recipe([alone, taught, quantize], export=False), directory, frames(), timed_steps=0)
    # student.keras, which the second run has made, is not of this one.
    report = Recipe([alone, quantize], export=False).run(directory, frames())
    assert [row["name"] for row in report["stages"]] == ["student_alone", "student_qat"]
    (directory / "student_alone.keras").write_bytes((tmp_path / "other.keras").read_bytes())
    with pytest.raises(ValueError, match=r"made of another student_alone.keras"):
        Recipe([alone, quantize], export=False).run(directory, frames())
    for name in ("student_alone.keras", "student.keras"):  # to save space
        (directory / name).unlink()
    Recipe([quantize], export=False).run(directory, frames())


def test_the_last_stages_alone_report_the_earlier_ones_too(tmp_path):
    alone, quantize = StudentAlone("unet(width=2)", SCHEDULE), Quantize(SCHEDULE, ())
    Recipe([alone], export=False).run(tmp_path, frames())
    report = Recipe([quantize], export=False).run(tmp_path, frames())
    assert [row["name"] for row in report["stages"]] == ["student_alone", "student_qat"]
    (read,) = read_runs([tmp_path])
    assert [row["name"] for row in read.stages] == ["student_alone", "student_qat"]
