"""Methods × seeds: how runs are started and compared. The runs here are a script, not a training."""

import json
import sys

import numpy as np
import pytest
from scipy import stats

from tfsegkd.recipe.study import Method, interval, parse_method, run_study, scores, table, write_study

# Stands for tools/train.py: notes its command line and reports a score that depends on method and seed.
SCRIPT = """
import json, os, pathlib, sys
given = dict(word[2:].split("=", 1) for word in sys.argv[1:])
target = pathlib.Path(given["output_dir"])
print("training", given, os.environ["TF_NUM_INTRAOP_THREADS"])
with (target.parents[1] / "order.txt").open("a") as order:
    order.write(f"{target.parent.name} {given['seed']}\\n")
if given.get("fail") == given["seed"]:
    sys.exit("it went wrong")
score = 0.5 + float(given.get("gain", 0)) + 0.01 * int(given["seed"])
(target / "report.json").write_text(json.dumps({"stages": [{"name": "student", "mean_iou": score}]}))
"""
ALONE = Method("alone", (), "student")
BETTER = Method("better", ("--gain=0.125",), "student")


@pytest.fixture
def command(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    return [sys.executable, str(script)]


def test_a_method_is_read():
    method = parse_method("hint_16 > student: --distill=hint@a:b*2 --epochs=3")
    assert method == Method("hint_16", ("--distill=hint@a:b*2", "--epochs=3"), "student")
    assert parse_method("alone>student_alone:") == Method("alone", (), "student_alone")


@pytest.mark.parametrize(
    "text",
    ["", "alone", "alone>student", "alone: --epochs=3", ">student:", "a b>student:", "a>student: epochs"],
)
def test_a_malformed_method_is_shown_the_form(text):
    with pytest.raises(ValueError, match="Expected 'name>stage: --flag=value"):
        parse_method(text)


def test_every_method_runs_with_every_seed_once(command, tmp_path):
    directory = tmp_path / "study"
    for _ in range(2):
        reports = run_study(command, [ALONE, BETTER], [0, 1], directory, jobs=1)
    # Whole pairs first, and the second call starts nothing.
    assert (directory / "order.txt").read_text().split("\n")[:-1] == [
        "alone 0",
        "better 0",
        "alone 1",
        "better 1",
    ]
    assert scores(reports["better"], "student") == pytest.approx({0: 62.5, 1: 63.5})
    assert "'gain': '0.125'" in (directory / "better" / "seed_1" / "log.txt").read_text()


def test_a_run_that_fails_names_its_log(command, tmp_path):
    method = Method("bad", ("--fail=1",), "student")
    log = tmp_path / "study" / "bad" / "seed_1" / "log.txt"
    with pytest.raises(ChildProcessError, match=f"ended with code 1. Its log: {log}"):
        run_study(command, [method], [0, 1], tmp_path / "study", jobs=1)
    assert "it went wrong" in log.read_text()
    assert not log.with_name("study.json").exists() and (log.parents[1] / "seed_0/study.json").exists()


@pytest.mark.parametrize("count", [2, 3, 5, 12])
def test_the_interval_is_student_s(count):
    values = np.random.default_rng(count).normal(2, 3, count)
    mean, half = interval(values.tolist())
    low, high = stats.t.interval(0.95, count - 1, values.mean(), stats.sem(values))
    assert (mean - half, mean + half) == pytest.approx((low, high))


def test_one_value_has_no_interval():
    mean, half = interval([3.0])
    assert mean == 3.0 and np.isnan(half)


def reports_of(values, stage="student", minutes=2.0):
    return {
        seed: {"stages": [{"name": stage, "mean_iou": value / 100}], "minutes": minutes}
        for seed, value in values.items()
    }


def test_the_table_pairs_by_seed():
    first = {0: 50.0, 1: 52.0, 2: 54.5}
    second = {0: 51.0, 1: 54.0, 2: 55.0, 3: 99.0}
    reports = {"alone": reports_of(first), "better": reports_of(second, minutes=3.25)}
    differences = [1.0, 2.0, 0.5]
    low, high = stats.ttest_rel([51, 54, 55], [50, 52, 54.5]).confidence_interval(0.95)
    lines = table(reports, [ALONE, BETTER]).splitlines()
    header, rule, one, other = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    assert header[:5] == ["method", "seed 0", "seed 1", "seed 2", "seed 3"]
    assert {len(row) for row in (header, rule, one, other)} == {8}
    assert one == ["alone (student)", "50.00", "52.00", "54.50", "–", "52.17 ± 2.25", "–", "2.0"]
    assert other[0:5] == ["better (student)", "51.00", "54.00", "55.00", "99.00"]
    want = f"{np.mean(differences):+.2f} ± {(high - low) / 2:.2f} (3 pairs)"
    assert other[6:] == [want, "3.2"]


def test_a_method_without_its_stage_is_left_out():
    reports = {"alone": reports_of({0: 50.0}), "better": reports_of({0: 51.0}, stage="teacher")}
    text = table(reports, [ALONE, BETTER])
    assert "alone (student)" in text and "better" not in text


def test_the_study_is_written(tmp_path):
    reports = {"alone": reports_of({0: 50.0, 1: 51.0})}
    text = write_study(tmp_path, reports, [ALONE])
    assert (tmp_path / "study.md").read_text(encoding="utf-8") == text
    assert json.loads((tmp_path / "study.json").read_text())["alone"]["1"]["minutes"] == 2.0
