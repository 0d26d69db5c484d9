"""Methods × seeds: how runs are started and compared. The runs here are a script, not a training."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from tfsegkd.recipe import costs
from tfsegkd.recipe.comparison import compare, page, table, write_study
from tfsegkd.recipe.comparison_plot import check_installed, draw
from tfsegkd.recipe.statistics import interval
from tfsegkd.recipe.study import Method, Row, Study, parse_method, parse_row
from tfsegkd.recipe.study_runs import run_study
from tfsegkd.runtime import LatencyReport

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
row = {"name": "student", "mean_iou": score}
report = {"stages": [row, {"name": "int8", "mean_iou": score - 0.25}], "versions": {"python": "3.99"}}
(target / "report.json").write_text(json.dumps(report))
"""
ALONE = Method("alone", (), ("student",))
BETTER = Method("better", ("--gain=0.125",), ("student", "int8"))


@pytest.fixture
def command(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    return (sys.executable, str(script), "--epochs=3", "--data_dir=/home/me")


def lines_of(reports, methods, *baselines):
    study = Study(("train",), tuple(methods), (0,), Path("study"), baselines)
    return compare(study, reports)


def last(reports, method):
    return lines_of(reports, [method])[0].last


def test_a_method_is_read():
    method = parse_method("hint_16 > student: --distill=hint@a:b*2 --epochs=3")
    assert method == Method("hint_16", ("--distill=hint@a:b*2", "--epochs=3"), ("student",))
    assert parse_method("alone>student_alone:") == Method("alone", (), ("student_alone",))
    assert parse_method("both>student, int8:").stages == ("student", "int8")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alone",
        "alone>student",
        "alone: --epochs=3",
        ">student:",
        "a>student,:",
        "a b>student:",
        "a>student: epochs",
    ],
)
def test_a_malformed_method_is_shown_the_form(text):
    with pytest.raises(ValueError, match="Expected 'name>stage: --flag=value"):
        parse_method(text)


def test_every_method_runs_with_every_seed_once(command, tmp_path):
    study = Study(command, (ALONE, BETTER), (0, 1), tmp_path / "study")
    for _ in range(2):
        reports = run_study(study, jobs=1)
    # Whole pairs first, and the second call starts nothing.
    assert (study.directory / "order.txt").read_text().split("\n")[:-1] == [
        "alone 0",
        "better 0",
        "alone 1",
        "better 1",
    ]
    assert last(reports, BETTER) == pytest.approx({0: 62.5, 1: 63.5})
    log = (study.directory / "better" / "seed_1" / "log.txt").read_text()
    assert "'gain': '0.125'" in log and "'epochs': '3'" in log


def test_a_run_that_fails_is_named_and_the_others_go_on(command, tmp_path):
    bad = Method("bad", ("--fail=0",), ("student",))
    study = Study(command, (bad, ALONE), (0, 1), tmp_path / "study")
    log = study.directory / "bad" / "seed_0" / "log.txt"
    with pytest.raises(
        ChildProcessError, match=rf"1 of 4 runs failed.*bad, seed 0: ended with code 1.*{log}"
    ):
        run_study(study, jobs=1)
    assert "it went wrong" in log.read_text() and not log.with_name("study.json").exists()
    done = [study.directory / name / "study.json" for name in ("bad/seed_1", "alone/seed_0", "alone/seed_1")]
    assert all(path.exists() for path in done)


def test_the_study_is_told_after_every_run(command, tmp_path):
    study, seen = Study(command, (ALONE, BETTER), (0, 1), tmp_path / "study"), []
    run_study(study, 1, lambda reports, _: seen.append([sorted(by_seed) for by_seed in reports.values()]))
    assert seen == [[[], []], [[0], []], [[0], [0]], [[0, 1], [0]], [[0, 1], [0, 1]]]
    # All that was done before is told at once.
    del seen[:]
    run_study(study, 1, lambda reports, _: seen.append([sorted(by_seed) for by_seed in reports.values()]))
    assert seen == [[[0, 1], [0, 1]]]


def test_an_interruption_starts_no_further_run(command, tmp_path):
    study = Study(command, (ALONE,), tuple(range(9)), tmp_path / "study")

    def interrupt(reports, failures):
        if reports["alone"]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(study, 1, interrupt)
    # The second may have begun while the first was told.
    assert len((study.directory / "order.txt").read_text().splitlines()) <= 2


def test_runs_under_other_flags_do_not_mix(command, tmp_path):
    run_study(Study(command, (ALONE,), (0,), tmp_path), 1)
    moved = (*command[:-1], "--data_dir=/elsewhere")
    run_study(Study(moved, (ALONE,), (0,), tmp_path), 1)
    longer = Study((*command, "--epochs=4"), (ALONE,), (0, 1), tmp_path)
    with pytest.raises(ValueError, match=r"seed_0.*--epochs=4 now.*delete that directory"):
        run_study(longer, 1)
    other = Study(command, (Method("alone", ("--gain=1",), ("student",)),), (0,), tmp_path)
    with pytest.raises(ValueError, match="--gain=1 now"):
        run_study(other, 1)


def test_the_minutes_of_all_attempts_count(command, tmp_path):
    (tmp_path / "alone" / "seed_0").mkdir(parents=True)
    (tmp_path / "alone" / "seed_0" / "minutes.json").write_text("7.5")
    reports = run_study(Study(command, (ALONE,), (0,), tmp_path), 1)
    assert 7.5 <= reports["alone"][0]["minutes"] < 8.5


def test_a_study_needs_methods_of_different_names(command, tmp_path):
    with pytest.raises(ValueError, match=r"\['alone'\]"):
        Study(command, (ALONE, ALONE), (0,), tmp_path)
    with pytest.raises(ValueError, match="needs methods and seeds"):
        Study(command, (ALONE,), (), tmp_path)


@pytest.mark.parametrize("count", [2, 3, 5, 12])
def test_the_interval_is_student_s(count):
    values = np.random.default_rng(count).normal(2, 3, count)
    mean, half = interval(values.tolist())
    low, high = stats.t.interval(0.95, count - 1, values.mean(), stats.sem(values))
    assert (mean - half, mean + half) == pytest.approx((low, high))


def test_one_value_has_no_interval():
    mean, half = interval([3.0])
    assert mean == 3.0 and np.isnan(half)


def reports_of(values, stage="student", minutes=2.0, best=None):
    return {
        seed: {
            "stages": [{"name": stage, "mean_iou": value / 100} | (best or {}).get(seed, {})],
            "minutes": minutes,
        }
        for seed, value in values.items()
    }


def cells(lines):
    rows = [line for line in table(lines).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]


def test_the_table_pairs_by_seed():
    first = {0: 50.0, 1: 52.0, 2: 54.5}
    second = {0: 51.0, 1: 54.0, 2: 55.0, 3: 99.0}
    reports = {"alone": reports_of(first), "better": reports_of(second, minutes=3.25)}
    differences = [1.0, 2.0, 0.5]
    low, high = stats.ttest_rel([51, 54, 55], [50, 52, 54.5]).confidence_interval(0.95)
    header, rule, one, other = cells(lines_of(reports, [ALONE, BETTER]))
    assert header[6] == "difference to alone (student), 95 % interval"
    assert header[:5] == ["method", "seed 0", "seed 1", "seed 2", "seed 3"]
    assert {len(row) for row in (header, rule, one, other)} == {8}
    assert one == ["alone (student)", "50.00", "52.00", "54.50", "–", "52.17 ± 2.25", "–", "2.0"]
    assert other[0:5] == ["better (student)", "51.00", "54.00", "55.00", "99.00"]
    want = f"{np.mean(differences):+.2f} ± {(high - low) / 2:.2f} (3 pairs)"
    assert other[6:] == [want, "3.2"]
    assert "optimistic" not in table(lines_of(reports, [ALONE]))


def test_one_pair_has_no_interval():
    reports = {"alone": reports_of({0: 50.0}), "better": reports_of({0: 51.0})}
    _, _, one, other = cells(lines_of(reports, [ALONE, BETTER]))
    assert one[2:4] == ["50.00", "–"] and other[3] == "+1.00 (1 pair)"


def test_the_best_checkpoint_is_shown_where_there_was_one():
    best = {0: {"best_val_mean_iou": 0.6, "best_epoch": 20}, 1: {"best_val_mean_iou": 0.63, "best_epoch": 30}}
    never = {0: {"best_val_mean_iou": None, "best_epoch": None}}
    reports = {
        "alone": reports_of({0: 50.0, 1: 52.0}, best=best),
        "better": reports_of({0: 51.0, 1: 54.0}, best=never),
    }
    header, _, one, other = cells(lines_of(reports, [ALONE, BETTER]))
    assert header[-1] == "best while training, mean ± sd"
    assert one[-1] == f"61.50 ± {np.std([60, 63], ddof=1):.2f} (epochs 20–30)" and other[-1] == "–"
    assert "chosen on the frames that it reports, hence is optimistic" in table(lines_of(reports, [ALONE]))


def test_every_stage_of_a_method_is_a_row(command, tmp_path):
    reports = run_study(Study(command, (BETTER,), (1,), tmp_path), 1)
    lines = lines_of(reports, [BETTER])
    assert [line.title for line in lines] == ["better (student)", "better (int8)"]
    assert [line.last[1] for line in lines] == pytest.approx([63.5, 38.5])
    assert lines[0].differences == {"better (student)": {}}
    assert lines[1].differences == {"better (student)": pytest.approx({1: -25})}


def test_a_method_without_its_stage_is_left_out():
    reports = {"alone": reports_of({0: 50.0}), "better": reports_of({0: 51.0}, stage="teacher")}
    assert [line.title for line in lines_of(reports, [ALONE, BETTER])] == ["alone (student)"]


def test_a_baseline_that_is_not_done_is_replaced_by_no_other():
    reports = {"alone": {}, "better": reports_of({0: 51.0}), "third": reports_of({0: 52.0})}
    third = Method("third", (), ("student",))
    lines = lines_of(reports, [ALONE, Method("better", (), ("student",)), third])
    assert [line.differences for line in lines] == [{"alone (student)": {}}] * 2


def test_rows_are_compared_with_several():
    methods = [Method(name, (), ("student",)) for name in ("one", "two", "three")]
    reports = {"one": reports_of({0: 50.0}), "two": reports_of({0: 51.0}), "three": reports_of({0: 54.0})}
    lines = lines_of(reports, methods, Row("one", "student"), parse_row("two > student"))
    header, _, *rows = cells(lines)
    assert header[3:5] == [f"difference to {name} (student), 95 % interval" for name in ("one", "two")]
    assert [row[3:5] for row in rows] == [
        ["–", "-1.00 (1 pair)"],
        ["+1.00 (1 pair)", "–"],
        ["+4.00 (1 pair)", "+3.00 (1 pair)"],
    ]


@pytest.mark.parametrize("text", ["", "one", "one>", ">student"])
def test_what_is_no_row_is_refused(text):
    with pytest.raises(ValueError, match="Expected 'method>stage'"):
        parse_row(text)


def test_a_baseline_that_is_no_row_is_refused():
    with pytest.raises(ValueError, match=r"compare with: \['better \(int9\)'\]. Rows: \['alone \(student\)'"):
        lines_of({}, [ALONE, BETTER], Row("better", "int9"))


def test_the_page_says_how_it_was_made(command, tmp_path):
    study = Study(command, (ALONE, BETTER), (0, 1), tmp_path / "first")
    reports = run_study(Study(command, (ALONE, BETTER), (0,), tmp_path / "first"), 1)
    write_study(study, "python tools/study.py --flagfile=first.cfg", reports)
    text = (study.directory / "study.md").read_text(encoding="utf-8")
    assert text == page(study, "python tools/study.py --flagfile=first.cfg", reports)
    assert text.startswith("# first\n\n    python tools/study.py --flagfile=first.cfg\n")
    assert "2 of 4 runs are done" in text and "Made with python 3.99." in text
    assert "\n    --epochs=3\n" in text and "- better: `--gain=0.125`" in text and "/home/me" not in text
    assert table(compare(study, reports)).strip() in text
    content = json.loads((study.directory / "study.json").read_text())
    assert content["runs"]["better"]["0"]["versions"] and content["seeds"] == [0, 1]
    assert {"protocol", "commit", "command", "versions", "cpu", "cores", "amx"} <= set(content)
    assert "0 of 4 runs" in page(study, "", {"alone": {}, "better": {}})


def test_rows_are_priced_side_by_side(tmp_path, monkeypatch):
    def row(name, scale, **more):
        return {
            "name": name,
            "mean_iou": 0.5,
            "parameters": 1000 * scale,
            "macs": 10**6 * scale,
            "file_bytes": 2000,
        } | more

    reports = {
        "alone": {3: {"stages": [row("student", 9, file="student.keras")]}},
        "better": {
            3: {
                "stages": [
                    row("teacher", 99, file="teacher.keras"),
                    row("student", 4),
                    row("int8", 3, file="model.tflite"),
                ]
            }
        },
    }
    timed = []

    def latencies(files):
        timed.append(files)
        return {name: LatencyReport(4.0 - 3 * ("int8" in name), 0.0, 9.0, 1, 1) for name in files}

    monkeypatch.setattr(costs, "latencies", latencies)
    study = Study(("train",), (ALONE, BETTER), (3, 4), tmp_path)
    assert costs.price(study, reports) == [], "their files are gone"
    alone, better = tmp_path / "alone" / "seed_3", tmp_path / "better" / "seed_3"
    for path in (alone / "student.keras", better / "teacher.keras", better / "model.tflite"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    prices = costs.price(study, reports)
    assert timed == [{"alone (student)": alone / "student.keras", "better (int8)": better / "model.tflite"}]
    write_study(study, "", reports, prices)
    text = (tmp_path / "study.md").read_text(encoding="utf-8")
    assert (
        "by the networks of seed 3" in text and "| alone (student) | 9,000 | 9.0 | 2 | 4.00 | 1.00 |" in text
    )
    assert "| better (int8) | 3,000 | 3.0 | 2 | 1.00 | 0.25 |" in text
    assert json.loads((tmp_path / "costs.json").read_text())["rows"][1]["milliseconds"] == 1
    assert costs.price(study, {"alone": {}, "better": {}}) == []


def test_the_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    random = np.random.default_rng(0)
    reports = {
        name: reports_of(dict(enumerate(random.normal(mean, 1, count).tolist())))
        for name, mean, count in (("alone", 50, 5), ("better", 53, 5), ("single", 51, 1))
    }
    methods = [Method(name, (), ("student",)) for name in reports]
    draw(tmp_path / "study.png", lines_of(reports, methods, *(Row(name, "student") for name in reports)))
    with Image.open(tmp_path / "study.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 300
    draw(tmp_path / "study.png", lines_of({"alone": reports_of({3: 50.0})}, methods[:1]))


def test_no_difference_can_be_seen_in_every_panel_of_differences(tmp_path, monkeypatch):
    figure = pytest.importorskip("matplotlib.figure").Figure
    drawn = []
    monkeypatch.setattr(figure, "savefig", lambda self, path, **_: (drawn.append(self), path.touch()))
    reports = {"alone": reports_of({0: 50.0, 1: 50.5}), "better": reports_of({0: 59.0, 1: 59.2})}
    draw(tmp_path / "study.png", lines_of(reports, [Method(name, (), ("student",)) for name in reports]))
    scores, differences = (axes.get_xlim() for axes in drawn[0].axes)
    assert differences[0] < 0 < 9.0 < differences[1]
    assert 40 < scores[0] < 50 < 59.2 < scores[1]


def test_without_matplotlib_the_fix_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"tfsegkd\[plots\].*plot=False"):
        check_installed()
