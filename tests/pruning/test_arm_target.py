"""A share of the instructions on Arm: by a table of layers, and counted on the finished file."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tfsegkd.models import build
from tfsegkd.pruning import prune_channels
from tfsegkd.recipe import Prune, Schedule
from tfsegkd.runtime import ArmCount, arm, arm_sysroot
from tfsegkd.runtime.arm import OpCount
from tfsegkd.runtime.model_file import Editor

SHAPE = (32, 48, 3)


def instructions(editor, operator):
    """A core of our own: four products an instruction, tiles of 8 channels, and 2 for each result."""
    results = int(np.prod(editor.shape(int(operator.outputs[0]))))
    if editor.kind(operator) not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return 2 * results
    *_, channels = shape = editor.shape(int(operator.inputs[1]))
    inner = int(np.prod(shape[1:])) if editor.kind(operator) == "CONV_2D" else int(np.prod(shape[:3]))
    tiles = -(-results // 8) * 8
    return tiles * inner // 4 + 2 * results + channels


@pytest.fixture
def core(monkeypatch, tmp_path):
    """Counts of that core; whether ops were asked for, at each start."""
    starts = []

    def count_together(paths, ops=True, core=arm.DEFAULT_CORE):
        starts.append(ops)
        found = []
        for path in paths:
            editor = Editor(Path(path).read_bytes())
            counts = [
                OpCount(f"{editor.kind(one)} {editor.name(int(one.outputs[0]))}", instructions(editor, one))
                for one in editor.operators
            ]
            # What ops alone add up to is not quite the whole.
            whole = int(1.02 * sum(one.instructions for one in counts))
            found.append(ArmCount(whole, core, tuple(counts) if ops else ()))
        return found

    monkeypatch.setenv("TFSEGKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(arm, "count_together", count_together)
    monkeypatch.setattr(arm, "check", lambda core=arm.DEFAULT_CORE: None)
    return starts


def test_the_file_takes_the_share_that_was_asked_for(core):
    model = build("unet(width=16)", 3, SHAPE)
    _, report = prune_channels(model, "arm:0.5", "l1", compensate=False)
    dense, pruned = report.arm_instructions
    assert 0.4 < pruned / dense <= 0.5
    assert "instructions" in str(report) and f"{dense:,}" in str(report)
    # The table is made at the first start, and kept.
    assert core[0] is True and not any(core[1:])
    assert len(list((arm_sysroot.cache_directory() / "tables").glob("*.json"))) == 1
    first = len(core)
    prune_channels(model, "arm:0.7", "l1", compensate=False)
    assert not any(core[first:])


def test_what_cannot_be_reached_is_said(core):
    with pytest.raises(ValueError, match=r"'arm:0\.001' is out of reach.*instructions on Arm"):
        prune_channels(build("unet(width=8)", 3, SHAPE), "arm:0.001", "l1")


def test_without_an_emulator_nothing_is_begun(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TFSEGKD_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="qemu-user"):
        prune_channels(build("unet(width=8)", 3, SHAPE), "arm:0.5", "l1")
    with pytest.raises(FileNotFoundError, match="qemu-user"):
        Prune("arm:0.5", Schedule(epochs=1, learning_rate=1e-3))
    with pytest.raises(ValueError, match=r"cost_complexity.*arm:0\.5"):
        Prune("arm:0.5", Schedule(epochs=1, learning_rate=1e-3), importance="cost_complexity")


@pytest.mark.arm
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-aarch64"), reason="needs qemu-user")
def test_a_real_core_is_met_within_a_few_percent(monkeypatch, tmp_path):
    _, report = prune_channels(build("unet(width=16)", 3, SHAPE), "arm:0.6", "l1", compensate=False)
    dense, pruned = report.arm_instructions
    assert 0.5 < pruned / dense <= 0.63
