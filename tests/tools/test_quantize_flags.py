"""Flags of tools/train.py about quantization that cannot go together show before a file is read."""

from pathlib import Path

import pytest

CONFIGS = Path(__file__).parents[2] / "configs"

WRONG = {
    "bits": (["--weight_bits=6"], "weight_bits"),
    "activations that no file has": (["--activation_bits=4"], "no activations of 4 bits"),
    "a ladder of other steps": (["--quantize=auto", "--quantizer=lsq"], "--quantize=auto is for 8 bits"),
    "too short for three phases": (["--quantize=qkd", "--qat_epochs=2"], "an epoch for each"),
    "no labels": (["--quantize=qkd", "--qat_epochs=3", "--task_weight=0"], "task_weight"),
    "a student that is not there": (
        ["--stages=quantize", "--dense=gone_{seed}.keras", "--seed=3"],
        "gone_3.keras",
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
