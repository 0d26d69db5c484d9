"""The programs under docs/examples run as they are."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tfsegkd import data

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


def run(name, directory):
    """What an example prints, run in a directory of its own by one thread."""
    return run_program((EXAMPLES / f"{name}.py").read_text(encoding="utf-8"), directory)


def run_program(code, directory):
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(directory),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "PYTHONPATH": str(EXAMPLES.parents[1]),
    }
    program = directory / "program.py"
    program.write_text(code, encoding="utf-8")
    command = [sys.executable, str(program)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=directory, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run():
    tested = {"custom_loss", "five_lines", "keras_cv_to_int8", "twenty_frames"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested


def test_the_notebook_ends_with_a_file(tmp_path):
    notebook = json.loads((EXAMPLES / "images_to_tflite.ipynb").read_text(encoding="utf-8"))
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    printed = run_program("\n".join(code), tmp_path)
    assert " 0 ops in float, 1 partition" in printed
    assert float(re.search(r"agree on ([\d.]+) of", printed)[1]) > 0.9
    assert (tmp_path / "model.tflite").stat().st_size > 10_000


def test_twenty_frames_are_a_folder_to_train_on(tmp_path):
    run("twenty_frames", tmp_path)
    train, val = (data.load("folder", split, tmp_path / "mydata") for split in ("train", "val"))
    assert len(train) + len(val) == 20
    assert train.info.num_classes == 11 and train[0][0].shape == (240, 320, 3)


def test_a_custom_loss(tmp_path):
    printed = run("custom_loss", tmp_path)
    values = dict(re.findall(r"^(\w+): (.*)$", printed, re.MULTILINE))
    assert [*values] == ["task_loss", "pixelwise", "edges"]
    # Two networks of random weights differ at every edge.
    assert all(float(value) > 0 for value in values["edges"].split(" → "))


@pytest.mark.slow
def test_five_lines_distil(tmp_path):
    printed = run("five_lines", tmp_path)
    right = dict(re.findall(r"^(\w+): ([\d.]+) % of the pixels", printed, re.MULTILINE))
    assert [*right] == ["teacher", "student"] and all(float(share) > 100 / 11 for share in right.values())
    assert (tmp_path / "student.keras").is_file()
    source = (EXAMPLES / "five_lines.py").read_text(encoding="utf-8")
    assert len(re.findall(r"  # new$", source, re.MULTILINE)) == 5


@pytest.mark.slow
def test_a_network_of_keras_cv_becomes_a_file(tmp_path):
    printed = run("keras_cv_to_int8", tmp_path)
    assert " 0 operations in float" in printed and (tmp_path / "keras_cv_int8.tflite").is_file()
    assert float(re.search(r"in ([\d.]+) % of the pixels", printed)[1]) > 90
