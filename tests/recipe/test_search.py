"""A search as a stage: what is trained when, what is kept, and how it goes on after a kill."""

import dataclasses
import functools
import json
from collections import namedtuple

import pytest

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.data.road_scenes import RoadScenes
from tfsegkd.graph import cost
from tfsegkd.recipe import (
    Budget,
    BudgetNotKept,
    Quantize,
    Recipe,
    Schedule,
    Search,
    Teacher,
    TrainingData,
    candidates,
    plan,
    search,
    search_result,
    searching,
)
from tfsegkd.recipe.candidates import Candidate, Candidates
from tfsegkd.recipe.dry_run import PlannedTraining
from tfsegkd.recipe.search_result import FOUND, Trained, finish, missed, read_found
from tfsegkd.recipe.stages import Run
from tfsegkd.runtime import ArmCount, arm

SCHEDULE = Schedule(epochs=5, learning_rate=1e-3, batch_size=4)
Scores = namedtuple("Scores", "mean_iou")
SIZES = [(32, 32), (40, 40), (48, 48), (56, 56)]


def frames(**options):
    train, val = (RoadScenes(split, height=64, width=64, num_images=10) for split in ("train", "val"))
    return TrainingData(train, val, size=(32, 32), **options)


def stage(**options):
    options = {"cache": "cache", "student": "unet(width=2)", "preflight": "off", **options}
    return Search(Budget.parse("macs:100M"), SCHEDULE, ("pixelwise",), **options)


@functools.cache
def tiny(size):
    return keras.Sequential([keras.layers.Conv2D(11, 1, input_shape=(*size, 3))], name="tiny")


@pytest.fixture
def world(monkeypatch, tmp_path):
    """Candidates of four sizes, whose trainings leave a network and a score; what was trained, in order."""
    trained = []
    (tmp_path / "teacher.keras").touch()
    four = tuple(Candidate("unet(width=2)", size, (), {"macs": size[0]}, counted=True) for size in SIZES)
    scores = {32: 0.1, 40: 0.4, 48: 0.3, 56: 0.2}

    def train(self, candidate, until, on_all, checked):
        trained.append((candidate.size[0], until, on_all))
        if (candidate.size[0], until) == getattr(self._run, "killed_at", None):
            raise KeyboardInterrupt
        self._network(Trained(candidate)).parent.mkdir(exist_ok=True)
        tiny(candidate.size).save(self._network(Trained(candidate)))
        return scores[candidate.size[0]] + 0.01 * until

    monkeypatch.setattr(searching, "candidates", lambda *_: Candidates(four, 4, four, four))
    monkeypatch.setattr(searching._Making, "_trained", train)
    for module in ("searching", "recipe"):
        monkeypatch.setattr(f"tfsegkd.recipe.{module}.in_subprocess", lambda work: work())
    return trained, Run(tmp_path, frames())


def test_the_best_goes_on_and_learns_from_all_frames_at_the_end(world):
    trained, run = world
    network = stage().make(run)
    assert trained == [
        *((size, 1, False) for size, _ in SIZES),
        (40, 2, False), (48, 2, False), (40, 5, True),
    ]  # fmt: skip
    assert network.input_shape == (None, 40, 40, 3)
    found = read_found(run.directory)
    assert found.chosen.candidate.size == (40, 40) and len(found.trained) == 4
    assert found.chosen.scores == pytest.approx({1: 0.41, 2: 0.42})
    assert found.load(found.trained[0]).input_shape == (None, 32, 32, 3)
    # Smaller ones are on the front for their cost, larger ones would have to be better.
    assert [one.candidate.size[0] for one in found.front] == [32, 40]
    assert "40x40" in found.why and "42.0 %" in found.why and "48x48" in found.why


def test_images_that_must_not_be_learned_are_held_out_to_the_end(world):
    trained, run = world
    run.held_out = run.data.val
    stage(max_drop=1.0).make(run)
    assert trained[-1] == (40, 5, False)
    assert read_found(run.directory).chosen.scores[5] == pytest.approx(0.45)


@pytest.mark.parametrize("killed_at", [(48, 1), (40, 2), (40, 5)])
def test_a_killed_search_trains_nothing_again(world, killed_at):
    trained, run = world
    run.killed_at = killed_at
    with pytest.raises(KeyboardInterrupt):
        stage().make(run)
    del run.killed_at
    stage().make(run)
    again = [one for one in trained if trained.count(one) > 1]
    assert {one[:2] for one in again} == {killed_at} and len(trained) == 8


class Later:
    """A stage after the search, which notes the sizes of the students that it is given."""

    name, artefact = "student_qat", "student_qat.keras"

    def __init__(self):
        self.given = []

    def settings(self):
        return {}

    def make(self, run):
        self.given.append(run.data.size)
        return run.load("student.keras")


@pytest.fixture
def files(monkeypatch):
    """A function that sets the MACs of each candidate's finished file; returns whose files were made."""

    def cost_of(costs):
        made = []

        def report(self, run, rows, flags, peak):
            size = read_found(run.directory).chosen.candidate.size[0]
            made.append(size)
            final = {"name": "int8", "file": "model_int8.tflite", "macs": costs[size]}
            searching = self.search
            return {"search": finish(searching.budget, searching.max_drop, run, [*rows, final])}

        monkeypatch.setattr(Recipe, "_report", report)
        return made

    return cost_of


def test_a_file_over_the_budget_makes_way_for_the_next_candidate(world, files):
    trained, run = world
    made, later = files({40: 1.1e8, 48: 1e8}), Later()
    found = Recipe([stage(), later]).run(run.directory, run.data)["search"]
    assert made == [40, 48] and later.given == [(40, 40), (48, 48)]
    # The runner-up goes on from where it was, beside the next one, and nothing is trained twice.
    assert trained[-3:] == [(40, 5, True), (56, 2, False), (48, 5, True)] and len(trained) == 9
    assert found["file"]["exceeded"] == [] and "48x48" in found["chosen"]
    assert {row["size"][0]: row["over_budget"] for row in found["trained"]} == {
        32: {}, 40: {"macs": 1.1e8}, 48: {}, 56: {}
    }  # fmt: skip
    assert "40x40, 110M of 100M MACs" in found["why"] and "56x56, the next" in found["why"]
    assert [one.candidate.size[0] for one in read_found(run.directory).front] == [32, 48]
    assert models.load(run.directory / "student.keras").input_shape[1] == 48
    assert not list(run.directory.rglob("progress"))


@pytest.mark.parametrize("kept", [True, False])
def test_the_best_is_returned_whatever_it_loses(world, files, monkeypatch, kept):
    """With 40 of the teacher's 90 points lost."""
    trained, run = world
    files({40: 1e6})
    tiny((32, 32)).save(run.directory / "other.keras")
    scores = {"teacher.keras": 0.9, "model_int8.tflite": 0.5}
    monkeypatch.setattr(search_result, "evaluate", lambda path, _: Scores(scores[path.name]))
    options = {
        "student": "unet(width=2)",
        "schedule": SCHEDULE,
        "distill": ("pixelwise",),
        "preflight": "off",
    }
    most = 41.0 if kept else 39.0
    arguments = (str(run.directory / "other.keras"), "macs:100M", run.directory)
    found = search(run.data, *arguments, max_drop=most, **options)
    assert found.chosen.candidate.size == (40, 40) and found.within_drop is kept
    assert found.load(found.chosen).input_shape[1] == 40
    fault = missed(json.loads((run.directory / FOUND).read_text()))
    assert fault is None if kept else "40x40, is 40.00 points" in fault
    # Images of the drop are learned by nothing.
    assert not any(on_all for *_, on_all in trained)


def test_that_no_file_keeps_the_budget_is_an_error(world, files):
    trained, run = world
    made = files(dict.fromkeys((32, 40, 48, 56), 1.5e8))
    with pytest.raises(BudgetNotKept) as error:
        Recipe([stage(), Later()]).run(run.directory, run.data)
    assert made == [40, 48, 56, 32] and len(trained) == len(set(trained))
    assert str(error.value).count("150M of 100M MACs") == 4
    assert models.load(run.directory / "student.keras").input_shape[1] == 32
    # Asked again, it says so again, and trains nothing.
    before = len(trained)
    with pytest.raises(BudgetNotKept, match="40x40"):
        Recipe([stage(), Later()]).run(run.directory, run.data)
    assert len(trained) == before


def test_a_kill_on_the_way_to_the_next_candidate_costs_no_training(world, files, monkeypatch):
    trained, run = world
    files({40: 1.1e8, 48: 1e8})
    go_on = Recipe._go_on_searching

    def killed(self, directory):
        go_on(self, directory)
        monkeypatch.setattr(Recipe, "_go_on_searching", go_on)
        raise KeyboardInterrupt

    monkeypatch.setattr(Recipe, "_go_on_searching", killed)
    with pytest.raises(KeyboardInterrupt):
        Recipe([stage(), Later()]).run(run.directory, run.data)
    found = Recipe([stage(), Later()]).run(run.directory, run.data)["search"]
    assert "48x48" in found["chosen"] and found["file"]["exceeded"] == []
    assert len(trained) == len(set(trained)) == 9


def test_without_halving_the_ranks_are_compared(world):
    trained, run = world
    stage(halving=False).make(run)
    assert len(trained) == 4 * 3 and not any(on_all for *_, on_all in trained)
    content = json.loads((run.directory / FOUND).read_text())
    assert content["rank_correlation"] == {"1": 1.0, "2": 1.0}


def test_a_loss_that_became_nan_leaves_a_candidate_out(world, monkeypatch):
    _, run = world
    well = searching._Making._trained

    def train(self, candidate, *arguments):
        if candidate.size == (40, 40):
            raise FloatingPointError("the loss is NaN")
        return well(self, candidate, *arguments)

    monkeypatch.setattr(searching._Making, "_trained", train)
    assert stage().make(run).input_shape == (None, 48, 48, 3)
    failed = {one.candidate.size[0]: one.failed for one in read_found(run.directory).trained}
    assert failed == {32: "", 40: "the loss is NaN", 48: "", 56: ""}


def test_where_the_last_candidate_fails_another_goes_on(world, monkeypatch):
    _, run = world
    well = searching._Making._trained

    def train(self, candidate, until, *arguments):
        if candidate.size == (40, 40) and until == SCHEDULE.epochs and not self._search.schedule.halve_at_nan:
            raise FloatingPointError("the loss is NaN")
        return well(self, candidate, until, *arguments)

    monkeypatch.setattr(searching._Making, "_trained", train)
    assert stage().make(run).input_shape == (None, 48, 48, 3)
    assert {one.candidate.size[0] for one in read_found(run.directory).trained if one.failed} == {40}


def test_failed_candidates_go_on_with_a_lower_rate(world, monkeypatch):
    trained, run = world
    well = searching._Making._trained

    def train(self, candidate, until, *arguments):
        if until == SCHEDULE.epochs and not self._search.schedule.halve_at_nan:
            raise FloatingPointError("the loss is NaN")
        return well(self, candidate, until, *arguments)

    monkeypatch.setattr(searching._Making, "_trained", train)
    for _ in range(2):
        with pytest.raises(FloatingPointError, match="halve_at_nan=3"):
            stage().make(run)
    trained.clear()
    later = dataclasses.replace(SCHEDULE, halve_at_nan=3)
    assert dataclasses.replace(stage(), schedule=later).make(run).input_shape == (None, 40, 40, 3)
    assert trained == [(40, SCHEDULE.epochs, True)]


def test_the_plan_counts_the_slowest_to_the_end():
    tried = [PlannedTraining(5, 0, 7, 0, step_seconds=seconds) for seconds in (1.0, 4.0, 2.0, 3.0)]
    planned = stage().planned(tried)
    assert [(one.step_seconds, one.done, one.epochs) for one in planned] == [
        (4.0, 0, 1), (3.0, 0, 1), (2.0, 0, 1), (1.0, 0, 1), (4.0, 1, 1), (3.0, 1, 1), (4.0, 2, 3)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"candidates": 0}, r"candidates.*0"),
        ({"candidates": 7}, r"6.*7"),
        ({"max_drop": -1}, r"max_drop.*-1"),
        ({"task_weight": 0, "distill": ()}, r"task_weight=0"),
        ({"cache": None}, r"'pixelwise'.*without a `cache`"),
    ],
)
def test_what_cannot_be_searched_is_refused(options, named):
    given = {"student": "unet(width=2)", "distill": ("pixelwise",), "cache": "cache", **options}
    with pytest.raises(ValueError, match=named):
        Search(Budget.parse("macs:1M"), SCHEDULE, **given)


def test_a_drop_needs_a_teacher_to_drop_from():
    with pytest.raises(ValueError, match="`max_drop` is measured against a teacher"):
        Recipe([stage(max_drop=2)])


def test_crops_do_not_go_with_a_search(tmp_path):
    with pytest.raises(ValueError, match=r"crop_size=\(32, 32\)"):
        Recipe([stage()]).run(tmp_path, frames(crop_size=(32, 32)))


def test_two_students_are_refused():
    with pytest.raises(ValueError, match=r"'student'.*`Search`"):
        Recipe([stage(), stage()])


def test_what_a_finished_search_did_not_keep_is_named():
    kept = {"budget": "bytes:1k", "limits": {"bytes": 1000.0}, "chosen": "unet at 32x32", "trained": []}
    file = {"name": "model_int8.tflite", "costs": {"bytes": 1500.0}, "exceeded": ["bytes"]}
    drop = {"points": 2.5, "most": 1.0, "kept": False, "images": 3, "of": "model_int8.tflite"}
    assert missed({}) is None and missed({**kept, "file": {**file, "exceeded": []}}) is None
    assert "1.5k of 1k bytes" in missed({**kept, "file": file})
    said = missed({**kept, "drop": drop})
    assert "unet at 32x32" in said and "2.50 points" in said and "3 held-out" in said
    assert missed({**kept, "drop": {**drop, "kept": True}}) is None


def test_the_finished_file_is_counted(tmp_path, monkeypatch):
    (tmp_path / "model_int8.tflite").write_bytes(bytes(1500))
    monkeypatch.setattr(arm, "count", lambda path, ops: ArmCount(7_000_000, "a core"))
    budget = Budget.parse("arm:6M,bytes:2k,macs:10")
    limits = {limit.kind: limit.most for limit in budget.limits}
    begun = {"budget": str(budget), "limits": limits, "chosen": "unet at 32x32", "trained": []}
    (tmp_path / FOUND).write_text(json.dumps(begun))
    rows = [{"name": "student", "mean_iou": 0.5}, {"name": "int8", "macs": 10, "file": "model_int8.tflite"}]
    found = finish(budget, None, Run(tmp_path, frames()), rows)
    assert found["file"] == {
        "name": "model_int8.tflite",
        "costs": {"arm": 7e6, "bytes": 1500, "macs": 10},
        "exceeded": ["arm"],
    }
    assert "7M of 6M" in missed(found) and json.loads((tmp_path / FOUND).read_text()) == found


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(candidates.CHOICES, "unet", {"width": (2, 4)})


@pytest.mark.slow
@pytest.mark.parametrize("taught", [True, False])
def test_a_budget_in_a_network_out(tmp_path, small, taught):
    teacher = tmp_path / "teacher_of_another.keras"
    models.build("unet(width=8)", 11, (32, 32, 3)).save(teacher)
    budget = int(1.5 * cost(models.build("unet(width=2)", 11, (48, 48, 3))).macs)
    options = {"student": "unet", "schedule": SCHEDULE, "distill": ("pixelwise",), "preflight": "off"}
    found = search(frames(), str(teacher) if taught else None, f"macs:{budget}", tmp_path / "run", **options)
    network = found.load(found.chosen)
    assert cost(network).macs == found.chosen.candidate.costs["macs"] <= budget
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["search"]["chosen"] == str(found.chosen.candidate)
    assert report["stages"][-1]["input_size"] == list(found.chosen.candidate.size)
    assert not list(tmp_path.rglob("progress"))


@pytest.mark.slow
def test_a_run_keeps_the_budget_on_the_file_and_says_what_it_lost(tmp_path, small):
    stages = [
        Teacher("unet(width=8)", Schedule(1, 1e-3, 4)),
        stage(student="unet", candidates=2, max_drop=0.0, cache=str(tmp_path / "cache")),
        Quantize(Schedule(1, 1e-4, 4), ("pixelwise",)),
    ]
    planned = plan(Recipe(stages), tmp_path / "run", frames(), timed_steps=0)
    assert [one.name for one in planned.stages] == ["teacher", "student", "student_qat", "export"]
    assert "macs:100M" in str(planned) and not (tmp_path / "run").exists()
    try:
        Recipe(stages).run(tmp_path / "run", frames())
    except BudgetNotKept as error:
        assert "points below the teacher" in str(error)
    found = json.loads((tmp_path / "run" / "report.json").read_text())["search"]
    trained = {f"{one['network']} at {one['size'][0]}x{one['size'][1]}": one for one in found["trained"]}
    assert found["file"]["costs"] == trained[found["chosen"]]["costs"] and found["file"]["exceeded"] == []
    assert found["drop"]["images"] == 2 and found["drop"]["kept"] == (found["drop"]["points"] <= 0)
