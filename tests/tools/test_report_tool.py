"""tools/report.py: finds the data that runs noted, and says what it cannot do."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfsegkd import data
from tfsegkd._keras import keras
from tfsegkd.reporting.summary import command

CONFIGS = Path(__file__).parents[2] / "configs"

pytest.importorskip("plotly", reason="reports need the extra tfsegkd[report]")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one network that says `dark` or `light`, on five frames in a folder."""
    root = tmp_path_factory.mktemp("root")
    for kind in ("images", "masks"):
        (root / "data" / kind).mkdir(parents=True)
    (root / "data" / "labels.txt").write_text("dark\nlight\n")
    for number in range(5):
        mask = np.zeros((16, 24), np.uint8)
        mask[:, 4 * number :] = 1
        Image.fromarray(mask).save(root / "data" / "masks" / f"{number}.png")
        Image.fromarray(200 * mask).save(root / "data" / "images" / f"{number}.png")
    image = keras.Input((16, 24, 3), name="image")
    model = keras.Model(image, keras.layers.Conv2D(2, 1, name="logits")(image), name="light")
    model.get_layer("logits").set_weights([np.array([[0, 1.0]] * 3)[None, None], np.array([0, -300.0])])
    (root / "run").mkdir()
    model.save(root / "run" / "student_alone.keras")
    source = data.load("folder", "all", root / "data")
    row = {"name": "student_alone", "mean_iou": 1.0, "iou": {"dark": 1.0, "light": 1.0}}
    row |= {"file": "student_alone.keras", "file_bytes": 1000}
    flags = {"dataset": "folder", "data_dir": str(root / "data"), "val_split": "all"}
    split = {"dataset": "folder", "examples": 5, "fingerprint": source.fingerprint()}
    state = {"student_alone": {"settings": {"val": split, "size": [16, 24]}, "result": row}}
    (root / "run" / "report.json").write_text(json.dumps({"stages": [row], "flags": flags}))
    (root / "run" / "state.json").write_text(json.dumps(state))
    return root / "run"


def test_a_report_with_the_frames_that_the_run_noted(shell, run, tmp_path):
    out = tmp_path / "pages" / "report.html"
    result = shell("report", str(run), f"--output={out}", "--num_images=4")
    assert result.code == 0, result.err
    assert f"{out} (" in result.out and "no images" not in result.out
    text = out.read_text(encoding="utf-8")
    found = json.loads(text.split('<script id="data" type="application/json">')[1].split("</script>")[0])
    assert len(found["images"]) == 4 and found["classes"] == ["dark", "light"]
    assert "http-equiv" in text and "student_alone" in text


def test_data_that_are_gone_leave_the_pictures_out(shell, run, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("state.json", "student_alone.keras"):
        (moved / name).write_bytes((run / name).read_bytes())
    report = json.loads((run / "report.json").read_text())
    report["flags"]["data_dir"] = "/gone"
    (moved / "report.json").write_text(json.dumps(report))
    out = tmp_path / "report.html"
    result = shell("report", str(moved), f"--output={out}")
    assert result.code == 0, result.err
    assert "no images: the data set was not found" in result.out and "/gone" in result.out
    result = shell("report", str(moved), f"--output={out}", f"--data_dir={run.parent / 'data'}")
    assert result.code == 0 and "no images" not in result.out
    result = shell("report", str(moved), f"--output={out}", "--data_dir=/gone_too")
    assert result.code == 1 and "error: --data_dir='/gone_too'" in result.err


def test_what_is_wrong_is_one_line(shell, run, tmp_path):
    result = shell("report")
    assert result.code == 1 and "error: No run given." in result.err
    result = shell("report", str(tmp_path))
    assert result.code == 1 and "error: No run in" in result.err and "Traceback" not in result.err


def test_the_command_of_a_run_runs(shell, tmp_path):
    """It has every flag, and those that nothing needs are no fault at their defaults."""
    flags = [f"--flagfile={CONFIGS / 'smoke.cfg'}", "--stages=student_alone", "--student=unet(width=2)"]
    assert shell("train", *flags, "--epochs=1", f"--output_dir={tmp_path / 'run'}").code == 0
    printed = command(json.loads((tmp_path / "run" / "flags.json").read_text()))
    words = shlex.split(printed.replace("\\\n", " "))[2:]
    again = shell("train", *words, f"--output_dir={tmp_path / 'again'}", "--dry_run")
    assert again.code == 0 and "student_alone.keras" in again.out, again.err
