"""Several teachers in a run: measured, weighted on held-out frames, recorded, distilled."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tfsegkd._keras import keras
from tfsegkd.data import NO_AUGMENTATION, DatasetInfo, Source
from tfsegkd.recipe import (
    Distill,
    PretrainedTeacher,
    Quantize,
    Recipe,
    Schedule,
    StudentAlone,
    TrainingData,
    plan,
)
from tfsegkd.recipe.report import describe_members, print_table
from tfsegkd.recipe.stages import Run

SIZE = (32, 48)
INFO = DatasetInfo("blocks", ("sky", "road", "car"), ((0, 0, 0),) * 3)
SCHEDULE = Schedule(epochs=2, learning_rate=1e-3, batch_size=2)


class Blocks(Source):
    """Blocks of the three classes; pixels are red, green or blue."""

    def __init__(self, count=6, seed=0):
        super().__init__(INFO, [f"{seed}_{number}" for number in range(count)])
        self.seed = seed

    def read(self, index):
        mask = np.random.default_rng((self.seed, index)).integers(0, 3, (4, 6), np.uint8)
        mask = mask.repeat(8, 0).repeat(8, 1)
        return 200 * np.eye(3, dtype=np.uint8)[mask], mask


def save(path, size, order):
    """A network that takes each color for the class that `order` names, or for none."""
    image = keras.Input((*size, 3))
    head = keras.layers.Conv2D(max(order) + 1, 1, name="head")
    model = keras.Model(image, head(image))
    kernel = np.zeros((1, 1, 3, max(order) + 1))
    for color, channel in enumerate(order):
        kernel[0, 0, color, channel] = 0.03
    head.set_weights([kernel, np.zeros(max(order) + 1)])
    model.save(path)


@pytest.fixture
def teachers(tmp_path):
    """One that takes cars for sky; and one, of other classes and size, that knows sky and cars alone."""
    save(tmp_path / "own.keras", SIZE, (0, 1, 0))
    own = keras.models.load_model(tmp_path / "own.keras", compile=False)
    image = keras.Input((*SIZE, 3))
    head = keras.layers.Conv2D(3, 1, name="head")
    model = keras.Model(image, head(image))
    head.set_weights([np.pad(own.get_weights()[0], ((0, 0),) * 3 + ((0, 1),)), np.zeros(3)])
    model.save(tmp_path / "own.keras")
    save(tmp_path / "city.keras", (16, 24), (3, 0, 1))
    (tmp_path / "map.txt").write_text("sky: 3\ncar: 1\n")
    return f"{tmp_path / 'own.keras'},{tmp_path / 'city.keras'}(class_map={tmp_path / 'map.txt'},size=16x24)"


def frames():
    return TrainingData(Blocks(), Blocks(4, seed=1), SIZE, augmentation=NO_AUGMENTATION)


@pytest.mark.slow
def test_each_is_measured_beside_their_mean_and_the_student_alone(teachers, tmp_path, capsys):
    stage = PretrainedTeacher((teachers,), held_out=Blocks(8, seed=2))
    stages = [
        stage,
        StudentAlone("mobile_unet(width_multiplier=0.25)", SCHEDULE),
        Distill(
            "mobile_unet(width_multiplier=0.25)",
            SCHEDULE,
            ["pixelwise(balanced=True)"],
            cache=str(tmp_path / "cache"),
            preflight="warn",
            balanced_terms=True,
        ),
    ]
    report = Recipe(stages, export=False).run(tmp_path / "run", frames())
    row = report["stages"][0]
    members = {each["name"]: each for each in row["members"]}
    assert list(members) == ["own", "city"]
    assert members["own"]["iou"]["car"] == 0 and members["city"]["iou"]["road"] == 0
    assert row["mean_iou"] > max(each["mean_iou"] for each in members.values())
    fitted = json.loads((tmp_path / "run" / "teacher_weights.json").read_text())
    assert fitted["members"] == ["own", "city"] and np.shape(fitted["weights"]) == (2, 3)
    # City does not know roads, and own no cars.
    assert fitted["weights"][1][1] == 0 and fitted["weights"][0][2] < 0.2
    printed = capsys.readouterr().out
    assert printed.count("own: mean IoU") == 2  # when it is measured, and before the student is taught
    assert "the student alone: mean IoU" in printed and "  city" in printed
    assert report["stages"][2]["mean_iou"] > 0

    run = Run(tmp_path / "run", frames(), stage)
    assert run.teacher_weights() == fitted["weights"]
    # Other frames to fit on are other settings.
    other = PretrainedTeacher((teachers,), held_out=Blocks(8, seed=3))
    with pytest.raises(ValueError, match="held_out was"):
        Recipe([other], export=False).run(tmp_path / "run", frames())


def test_a_mean_below_its_best_member_is_said():
    row = {"name": "teacher", "mean_iou": 0.5}
    row["members"] = [{"name": "a", "mean_iou": 0.6}, {"name": "b", "mean_iou": 0.4}]
    lines = describe_members(row, {"mean_iou": 0.55})
    assert any("10.0 points below 'a'" in line for line in lines)
    assert any("student alone is already as good" in line for line in lines)
    row["mean_iou"] = 0.61
    assert not any("warning" in line for line in describe_members(row, {"mean_iou": 0.55}))


def test_the_table_has_a_line_for_each_teacher(capsys):
    row = {"name": "teacher", "mean_iou": 0.5, "members": [{"name": "a", "mean_iou": 0.6}]}
    print_table([row, {"name": "student", "mean_iou": 0.4}])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["teacher", "50.00"],
        ["a", "60.00"],
        ["student", "40.00"],
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"paths": ("a.keras",), "held_out": Blocks()}, "several teachers"),
        (
            {"paths": ("a.keras", "b.keras"), "held_out": Blocks(), "class_map": "map.txt"},
            "class_map=map.txt",
        ),
    ],
)
def test_weights_that_cannot_be_fitted_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        PretrainedTeacher(**options)


def two_heads(path):
    image = keras.Input((*SIZE, 3))
    heads = {name: keras.layers.Conv2D(3, 1, name=name)(image) for name in ("logits", "aux")}
    keras.Model(image, heads).save(path)


def test_a_member_may_have_several_outputs(tmp_path):
    two_heads(tmp_path / "two.keras")
    teacher = PretrainedTeacher((f"{tmp_path / 'two.keras'}(output=aux)",)).load(INFO, SIZE)
    model = keras.models.load_model(tmp_path / "two.keras", compile=False)
    images = 200 * np.eye(3, dtype=np.float32)[np.zeros((1, *SIZE), int)]
    np.testing.assert_allclose(
        teacher.feature_extractor(["logits"])(images)["logits"], model(images)["aux"], atol=1e-4
    )
    wrong = PretrainedTeacher((f"{tmp_path / 'two.keras'}(output=foo)",))
    with pytest.raises(ValueError, match="'foo'"):
        wrong.load(INFO, SIZE)
    with pytest.raises(ValueError, match="'foo'"):
        wrong.settings()


def test_names_of_classes_need_a_map(teachers, tmp_path):
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    own = teachers.partition(",")[0]
    with pytest.raises(ValueError, match="names that a `class_map` uses"):
        PretrainedTeacher((f"{own}(teacher_classes={tmp_path / 'names.txt'})",)).load(INFO, SIZE)


def test_a_plan_reads_the_files_of_members(teachers, tmp_path):
    stages = [PretrainedTeacher(tuple(teachers.split(",", 1))), StudentAlone("unet(width=4)", SCHEDULE)]
    found = plan(Recipe(stages, export=False), tmp_path / "run", frames(), timed_steps=0).stages[0]
    names = ("own.keras", "city.keras", "map.txt")
    assert set(found.reads) >= {str(tmp_path / name) for name in names}


def test_balanced_terms_need_labels():
    with pytest.raises(ValueError, match="balanced_terms"):
        Distill("unet", SCHEDULE, ["pixelwise"], task_weight=0, balanced_terms=True)


def test_fine_tuning_balances_its_terms_too(monkeypatch):
    given = {}

    def distiller(*_, **options):
        given.update(options)
        raise InterruptedError

    monkeypatch.setattr("tfsegkd.recipe.quantizing.Distiller", distiller)
    run = SimpleNamespace(teacher=lambda *_: (None, None), data=frames())
    for balanced in (True, False):
        with pytest.raises(InterruptedError):
            Quantize(SCHEDULE, ["pixelwise"], balanced_terms=balanced).train(run, None, None, [])
        assert given["balance"] is balanced
    with pytest.raises(ValueError, match="balanced_terms"):
        Quantize(SCHEDULE, ["pixelwise"], task_weight=0, balanced_terms=True)
