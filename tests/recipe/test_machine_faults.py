"""Disks that are full or read-only, clocks that jump, and inputs that fill the memory."""

import contextlib
import errno
import os
import resource
import time

import numpy as np
import pytest
from test_training import SCHEDULE, SIZE, frames, network, started  # noqa: F401 - frames is a fixture

from tfsegkd.atomic import write_atomically, write_json
from tfsegkd.recipe import TrainingData
from tfsegkd.recipe.lock import locked
from tfsegkd.recipe.progress import Progress
from tfsegkd.recipe.training import train
from tfsegkd.reporting.curves import read_curves


@contextlib.contextmanager
def full_after(size):
    """Lets no file grow beyond so many bytes, as a disk does that has no more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_keeps_the_network_of_before(tmp_path):
    path = tmp_path / "student.keras"
    model = network("student", 5, 1)
    write_atomically(path, model.save)
    whole = path.read_bytes()
    with pytest.raises(OSError, match=r"Cannot write '.*student\.keras'.*free disk space"), full_after(4096):
        write_atomically(path, model.save)
    assert path.read_bytes() == whole
    assert [other.name for other in tmp_path.iterdir()] == [path.name]


def test_a_disk_that_is_full_keeps_the_record_of_before(tmp_path):
    path = tmp_path / "state.json"
    write_json(path, {"done": 1})
    with pytest.raises(OSError, match=r"Cannot write '.*state\.json'.*free disk space"), full_after(100):
        write_json(path, {"done": "x" * 1000})
    assert path.read_text() == '{\n  "done": 1\n}\n'
    assert [other.name for other in tmp_path.iterdir()] == ["state.json"]


def test_a_disk_that_is_full_keeps_the_checkpoints_of_before(tmp_path):
    model = network("student", 5, 1)
    model.compile(SCHEDULE.optimizer(2), "mse")
    progress = Progress(tmp_path, model)
    progress.save(1)
    with pytest.raises(OSError, match="epoch_000002"), full_after(512):
        progress.save(2)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_000001"]
    assert progress.restore() == 1


def as_nobody(act):
    """What `act` raises for a user without rights, as text; "" for nothing. Root may write everywhere."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgid(65534)
            os.setuid(65534)
            act()
            said = ""
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as pipe:
        return pipe.read()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_directory_that_cannot_be_written_to_is_named_before_any_work(tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    tmp_path.chmod(0o755)
    for place in tmp_path.parents:
        if place.owner() == "root" and place.name.startswith("pytest"):
            place.chmod(0o755)

    def begin(where):
        with locked(where):
            raise AssertionError("it began")

    for where in (directory, directory / "deeper"):
        said = as_nobody(lambda where=where: begin(where))
        assert "Cannot write to the output directory" in said and str(where) in said, said
        assert "`output_dir`" in said
    assert list(directory.iterdir()) == []


def test_a_file_in_the_place_of_the_directory_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(OSError, match=r"Cannot write to the output directory.*run"), locked(tmp_path / "run"):
        pass


def test_a_clock_that_jumps_changes_nothing(frames, tmp_path, monkeypatch, capsys):  # noqa: F811
    few = TrainingData(frames.train, frames.val, SIZE, seed=3)
    still = started(1)
    train(still, few, SCHEDULE, tmp_path / "still")
    real, jumps = time.time, iter(np.random.default_rng(0).integers(-(10**7), 10**7, 100_000))
    capsys.readouterr()
    monkeypatch.setattr(time, "time", lambda: real() + float(next(jumps)))
    jumped = started(1)
    train(jumped, few, SCHEDULE, tmp_path / "jumped")
    monkeypatch.undo()
    lines = [line for line in capsys.readouterr().out.splitlines() if "min left" in line]
    assert len(lines) == SCHEDULE.epochs and all(line.endswith("  0 min left") for line in lines)
    for one, other in zip(still.student.weights, jumped.student.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, err_msg=one.name)
    assert [*read_curves(tmp_path / "jumped" / "logs")["loss"]] == [1, 2, 3, 4]


def test_errors_that_are_not_of_the_disk_keep_their_own_words(tmp_path):
    def write(path):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "weights.pth")

    with pytest.raises(FileNotFoundError, match=r"weights\.pth"):
        write_atomically(tmp_path / "x.json", write)
