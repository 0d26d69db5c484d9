"""One run at a time in a directory."""

import contextlib
import fcntl
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

# A process of a stage ends a moment after the run that it belongs to.
_SECONDS = 3


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keeps other runs out of `directory`, and clears away what a killed one left half-written there.

    The system itself releases the lock when the process ends, however it ends.

    Raises:
        BlockingIOError: if another run is at work there; the message says which.
        OSError: if nothing can be written there.
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
            holder = file.read().strip() or "it has just begun"
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
    """Whether the lock became ours, if need be after what is left of a killed run has gone, too."""
    until = time.monotonic() + _SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
