import subprocess
import sys

import pytest

from tfsegkd.recipe.lock import locked

# Holds the lock until it is killed, and a copy of it, as of a stage, for half a second longer.
HOLDER = """
import os, sys, time
from pathlib import Path
from tfsegkd.recipe.lock import locked
with locked(Path(sys.argv[1])):
    holder = os.getpid()
    if not os.fork():
        while os.getppid() == holder:
            time.sleep(0.01)
        time.sleep(0.5)
        os._exit(0)
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_run_is_kept_out_until_the_first_is_gone(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    taken = rf"Another run is writing.*process {holder.pid} on .*`output_dir`"
    with pytest.raises(BlockingIOError, match=taken), locked(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with locked(tmp_path):
        pass


def test_files_of_others_are_left_alone(tmp_path):
    """The directory may hold other runs, of which one is at work, and files that look alike."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".lock").touch()
    kept = [tmp_path / "other" / ".epoch_000003.17.tmp", tmp_path / "mine" / ".notes.tmp"]
    for path in kept:
        path.mkdir(parents=True)
        (path / "file").write_text("x")
    with locked(tmp_path):
        assert all((path / "file").exists() for path in kept)


def test_what_a_killed_run_left_half_written_is_cleared_away(tmp_path):
    half = tmp_path / "student" / "progress" / ".epoch_000003.17.tmp"
    half.mkdir(parents=True)
    (half / "state.index").write_bytes(b"x")
    (tmp_path / ".student.17.tmp.keras").write_bytes(b"x")
    (tmp_path / "student.keras").write_bytes(b"whole")
    with locked(tmp_path):
        assert not half.exists()
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "student", "student.keras"]
