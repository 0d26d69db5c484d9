"""Studies at one commit, of equal settings, that train what they share once. The runs are a script."""

import dataclasses
import json
import shutil
import subprocess
import sys

import pytest

from tfsegkd.recipe import clone, settings, shared_runs
from tfsegkd.recipe.comparison import compare, page, record, table, write_study
from tfsegkd.recipe.study import Method, Study, parse_measure
from tfsegkd.recipe.study_runs import run_study

TRAIN = """
import json, pathlib, sys
given = dict(word[2:].split("=", 1) for word in sys.argv[1:])
target = pathlib.Path(given["output_dir"])
with open("trained.txt", "a") as log:
    log.write(f"{target.parent.name} {given['seed']}\\n")
if given.get("fail") == given["seed"]:
    sys.exit("out of memory")
(target / "student.keras").write_text("weights")
row = {"name": "student", "mean_iou": 0.5 + 0.01 * int(given["seed"]), "file": "student.keras"}
flags = {"data_dir": given.get("data_dir")}
(target / "report.json").write_text(json.dumps({"stages": [row], "flags": flags}))
"""
EVALUATE = """
import json, pathlib, sys
given = dict(word[2:].split("=", 1) for word in sys.argv[1:])
assert pathlib.Path(given["model"]).read_text() == "weights" and given["data_dir"] == "/home/me"
with open("measured.txt", "a") as log:
    log.write(given["dataset"] + "\\n")
scores = {"mean_iou": 0.25, "pixel_accuracy": 0.5, "iou": {"Sky": 0.25}, "num_images": 4}
blocks = [[[5], [5], [2]]] * int(given["frames_per_block"])
pathlib.Path(given["json"]).write_text(json.dumps({**scores, "confusion": [[1]], "blocks": blocks}))
"""
ALONE = Method("alone", (), ("student",))
BETTER = Method("better", ("--distill=hint",), ("student",))


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A checkout with two tools; what they write lies in the working directory."""
    root = tmp_path / "checkout"
    (root / "tools").mkdir(parents=True)
    (root / "tfsegkd").mkdir()
    (root / "tools" / "train.py").write_text(TRAIN)
    (root / "tools" / "evaluate.py").write_text(EVALUATE)
    (root / "tfsegkd" / "__init__.py").write_text("")
    run_git(root, "init", "--quiet")
    commit(root, "First")
    monkeypatch.chdir(tmp_path)
    return root


def run_git(root, *words):
    who = ["-c", "user.name=me", "-c", "user.email=me@example.com"]
    subprocess.run(["git", "-C", str(root), *who, *words], check=True, capture_output=True)


def commit(root, message):
    run_git(root, "add", "--all")
    run_git(root, "commit", "--quiet", "--message", message)


def study(tmp_path, name, root, methods=(ALONE,), flags=("--epochs=3",), **more):
    command = (sys.executable, str(root / "tools" / "train.py"), *flags)
    return Study(command, tuple(methods), (0, 1), tmp_path / "studies" / name, **more)


def trained(tmp_path, what="trained"):
    path = tmp_path / f"{what}.txt"
    return path.read_text().splitlines() if path.exists() else []


def test_a_study_stays_at_its_commit(code, tmp_path):
    directory = tmp_path / "study"
    first = clone.clone(directory, root=code)
    assert (first / "tools" / "train.py").read_text() == TRAIN and first != code
    (code / "tools" / "train.py").write_text("raise SystemExit(3)")
    assert clone.clone(directory, root=code) == first, "it began; what is edited meanwhile does not matter"
    with pytest.raises(ValueError, match=r"uncommitted changes: tools/train\.py.*`commit="):
        clone.clone(tmp_path / "other", root=code)
    commit(code, "Second")
    assert (clone.clone(directory, root=code) / "tools" / "train.py").read_text() == TRAIN
    later = clone.clone(tmp_path / "other", root=code)
    assert clone.code(later) not in (None, clone.code(first))
    with pytest.raises(ValueError, match="started at commit"):
        clone.clone(directory, "HEAD", root=code)
    with pytest.raises(ValueError, match="No commit 'nowhere'"):
        clone.clone(tmp_path / "third", "nowhere", root=code)


def test_pages_do_not_make_it_other_code(code, tmp_path):
    first = clone.code(clone.clone(tmp_path / "one", root=code))
    (code / "README.md").write_text("News")
    commit(code, "News")
    assert clone.code(clone.clone(tmp_path / "two", root=code)) == first


def test_without_git_it_runs_where_it_lies(code, tmp_path):
    shutil.rmtree(code / ".git")
    assert clone.clone(tmp_path / "study", root=code) == code and clone.code(code) is None
    with pytest.raises(ValueError, match="no git checkout"):
        clone.clone(tmp_path / "study", "HEAD", root=code)


def test_a_run_that_two_studies_share_is_trained_once(code, tmp_path):
    run_study(study(tmp_path, "one", code), 1, code="abc")
    turned = ("--seed_of_nothing=1", "--epochs=3")
    reports = run_study(study(tmp_path, "two", code, (ALONE, BETTER)), 1, code="abc")
    assert trained(tmp_path) == ["alone 0", "alone 1", "better 0", "better 1"]
    assert reports["alone"][1]["stages"][0]["mean_iou"] == 0.51
    assert (tmp_path / "studies" / "two" / "alone" / "seed_1" / "student.keras").read_text() == "weights"
    # Neither with other flags, nor with other code, nor without knowing the code.
    run_study(study(tmp_path, "three", code, flags=turned), 1, code="abc")
    run_study(study(tmp_path, "four", code), 1, code="def")
    run_study(study(tmp_path, "five", code), 1)
    assert len(trained(tmp_path)) == 10


def test_a_run_of_another_data_set_is_not_shared(code, tmp_path):
    for name, data_dir in (("one", "roads"), ("two", "cells"), ("three", "./cells"), ("four", None)):
        flags = ("--dataset=folder", *([f"--data_dir={data_dir}"] if data_dir else ()))
        run_study(study(tmp_path, name, code, flags=flags), 1, code="abc")
    assert len(trained(tmp_path)) == 6, "the third shares those of the second"
    assert (tmp_path / "studies" / "three" / "alone" / "seed_0").resolve().parents[1].name == "two"


def test_a_shared_run_whose_study_is_gone_is_trained_again(code, tmp_path):
    run_study(study(tmp_path, "one", code), 1, code="abc")
    run_study(study(tmp_path, "two", code), 1, code="abc")
    shutil.rmtree(tmp_path / "studies" / "one")
    run_study(study(tmp_path, "two", code), 1, code="abc")
    assert trained(tmp_path) == ["alone 0", "alone 1"] * 2


def test_another_teacher_of_the_same_name_is_another_run(code, tmp_path):
    (tmp_path / "teacher_0.keras").write_text("good")
    method = Method("taught", ("--teacher=teacher_{seed}.keras",), ("student",))
    run_study(study(tmp_path, "one", code, (method,)), 1, code="abc")
    (tmp_path / "teacher_0.keras").write_text("better")
    run_study(study(tmp_path, "two", code, (method,)), 1, code="abc")
    assert trained(tmp_path) == ["taught 0", "taught 1", "taught 0"], "seed 1 read no file and is shared"
    with pytest.raises(ValueError, match=r"other files of these names: teacher_0\.keras"):
        run_study(study(tmp_path, "one", code, (method,)), 1, code="abc")


def test_the_files_of_teachers_with_options_are_inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("own_1.keras", "city.tflite", "map.txt", "odd(1).keras"):
        (tmp_path / name).write_text(name)

    def named(teacher):
        flags = [f"--teacher={teacher}", "--distill=pixelwise(temperature=4)"]
        return list(shared_runs.inputs(flags, seed=1))

    assert named("own_1.keras") == named("own_{seed}.keras(flip=true)") == ["own_1.keras"]
    several = "own_{seed}.keras(scales=(0.75,1)),city.tflite(class_map=map.txt,weight=0.5)"
    assert named(several) == ["city.tflite", "map.txt", "own_1.keras"]
    assert named("odd(1).keras(flip=true)") == named("odd(1).keras") == ["odd(1).keras"]
    assert named("deeplab_v3_plus(width=0.5)") == named("gone.keras(flip=true)") == []


def test_rows_are_measured_on_further_frames(code, tmp_path):
    far = parse_measure("far > camvid(only='0001TP') @ train")
    plain = study(tmp_path, "one", code)
    run_study(plain, 1)
    asked = study(tmp_path, "one", code, measures=(far,))
    for _ in range(2):
        reports = run_study(asked, 1, root=code, data_dir="/home/me")
    assert trained(tmp_path) == ["alone 0", "alone 1"], "measuring trains nothing"
    assert trained(tmp_path, "measured") == ["camvid(only='0001TP')"] * 2
    (line,) = compare(asked, reports, measure="far")
    assert line.last == {0: 25.0, 1: 25.0} and compare(asked, reports)[0].last == {0: 50.0, 1: 51.0}
    write_study(asked, "", reports)
    text = (asked.directory / "study.md").read_text(encoding="utf-8")
    assert "far, `camvid(only='0001TP')` train:" in text and "25.00" in text
    assert reports["alone"][0]["stages"][0]["measured"]["far"]["blocks"] == [[[5], [5], [2]]] * 10


@pytest.mark.parametrize(
    "text", ["", "far", "far>camvid", "far>camvid@", ">camvid@train", "a b>camvid@train"]
)
def test_what_is_no_measure_is_refused(text):
    with pytest.raises(ValueError, match="Expected 'name>dataset@split'"):
        parse_measure(text)


def test_a_study_killed_inside_a_row_goes_on(code, tmp_path):
    """The first attempt at seed 1 dies with its study while it trains; the line again finishes that run."""
    dying = TRAIN.replace(
        'row = {"name"',
        """half = target / "half.txt"
if given["seed"] == "1" and not half.exists():
    half.write_text("epoch 3")
    import os, signal
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
row = {"name\"""",
    )
    (code / "tools" / "train.py").write_text(dying)
    script = tmp_path / "study.py"
    script.write_text(
        "import sys, pathlib\n"
        "from tfsegkd.recipe.study import Method, Study\n"
        "from tfsegkd.recipe.study_runs import run_study\n"
        f"command = (sys.executable, {str(code / 'tools' / 'train.py')!r}, '--epochs=3')\n"
        "study = Study(command, (Method('alone', (), ('student',)),), (0, 1), pathlib.Path('studies/one'))\n"
        "run_study(study, 1)\n"
    )
    line = [sys.executable, str(script)]
    assert subprocess.run(line, cwd=tmp_path, capture_output=True).returncode == -9
    run = tmp_path / "studies" / "one" / "alone" / "seed_1"
    assert (run / "half.txt").exists() and not (run / "study.json").exists()
    assert (run.parent / "seed_0" / "study.json").exists()
    subprocess.run(line, cwd=tmp_path, check=True, capture_output=True)
    assert trained(tmp_path) == ["alone 0", "alone 1", "alone 1"]
    assert json.loads((run / "study.json").read_text())["stages"][0]["mean_iou"] == 0.51


def test_a_study_begun_on_another_machine_is_continued(code, tmp_path):
    here, there = tmp_path / "studies", tmp_path / "elsewhere"
    processor = code / "tools" / "train.py"
    processor.write_text(
        TRAIN.replace('"stages": [row]', '"stages": [row], "cpu": pathlib.Path("cpu").read_text()')
    )
    (tmp_path / "cpu").write_text("Epyc")
    asked = study(tmp_path, "one", code, (ALONE, BETTER))
    run_study(asked, 1, code="abc", data_dir="/home/me", only=("alone",))
    shutil.move(here, there)
    (tmp_path / "cpu").write_text("Xeon")
    moved = study(tmp_path, "one", code, (ALONE, BETTER), ("--epochs=3", "--data_dir=/data"))
    moved = dataclasses.replace(moved, directory=there / "one")
    reports = run_study(moved, 1, code="abc", data_dir="/data")
    assert trained(tmp_path) == ["alone 0", "alone 1", "better 0", "better 1"]
    assert {name: report[1]["cpu"] for name, report in reports.items()} == {"alone": "Epyc", "better": "Xeon"}
    assert "on Epyc and Xeon." in page(moved, "", reports)
    # Other code or another setting is another study.
    with pytest.raises(ValueError, match="other code, abc, than def"):
        run_study(moved, 1, code="def", data_dir="/data")
    longer = dataclasses.replace(moved, command=(*moved.command[:2], "--epochs=4"))
    with pytest.raises(ValueError, match="--epochs=3 before; --epochs=4 now"):
        run_study(longer, 1, code="abc", data_dir="/data")
    assert len(trained(tmp_path)) == 4


def test_a_failed_seed_is_said(code, tmp_path, capsys):
    bad = Method("bad", ("--fail=1",), ("student",))
    asked, told = study(tmp_path, "one", code, (ALONE, bad)), []
    with pytest.raises(ChildProcessError, match="1 of 4 runs failed"):
        run_study(asked, 1, lambda reports, failures: told.append((reports, failures)))
    reports, failures = told[-1]
    rows = [line.split(" | ") for line in table(compare(asked, reports, failures)).splitlines()]
    assert rows[3][1:4] == ["50.00", "**failed**", "50.00 (1 of 2 seeds)"]
    write_study(asked, "", reports, failures=failures)
    content = json.loads((asked.directory / "study.json").read_text())
    assert "code 1" in content["failed"]["bad"]["1"] and list(content["runs"]["bad"]) == ["0"]
    assert "- bad, seed 1: ended with code 1" in (asked.directory / "study.md").read_text(encoding="utf-8")
    assert record(asked, {"bad": {}})["failed"] == {}
    # The next one after it, and how long the rest takes.
    assert "2 of 4 runs are done" in capsys.readouterr().out


def test_only_one_row_is_trained_and_the_others_are_kept(code, tmp_path):
    asked = study(tmp_path, "one", code, (ALONE, BETTER))
    run_study(asked, 1, only=("alone",))
    reports = run_study(asked, 1, only=("better",))
    assert trained(tmp_path) == ["alone 0", "alone 1", "better 0", "better 1"]
    assert sorted(reports["alone"]) == sorted(reports["better"]) == [0, 1]


def test_rows_of_unequal_settings_are_refused(code, tmp_path):
    longer = Method("longer", ("--epochs=6",), ("student",))
    with pytest.raises(ValueError, match=r"'alone' and 'longer'.*epochs: 3 and 6"):
        study(tmp_path, "one", code, (ALONE, longer))
    study(tmp_path, "one", code, (ALONE, longer), varies=("epochs",))
    still = Method("still", ("--noflip",), ("student",))
    with pytest.raises(ValueError, match="flip: not given and False"):
        study(tmp_path, "one", code, (ALONE, still))
    study(tmp_path, "one", code, (ALONE, BETTER))
    with pytest.raises(ValueError, match=r"must be one of.*Did you mean 'epochs'"):
        study(tmp_path, "one", code, varies=("epoch",))


def test_a_setting_of_a_stage_counts_where_both_have_it():
    alone = {"stages": ["student_alone"], "teacher_size": "192x256", "epochs": 3}
    taught = {"stages": ["teacher", "distill"], "teacher_size": "96x128", "epochs": 3}
    assert settings.unequal(alone, taught) == {}
    other = {**taught, "teacher_size": "192x256"}
    assert settings.unequal(taught, other) == {"teacher_size": ("96x128", "192x256")}
    # A report of before there was the flag says nothing of it.
    assert settings.unequal(taught, {**taught, "color_jitter": 1.0}) == {}


def test_the_order_of_flags_does_not_matter_but_of_one_flag_s_values():
    same = [["--a=1", "--b=2", "--a=3"], ["--b=2", "--a=1", "--a=3"], ["--a=3", "--b=2", "--a=1"]]
    first, second, third = map(settings.by_name, same)
    assert first == second != third
