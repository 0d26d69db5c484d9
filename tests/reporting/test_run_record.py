"""Runs are read as far as they got, and compared only where that means something."""

import json
import shutil

import pytest

from tfsegkd.reporting import read_runs


def changed(directory, name, change):
    content = json.loads((directory / name).read_text())
    change(content)
    (directory / name).write_text(json.dumps(content))


@pytest.fixture
def copy(finished, tmp_path):
    def make(name):
        shutil.copytree(finished, tmp_path / name)
        return tmp_path / name

    return make


def test_a_run_that_died_half_way_shows_what_there_is(copy):
    directory = copy("died")
    (directory / "report.json").unlink()
    (directory / "student.keras").unlink()
    changed(directory, "state.json", lambda state: state["student"].update(result=None))
    (run,) = read_runs([directory])
    assert [row["name"] for row in run.stages] == ["teacher"]
    assert [str(stage) for stage in run.unfinished] == ["student (after epoch 3 of 3)"]
    assert list(run.networks) == ["teacher"] and run.float_student is None
    assert run.final["name"] == "teacher" and list(run.curves) == ["student"]


def test_the_command_of_a_run_that_died_is_known(copy):
    directory = copy("died")
    noted = {"dataset": "folder", "seed": 3}
    (directory / "flags.json").write_text(json.dumps(noted))
    (run,) = read_runs([directory])
    assert run.flags["seed"] == 0  # of the report, which the end wrote
    (directory / "report.json").unlink()
    (run,) = read_runs([directory])
    assert run.flags == noted
    (directory / "flags.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"is damaged: its .*flags\.json"):
        read_runs([directory])
    (directory / "flags.json").unlink()
    assert read_runs([directory])[0].flags == {}


def test_a_repeated_stage_counts_as_it_is_now(copy):
    directory = copy("anew")
    changed(directory, "state.json", lambda state: state["student"]["result"].update(mean_iou=0.5))
    (run,) = read_runs([directory])
    by_name = {row["name"]: row for row in run.stages}
    assert by_name["student"]["mean_iou"] == 0.5 and "latency_ms" not in by_name["student"]
    assert by_name["teacher"]["latency_ms"] == 20.0


def test_the_fine_tuned_network_stands_in_the_int8_file(copy):
    directory = copy("whole")
    (run,) = read_runs([directory])
    assert list(run.networks) == ["teacher", "student", "int8"]
    assert run.float_student == "student" and run.final["name"] == "int8"
    row = {"name": "student_qat", "mean_iou": 0.8, "file": "student.keras"}
    changed(directory, "report.json", lambda report: report["stages"].insert(2, row))
    (run,) = read_runs([directory])
    assert list(run.networks) == ["teacher", "student", "int8"]


def test_runs_of_different_data_are_refused_with_the_reason(copy):
    one, other, third = copy("one"), copy("other"), copy("third")

    def move(state):
        for record in state.values():
            record["settings"]["val"] = {"dataset": "camvid", "examples": 7, "fingerprint": "ab"}

    changed(other, "state.json", move)
    with pytest.raises(
        ValueError, match=r"validation split of 'one' is 'folder' with 12.*'other' 'camvid' with 7"
    ):
        read_runs([one, other])

    def rename(state):
        for record in state.values():
            record["result"]["iou"] = {"car": 0.5, "tree": 0.5}

    changed(third, "state.json", rename)
    with pytest.raises(ValueError, match=r"the classes of 'one'.*'car', 'tree'.*Write separate reports"):
        read_runs([one, third])
    assert [run.title for run in read_runs([one, copy("fourth")])] == ["one", "fourth"]


def test_a_record_that_says_more_can_be_compared_with_an_older_one(copy):
    def older(state):
        for record in state.values():
            split = record["settings"]["val"]
            split["fingerprint"] = split["fingerprint"].partition("-")[0]

    def newer(state):
        for record in state.values():
            record["settings"]["val"]["class_names"] = ["road", "car"]

    one, other = copy("older"), copy("newer")
    changed(one, "state.json", older)
    changed(other, "state.json", newer)
    assert len(read_runs([one, other])) == 2


def test_what_is_no_run_is_named(copy, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No run in .*gone.*output directory"):
        read_runs([tmp_path / "gone"])
    with pytest.raises(ValueError, match="at least one run"):
        read_runs([])
    directory = copy("one")
    with pytest.raises(ValueError, match=r"one.* repeated"):
        read_runs([directory, directory])
    (directory / "report.json").write_text("{")
    with pytest.raises(ValueError, match=r"report.json' is damaged"):
        read_runs([directory])
    (directory / "report.json").write_text('{"stages": [3]}')
    with pytest.raises(ValueError, match=r"is damaged: its report\.json"):
        read_runs([directory])
