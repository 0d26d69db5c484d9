"""The harness that kills, on recipes of a second."""

import sys

import pytest
from benchmarks import faults

# Counts to 40 in a file, and writes what it counted; goes on where it was.
RECIPE = """
import json, os, sys, time
from pathlib import Path
target = Path(sys.argv[-1].split("=")[1]); target.mkdir(exist_ok=True)
state, done = target / "state.json", 0
if state.exists(): done = json.loads(state.read_text())["count"]["result"]["done"]
for done in range(done + 1, 41):
    time.sleep(0.01)
    text = json.dumps({"count": {"result": {"done": done}, "padding": "x" * 100_000}})
    {WRITE}
(target / "labels.txt").write_text({RESULT})
"""
ATOMIC = "(target / '.part').write_text(text); os.replace(target / '.part', state)"


def command(result="'40'"):
    return [sys.executable, "-c", RECIPE.replace("{WRITE}", ATOMIC).replace("{RESULT}", result)]


def test_a_recipe_that_survives(tmp_path):
    rows = faults.run(command(), tmp_path / "faults", kills=5, seed=1)
    assert sum(row["kills"] for row in rows) >= 5
    assert all(row["kills"] == sum(row["stages"].values()) for row in rows)
    assert not any(row["torn"] or row["different"] for row in rows)


def test_another_result_is_found(tmp_path):
    rows = faults.run(command(result="str(time.time())"), tmp_path / "faults", kills=1, seed=1)
    assert all(row["different"] == ["labels.txt"] for row in rows)


def test_a_torn_file_is_found(tmp_path):
    target = tmp_path / "run"
    (target / "progress" / "epoch_000001").mkdir(parents=True)
    (target / "student.keras").write_bytes(b"PK")
    (target / "state.json").write_text("{")
    (target / "model.tflite").write_bytes(b"12345")
    (target / ".state.1.tmp.json").write_text("{")
    found = [path.name for path, _ in faults._torn(target)]
    assert found == ["model.tflite", "epoch_000001", "state.json", "student.keras"]


def test_a_recipe_that_fails_ends_the_measurement(tmp_path):
    with pytest.raises(ChildProcessError, match=r"code 3.*it broke"):
        faults.run([sys.executable, "-c", "import sys; print('it broke'); sys.exit(3)"], tmp_path / "x", 1, 1)
