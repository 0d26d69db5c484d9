"""The sentence and the command say what the figures say."""

import shlex
from pathlib import Path

import pytest
from absl import flags

from tfsegkd.reporting.run import RunRecord
from tfsegkd.reporting.summary import (
    command,
    grouped,
    headline_figures,
    result_sentence,
    searched,
    size,
    spread,
    tried,
)


def test_a_search_is_told_with_its_file_and_what_was_lost(search):
    told = " ".join(searched(search))
    for words in (
        "Chosen of 3",
        "30 networks",
        "20 are within",
        "7 training images",
        "3,100,000 of 4,000,000 bytes of the file",
    ):
        assert words in told
    assert "1.25 points below the teacher; 2 were allowed" in told and "0.75 after 12" in told
    begun = {
        key: search[key] for key in ("looked_at", "within", "budget", "edge", "trained", "held_out_images")
    }
    assert len(searched(begun)) == 1


def run(*rows, title="run", **flags):
    return RunRecord(Path("nowhere"), title, {"stages": list(rows), "flags": flags}, {})


def row(name, mean_iou, **more):
    return {"name": name, "mean_iou": mean_iou, "file": f"{name}.keras", **more}


TEACHER = row("teacher", 0.70, file_bytes=11_000_000, latency_ms=50.0)
STUDENT = row("student", 0.68, file_bytes=2_000_000, latency_ms=12.0)


@pytest.mark.parametrize(
    "rows, says",
    [
        (
            [TEACHER, STUDENT, row("int8", 0.692, file_bytes=1_000_000, latency_ms=10.0)],
            "11 × smaller, 5.0 × faster, 0.8 points below its teacher: 69.2 % mean IoU.",
        ),
        (
            [TEACHER, row("int8", 0.7004, file_bytes=22_000_000, latency_ms=50.1)],
            "2.0 × larger, level with its teacher: 70.0 % mean IoU.",
        ),
        ([TEACHER, row("student", 0.72)], "2.0 points above its teacher: 72.0 % mean IoU."),
        (
            [STUDENT, row("int8", 0.67, file_bytes=500_000, latency_ms=24.0)],
            "4.0 × smaller, 2.0 × slower, 1.0 points below the student: 67.0 % mean IoU.",
        ),
        ([STUDENT], "The student reaches 68.0 % mean IoU."),
        # A borrowed teacher has scores and no file.
        (
            [{"name": "teacher", "mean_iou": 0.7}, STUDENT],
            "2.0 points below its teacher: 68.0 % mean IoU.",
        ),
        ([], "Nothing is finished yet."),
    ],
)
def test_the_result_sentence_of_a_run(rows, says):
    assert result_sentence([run(*rows)]).replace("\u00a0", " ") == says


def test_the_result_sentence_of_many_runs_takes_seeds_together():
    runs = [
        run(TEACHER, row("student", score), title=f"{method}/seed_{seed}", method=method, seed=seed)
        for method, scores in (("alone", (0.60, 0.69)), ("taught", (0.66, 0.64)))
        for seed, score in enumerate(scores)
    ]
    assert [(group.title, group.runs) for group in grouped(runs)] == [("alone", (0, 1)), ("taught", (2, 3))]
    # The best single run is one of the worse method.
    said = result_sentence(runs).replace("\u00a0", " ")
    best = "Best of 4 runs: taught (student), 65.0 ± 1.4 % mean IoU over 2 seeds"
    assert said == f"{best}; 5.0 points below its teacher."
    assert "none of which" in result_sentence([run(), run(title="other")])


def test_the_command_is_read_back_as_the_same_flags():
    values = flags.FlagValues()
    flags.DEFINE_multi_string("distill", [], "", flag_values=values)
    flags.DEFINE_list("stages", [], "", flag_values=values)
    flags.DEFINE_bool("flip", True, "", flag_values=values)
    flags.DEFINE_bool("cache_teacher", False, "", flag_values=values)
    flags.DEFINE_float("learning_rate", 0.0, "", flag_values=values)
    flags.DEFINE_string("crop_size", None, "", flag_values=values)
    flags.DEFINE_string("dataset", None, "", flag_values=values)
    flags.DEFINE_string("data_dir", None, "", flag_values=values)
    noted = {
        "distill": ["pixelwise(temperature=4)*0.5", "dkd(alpha=1, beta=2)"],
        "stages": ["teacher", "export"],
        "flip": False,
        "cache_teacher": True,
        "learning_rate": 0.003,
        "crop_size": None,
        "dataset": "camvid(without='0006R0')",
    }
    line = command({**noted, "data_dir": "/home/me/camvid", "debug": True})
    assert "/home/me" not in line
    words = shlex.split(line.replace("\\\n", " "))
    assert words[:2] == ["python", "tools/train.py"]
    values(words[1:])
    assert {name: values[name].value for name in noted} == noted


def test_the_peak_of_the_memory_is_among_the_first_figures():
    measured = RunRecord(Path("nowhere"), "run", {"stages": [TEACHER, STUDENT], "peak_memory_mb": 1234}, {})
    assert ("1.2 GB", "peak memory", "of the training process") in headline_figures(measured)
    assert "peak memory" not in {what for _, what, _ in headline_figures(run(TEACHER, STUDENT))}


def test_arm_instructions_are_a_figure_where_they_were_counted():
    counted = row("int8", 0.69, arm_instructions=35_104_939, arm_core="cortex-a76")
    (one,) = [tile for tile in headline_figures(run(TEACHER, counted)) if "instructions" in tile[1]]
    assert one[0] == "35.1 M" and "cortex-a76" in one[1] and "not milliseconds" in one[2]
    assert not [tile for tile in headline_figures(run(TEACHER, STUDENT)) if "instructions" in tile[1]]


def test_figures_as_people_read_them():
    assert size(422_052) == "422 KB" and size(16_265_656) == "16.3 MB" and size(2.44e9) == "2.4 GB"
    assert spread(()) == "–" and spread((3.0,)) == "3.00" and spread((1.0, 3.0)) == "2.00 ± 1.41"


def test_a_search_log_becomes_a_sentence():
    way = {"name": "calibration", "drop": 1.234, "skipped": None}
    ladder = {
        "tried": [way, {"name": "equalization", "drop": None, "skipped": "nothing to scale"}],
        "chosen": "calibration",
        "within_budget": False,
        "max_miou_drop": 0.5,
        "held_out_images": 36,
    }
    said = tried(ladder)
    assert "on 36 held-out training images" in said
    assert "calibration (+1.23), equalization (skipped: nothing to scale)." in said
    assert said.endswith("Chosen: calibration, above the budget of 0.5.")
