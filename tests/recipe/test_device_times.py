"""The user's own times, and Arm instructions, in the table at a run's end."""

import pytest

from tfsegkd.recipe import Recipe
from tfsegkd.recipe.recipe import _arm_instructions
from tfsegkd.recipe.report import print_table
from tfsegkd.runtime import ArmCount, arm

ROW = {"name": "int8", "mean_iou": 0.5, "parameters": 10, "macs": 1e6, "file_bytes": 2000, "latency_ms": 3.0}


def test_the_device_s_times_have_a_column_where_there_are_any(capsys):
    print_table([{**ROW, "name": "student", "device_ms": None}, {**ROW, "device_ms": 7.25}])
    head, student, int8 = capsys.readouterr().out.splitlines()
    assert head.endswith("ms, your device") and int8.endswith("7.25") and student.endswith("–")
    print_table([ROW])
    assert "device" not in capsys.readouterr().out


def test_arm_instructions_have_a_column_where_they_were_counted(capsys):
    print_table([{**ROW, "name": "student"}, {**ROW, "arm_instructions": 35_104_939}])
    head, student, int8 = capsys.readouterr().out.splitlines()
    assert head.endswith("M Arm instructions") and int8.endswith("35.1") and student.endswith("–")
    print_table([ROW])
    assert "Arm" not in capsys.readouterr().out


def test_a_run_is_not_lost_for_want_of_a_count(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(arm, "count", lambda path, ops: ArmCount(1200, "cortex-a76"))
    assert _arm_instructions(tmp_path / "a.tflite") == {"arm_instructions": 1200, "arm_core": "cortex-a76"}

    def stopped(path, ops):
        raise OSError("qemu-aarch64 stopped")

    monkeypatch.setattr(arm, "count", stopped)
    assert _arm_instructions(tmp_path / "a.tflite") == {}
    assert "a.tflite" in (said := capsys.readouterr().out) and "qemu-aarch64 stopped" in said


def test_without_an_emulator_no_run_begins(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    Recipe([])
    with pytest.raises(FileNotFoundError, match="qemu-user"):
        Recipe([], arm=True)
