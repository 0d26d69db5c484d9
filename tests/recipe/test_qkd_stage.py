"""QKD within a recipe: its phases, what a kill leaves, and what the teacher sees."""

import dataclasses
import json

import numpy as np
import pytest

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.data.road_scenes import RoadScenes
from tfsegkd.distillation import CoStudying
from tfsegkd.quantization import Precision
from tfsegkd.recipe import (
    QKD,
    PretrainedTeacher,
    Quantize,
    Recipe,
    Schedule,
    Teacher,
    TrainedStudent,
    TrainingData,
)
from tfsegkd.recipe import qkd as stage_file
from tfsegkd.recipe.progress import resumable_randomness
from tfsegkd.recipe.stages import Run

layers = keras.layers
SIZE = (32, 48)
SCHEDULE = Schedule(epochs=4, learning_rate=1e-3, batch_size=4)
SPECS = ("pixelwise(temperature=2)", "hint@stage:stage*0.1")


def frames(**options):
    train, val = (RoadScenes(split, height=32, width=48, num_images=8) for split in ("train", "val"))
    return TrainingData(train, val, size=SIZE, **options)


def network(name, filters, seed, size=SIZE, dropout=0.0):
    keras.utils.set_random_seed(seed)
    image = keras.Input((*size, 3), name="image")
    x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False, name="conv")(image)
    x = layers.ReLU(6.0, name="stage")(layers.BatchNormalization(name="norm")(x))
    x = layers.Dropout(dropout, name="drop")(x) if dropout else x
    x = layers.Conv2D(11, 1, name="head")(x)
    return keras.Model(image, layers.UpSampling2D(2, interpolation="bilinear", name="enlarge")(x), name=name)


@pytest.fixture
def run(tmp_path):
    network("student", 6, 1).save(tmp_path / "student.keras")
    network("teacher", 8, 2, dropout=0.3).save(tmp_path / "teacher.keras")
    return Run(tmp_path, frames())


class Killed(Exception):
    pass


@pytest.fixture
def kill(monkeypatch):
    """Ends trainings in the first step of an epoch, and notes how each stood when it ended."""
    ended = []

    class Kill(keras.callbacks.Callback):
        epoch = None

        def on_epoch_begin(self, epoch, logs=None):
            self.now = epoch

        def on_train_batch_end(self, batch, logs=None):
            if self.now == Kill.epoch:
                raise Killed(self.model.phase)

    def train(studies, frames, schedule, directory, callbacks, **options):
        kept.train(studies, frames, schedule, directory, [*callbacks, Kill()], **options)
        ended.append(studies)

    kept = type("Kept", (), {"train": staticmethod(stage_file.train)})
    monkeypatch.setattr(stage_file, "train", train)
    return Kill, ended


def state(studies):
    """All that a step depends on."""
    (drop,) = (layer for layer in studies.teacher.model.layers if layer.name == "drop")
    variables = [
        *studies.variables,
        *studies.optimizer.variables,
        *studies.teacher_optimizer.variables,
        drop._random_generator._generator.state,
    ]
    return [variable.numpy() for variable in variables]


@pytest.mark.slow
def test_killed_in_any_phase_it_ends_where_it_would_have(run, kill, capsys):
    stage, (killer, ended) = QKD(SCHEDULE, SPECS, preflight="off"), kill
    assert stage.phases == (1, 3)
    teacher = (run.directory / "teacher.keras").read_bytes()
    with resumable_randomness():
        stage.make(run)
        whole = state(ended.pop())
        # The same run elsewhere, killed in each phase.
        other = Run(run.directory / "other", run.data)
        other.directory.mkdir()
        for name in ("student.keras", "teacher.keras"):
            (other.directory / name).write_bytes((run.directory / name).read_bytes())
        phases = []
        for epoch in (0, 1, 2, 3):
            killer.epoch = epoch
            with pytest.raises(Killed) as error:
                stage.make(other)
            phases.append(str(error.value))
        killer.epoch = None
        capsys.readouterr()
        stage.make(other)
    assert phases == ["self_studying", "co_studying", "co_studying", "tutoring"]
    lines = capsys.readouterr().out
    assert "resuming after epoch 3 of 4" in lines and "epoch 4/4" in lines and "epoch 3/4" not in lines
    for one, same in zip(whole, state(ended.pop()), strict=True):
        np.testing.assert_array_equal(one, same)
    assert (run.directory / "teacher.keras").read_bytes() == teacher, "the run's teacher stays as it was"


@pytest.fixture
def untrained(monkeypatch):
    """Trainings that only note what they are given."""
    noted = []
    monkeypatch.setattr(stage_file, "train", lambda *args, **options: noted.append((*args, options)))
    return noted


def test_the_teacher_s_schedule_ends_with_its_phase(run, untrained):
    stage = QKD(dataclasses.replace(SCHEDULE, epochs=20), preflight="off")
    stage.make(run)
    ((studies, _, schedule, directory, callbacks, options),) = untrained
    assert isinstance(studies, CoStudying) and schedule is stage.schedule
    assert (callbacks[0].co_studying_at, callbacks[0].tutoring_at) == (3, 13)
    assert options["teacher_schedule"] == dataclasses.replace(schedule, epochs=10)
    assert [type(one).__name__ for one in callbacks[1:]] == ["FreezeBatchNorm", "FreezeRanges", "KeepZeros"]
    assert callbacks[1].at_epoch == callbacks[2].at_epoch == 13
    assert directory == run.directory / "student_qat"


@pytest.mark.parametrize(
    ("epochs", "phases"), [(3, (1, 2)), (4, (1, 3)), (6, (1, 4)), (20, (3, 13)), (200, (30, 130))]
)
def test_every_phase_has_an_epoch_and_the_paper_s_share(epochs, phases):
    assert QKD(dataclasses.replace(SCHEDULE, epochs=epochs)).phases == phases


def test_a_pretrained_teacher_sees_images_at_its_own_size(run, untrained, tmp_path):
    path = tmp_path / "fine.keras"
    network("fine", 8, 2).save(path)
    pretrained = PretrainedTeacher((str(path),), size=(48, 72))
    crops = Run(tmp_path, frames(crop_size=(16, 32)), pretrained)
    QKD(SCHEDULE, SPECS, preflight="off").make(crops)
    shape = untrained[0][0].teacher.model.get_layer("fine").input_shape
    assert shape == (None, 24, 48, 3), "1.5 times as fine, as frames are"
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 32, 3)).astype(np.float32)
    shown = untrained[0][0].teacher.model(images)
    resize = keras.layers.Resizing
    want = resize(16, 32)(models.at_size(models.load(path), (24, 48))(resize(24, 48)(images)))
    np.testing.assert_allclose(shown, want, atol=1e-3)


def test_a_teacher_that_cannot_be_trained_is_refused(run, untrained):
    path = str(run.directory / "teacher.keras")
    mirrored = Run(run.directory, run.data, PretrainedTeacher((path,), flip=True))
    with pytest.raises(ValueError, match=r"QKD trains its teacher.*Views.*without a class map"):
        QKD(SCHEDULE, preflight="off").make(mirrored)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": dataclasses.replace(SCHEDULE, epochs=2)}, "an epoch for each.*`qat_epochs="),
        ({"distill": ("hint@stage:stage",)}, "a term on the logits"),
        ({"distill": ()}, "a term on the logits"),
        ({"task_weight": 0.0}, "task_weight must be"),
        ({"shares": (0.5, 0.5, 0.0)}, "three numbers above 0"),
        ({"preflight": "maybe"}, "preflight must be"),
    ],
)
def test_wrong_settings_show_before_anything_is_read(options, message):
    with pytest.raises(ValueError, match=message):
        QKD(**{"schedule": SCHEDULE, **options})


def test_the_same_network_is_made_by_one_stage_only(tmp_path):
    with pytest.raises(ValueError, match=r"Several stages make \['student_qat'\]"):
        Recipe([Quantize(SCHEDULE), QKD(SCHEDULE)])
    with pytest.raises(ValueError, match=r"other settings: .*method is 'qkd' and was not given"):
        Recipe([QKD(SCHEDULE)], export=False).run(_made_by_qat(tmp_path), frames())


def _made_by_qat(directory):
    settings = {**frames().settings(), **Quantize(SCHEDULE).settings()}
    record = {"student_qat": {"settings": settings, "result": {"name": "student_qat"}}}
    (directory / "state.json").write_text(json.dumps(record))
    for name in ("student.keras", "teacher.keras"):
        (directory / name).touch()
    return directory


def test_a_trained_student_is_taken_over(tmp_path):
    path = tmp_path / "elsewhere.keras"
    model = network("student", 6, 1)
    model.save(path)
    assert TrainedStudent.artefact == "student.keras"
    taken = TrainedStudent(str(path)).make(Run(tmp_path, frames()))
    for one, other in zip(taken.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    other = keras.Model(model.inputs, layers.Conv2D(5, 1)(model.output))
    other.save(path)
    with pytest.raises(ValueError, match="predicts 5 classes, the data set has 11"):
        TrainedStudent(str(path)).make(Run(tmp_path, frames()))
    with pytest.raises(FileNotFoundError, match="gone"):
        TrainedStudent("gone.keras").settings()


@pytest.mark.slow
def test_from_a_u_net_and_a_deeplab_in_four_bits(tmp_path):
    """The source paper's setting, at toy size."""
    student = models.build("unet(width=4)", 11, (*SIZE, 3))
    student.save(tmp_path / "unet.keras")
    spec = "deeplab_v3(backbone=mobilenet_v2, width_multiplier=0.35, filters=8)"
    models.build(spec, 11, (*SIZE, 3)).save(tmp_path / "deeplab.keras")
    stages = [
        TrainedStudent(str(tmp_path / "unet.keras")),
        Teacher(str(tmp_path / "deeplab.keras")),
        QKD(SCHEDULE, ["pixelwise(temperature=2)"], precision=Precision(4, 8, "lsq"), preflight="off"),
    ]
    report = Recipe(stages).run(tmp_path / "run", frames())
    assert [row["name"] for row in report["stages"]] == ["student", "teacher", "student_qat", "int8"]
    assert report["float_ops"] == [] and report["int8_agreement"] > 0.9
    assert not list((tmp_path / "run").rglob("progress"))
