"""Flags of tools/train.py about quantization that cannot go together show before a file is read."""

import json
from pathlib import Path

import pytest

from tfsegkd import models

CONFIGS = Path(__file__).parents[2] / "configs"

WRONG = {
    "bits": (["--weight_bits=6"], "weight_bits"),
    "activations that no file has": (["--activation_bits=4"], "no 4-bit activations"),
    "a ladder of other steps": (["--quantize=auto", "--quantizer=lsq"], "--quantize=auto is for 8 bits"),
    "balanced phases": (
        ["--quantize=qkd", "--qat_epochs=3", "--balanced_terms"],
        "--balanced_terms does not go with",
    ),
    "too short for three phases": (["--quantize=qkd", "--qat_epochs=2"], "an epoch for each"),
    "no labels": (["--quantize=qkd", "--qat_epochs=3", "--task_weight=0"], "task_weight"),
    "a student that is not there": (
        ["--stages=quantize", "--dense=gone_{seed}.keras", "--seed=3"],
        "gone_3.keras",
    ),
    "logits of another stride": (
        ["--stages=student_alone,quantize,export", "--output_stride=8"],
        "--output_stride=8",
    ),
    "two students": (["--stages=distill,quantize", "--dense=one.keras"], "Several stages make ['student']"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_flags_of_quantization_are_told(case, shell, tmp_path):
    flags, words = WRONG[case]
    smoke = f"--flagfile={CONFIGS / 'smoke.cfg'}"
    result = shell("train", smoke, "--stages=quantize,export", *flags, f"--output_dir={tmp_path / 'run'}")
    assert result.code == 1 and words in result.err.splitlines()[-1], result.err
    assert not list(tmp_path.rglob("*.keras"))


def test_a_teacher_that_qkd_cannot_train_is_refused_before_training(shell, tmp_path):
    models.build("unet(width=2)", 11, (32, 48, 3)).save(tmp_path / "teacher.keras")
    flags = [f"--teacher={tmp_path / 'teacher.keras'}(flip=true)", "--quantize=qkd", "--qat_epochs=3"]
    stages = "--stages=teacher,student_alone,quantize"
    smoke = f"--flagfile={CONFIGS / 'smoke.cfg'}"
    result = shell("train", smoke, stages, *flags, f"--output_dir={tmp_path / 'run'}")
    assert result.code == 1 and "QKD trains its teacher" in result.err.splitlines()[-1], result.err
    assert not list((tmp_path / "run").rglob("*.keras"))


@pytest.mark.slow
def test_a_run_by_budget_says_what_it_tried(shell, tmp_path):
    run = tmp_path / "run"
    flags = ["--stages=student_alone,quantize,export", "--quantize=auto", "--max_miou_drop=100"]
    result = shell("train", f"--flagfile={CONFIGS / 'smoke.cfg'}", *flags, f"--output_dir={run}")
    assert result.code == 0, result.err
    assert "  calibration: mean IoU " in result.out
    found = json.loads((run / "report.json").read_text())["quantization"]
    assert (found["chosen"], found["within_budget"], found["max_miou_drop"]) == ("calibration", True, 100)
    assert "calibration" in (run / "report.html").read_text()
