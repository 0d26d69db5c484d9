"""A lock that allows one run at a time in a directory."""

import contextlib
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tfsegkd import posix

# Names that `write_atomically` and `Progress` give to what is not finished: with the number of a process.
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp(\.\w+)?")
# The process of a stage ends shortly after its run.
_SECONDS = 3


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Locks `directory` for one run, and removes partly written files of a killed one.

    The operating system releases the lock when the process ends.

    Raises:
        BlockingIOError: if another run uses the directory; the message names it.
        OSError: if the directory is not writable.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / ".lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise OSError(
            f"Cannot write to the output directory {str(directory)!r}: {error.strerror}. Make it "
            f"writable, or choose another `output_dir`."
        ) from None
    with file:
        if not _taken(file):
            file.seek(0)
            holder = file.read().strip() or "it has just started"
            raise BlockingIOError(
                f"Another run is writing to {str(directory)!r}: {holder}. "
                f"Wait until it ends, or choose another `output_dir`."
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        for path in _unfinished(directory):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        yield


def _unfinished(directory: Path) -> list[Path]:
    """Returns the temporary files and directories of this run; a directory with a lock is another run's."""
    found = []
    for root, directories, files in os.walk(directory):
        found += [Path(root, name) for name in (*directories, *files) if _TEMPORARY.fullmatch(name)]
        directories[:] = [name for name in directories if not Path(root, name, ".lock").exists()]
    return found


def _taken(file: IO) -> bool:
    """Tries to take the lock, waiting for the last process of a killed run."""
    until = time.monotonic() + _SECONDS
    while True:
        try:
            posix.lock(file, wait=False)
            return True
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
