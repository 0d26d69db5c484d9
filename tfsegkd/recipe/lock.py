"""A lock that allows one run at a time in a directory."""

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tfsegkd import posix

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
        for path in [*directory.rglob(".*.tmp*")]:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        yield


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
