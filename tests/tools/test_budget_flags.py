"""Flags about a budget that cannot go together, or that nothing keeps, show before anything is trained."""

import json
from pathlib import Path

import pytest

CONFIGS = Path(__file__).parents[2] / "configs"
STAGES = "--stages=teacher,distill,quantize,export"
ALONE = "--stages=student_alone"

WRONG = {
    "an unknown kind": ([STAGES, "--budget=flops:60M"], "'arm', 'bytes', 'macs', 'latency'"),
    "an unknown unit": ([STAGES, "--budget=bytes:1MB"], "'MB'"),
    "two limits of a kind": ([STAGES, "--budget=macs:60M,macs:50M"], "macs:60M, macs:50M"),
    "no device table": ([STAGES, "--budget=latency:20"], "--budget=latency:20, --latency_table=None"),
    "two students": (["--stages=student_alone,distill", "--budget=macs:60M"], "in one stage"),
    "no student": (["--stages=teacher", "--budget=macs:60M"], "student_alone or distill"),
    "a drop from no teacher": (
        ["--stages=student_alone,export", "--budget=macs:60M", "--budget_max_drop=2"],
        "--budget_max_drop is measured against a teacher",
    ),
    "pruning": ([STAGES.replace("distill", "distill,prune"), "--budget=macs:60M"], "a run of its own"),
    "crops": ([STAGES, "--budget=macs:60M", "--crop_size=32x32"], "--crop_size"),
    "a drop without a budget": (["--budget_max_drop=2"], "--budget_max_drop is for --budget"),
    "too many candidates": ([STAGES, "--budget=macs:1M", "--budget_candidates=9"], "Received: 9"),
    "an unknown student": ([STAGES, "--budget=macs:1M", "--student=lite_vnet"], "lite_unet"),
    "a budget below all": (
        [ALONE, "--budget=macs:1k", "--student=unet(width=2)", "--dry_run"],
        "unet(width=2) at",
    ),
    "a table of files": (
        [ALONE, "--budget=latency:20", "--latency_table={files}", "--student=unet(width=2)"],
        "has the columns file,ms. Expected layer,ms",
    ),
    "a table that lacks layers": (
        [ALONE, "--budget=latency:20", "--latency_table={table}", "--student=unet(width=2)", "--dry_run"],
        "phone.csv",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_budgets_are_told(case, shell, tmp_path):
    flags, words = WRONG[case]
    table = tmp_path / "phone.csv"
    table.write_text("layer,ms\nconv,1\n")
    (tmp_path / "files.csv").write_text("file,ms\nmodel_int8.tflite,1\n")
    smoke = f"--flagfile={CONFIGS / 'smoke.cfg'}"
    given = [flag.replace("{table}", str(table)) for flag in flags]
    given = [flag.replace("{files}", str(tmp_path / "files.csv")) for flag in given]
    result = shell("train", smoke, *given, f"--output_dir={tmp_path / 'run'}")
    assert result.code == 1 and words in result.err.splitlines()[-1], result.err
    assert not list(tmp_path.rglob("*.keras"))


@pytest.mark.slow
def test_a_run_by_budget_says_what_it_chose(shell, tmp_path):
    run = tmp_path / "run"
    flags = [
        STAGES,
        "--budget=macs:100M",
        "--student=unet(width=2)",
        "--budget_candidates=2",
        "--preflight=off",
    ]
    result = shell("train", f"--flagfile={CONFIGS / 'smoke.cfg'}", *flags, f"--output_dir={run}")
    assert result.code == 0, result.err
    assert "The plan:" in result.out and "candidate unet(width=2)" in result.out
    found = json.loads((run / "report.json").read_text())["search"]
    assert found["chosen"] in found["why"] and found["file"]["exceeded"] == []
    assert "Candidates by MACs" in (run / "report.html").read_text()
