"""The harness that watches memory, on cycles of which we know what they leave behind."""

import os
import subprocess

import numpy as np
from benchmarks import soak

MEGABYTE = 1 << 20


def test_what_a_cycle_keeps_is_found(tmp_path, capsys):
    kept = []

    def cycle(directory):
        # Touched, or the system would not hand it out.
        kept.append(np.ones(200 * MEGABYTE // 8))

    rows = soak.run(tmp_path / "soak", 0, cycle)
    assert [row["cycle"] for row in rows] == [1, 2]
    assert 190 < rows[1]["resident_mb"] - rows[0]["resident_mb"] < 210
    assert "cycle 2: " in capsys.readouterr().out


def test_what_a_cycle_gives_back_is_forgiven(tmp_path):
    def cycle(directory):
        directory.mkdir()
        (directory / "file").write_text("x")
        return np.ones(200 * MEGABYTE // 8).sum()

    rows = soak.run(tmp_path / "soak", 0, cycle)
    assert soak.verdict(rows).startswith("flat: ")
    assert list((tmp_path / "soak").iterdir()) == []


def test_open_files_and_children_are_counted(tmp_path):
    opened = []

    def cycle(directory):
        opened.append((os.open(os.devnull, os.O_RDONLY), subprocess.Popen(["sleep", "60"])))

    one, two = soak.run(tmp_path / "soak", 0, cycle)
    for file, child in opened:
        os.close(file)
        child.kill()
        child.wait()
    assert two["open_files"] == one["open_files"] + 1
    assert two["children"] == one["children"] + 1


def _row(number, resident, peak):
    return {"cycle": number, "resident_mb": resident, "peak_mb": peak}


def test_growth_is_that_of_the_worst_cycle_over_the_first():
    rows = [_row(number, memory, 900.0) for number, memory in enumerate((100.0, 104.0, 102.0), 1)]
    assert abs(soak.growth(rows) - 0.04) < 1e-12
    assert soak.verdict(rows).startswith("flat: ")
    assert soak.verdict([*rows, _row(4, 105.1, 900.0)]).startswith("NOT flat: ")
    # What a child needs more than the children of the first cycle is growth as well.
    assert soak.verdict([*rows, _row(4, 100.0, 950.0)]).startswith("NOT flat: ")
