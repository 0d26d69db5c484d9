"""Long work is shown, short work is not, and what is gone through stays what it was."""

import contextlib
import io
import time

import pytest

from tfsegkd import progress_bar
from tfsegkd._keras import keras
from tfsegkd.data import dataset_statistics
from tfsegkd.data.road_scenes import RoadScenes
from tfsegkd.distillation import TeacherCache, load_teacher
from tfsegkd.evaluation import evaluate
from tfsegkd.progress_bar import counted, waited


class Terminal(io.StringIO):
    def isatty(self):
        return True


def on_a_terminal():
    # Not a fixture: pytest takes standard output back between set-up and test.
    return contextlib.redirect_stdout(Terminal())


@pytest.fixture
def impatient(monkeypatch):
    """What takes longer than a blink is long."""
    monkeypatch.setattr(progress_bar, "PATIENCE", 0.02)
    monkeypatch.setattr(progress_bar, "_REFRESH", 0.01)


def slowly(items):
    for item in items:
        time.sleep(0.05)
        yield item


def test_items_pass_unchanged_and_short_work_is_silent(capsys):
    assert list(counted(range(5), "reading")) == [0, 1, 2, 3, 4]
    with waited("converting") as say:
        say("half way")
    assert capsys.readouterr().out == ""


def test_a_log_gets_one_line_at_the_end(impatient, capsys):
    seen = []
    for item in counted(slowly("abc"), "reading", "frames"):
        seen.append(item)
        assert capsys.readouterr().out == ""
    assert seen == ["a", "b", "c"]
    assert capsys.readouterr().out == "  reading: 3 frames in 0 s\n"
    with waited("removing channels") as say:
        say("40 % left")
        time.sleep(0.03)
    assert capsys.readouterr().out == "  removing channels: 40 % left in 0 s\n"


def test_a_terminal_sees_a_bar_with_what_is_left(impatient):
    with on_a_terminal() as terminal:
        assert list(counted(slowly(range(8)), "reading", "frames", total=8)) == [*range(8)]
    assert "  reading" in terminal.getvalue() and "8/8" in terminal.getvalue()
    # It grew: more than one state was drawn.
    assert terminal.getvalue().count("\r") > 2


def test_a_terminal_sees_how_long_it_waits(impatient):
    with on_a_terminal() as terminal, waited("removing channels") as say:
        time.sleep(0.05)
        say("40 % left")
        time.sleep(0.05)
    assert "removing channels: 40 % left, 00:0" in terminal.getvalue()


def test_short_work_leaves_a_terminal_alone():
    with on_a_terminal() as terminal:
        assert list(counted(range(3), "reading")) == [0, 1, 2]
        with waited("converting"):
            pass
    assert terminal.getvalue() == ""


def test_a_failure_passes_through(impatient):
    with on_a_terminal():
        with pytest.raises(ValueError, match="broken"), waited("converting"):
            raise ValueError("broken")
        with pytest.raises(ZeroDivisionError):
            list(counted((1 // (2 - n) for n in range(4)), "reading"))


def test_what_takes_long_is_shown(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(progress_bar, "PATIENCE", -1.0)
    scenes = RoadScenes("train", height=32, width=32, num_images=3)
    image = keras.Input((32, 32, 3), name="image")
    network = keras.Model(image, keras.layers.Conv2D(11, 1, name="logits")(image), name="dots")
    dataset_statistics(scenes)
    evaluate(network, scenes, batch_size=2)
    TeacherCache(tmp_path / "cache", load_teacher(network), scenes, (32, 32))
    said = capsys.readouterr().out
    for words in (
        "reading road_scenes: 3 examples in",
        "evaluation: 2 batches in",
        "recording the teacher: 1 b",
    ):
        assert words in said
