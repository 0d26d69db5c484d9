"""Atomic writing of files, and their fingerprints."""

import contextlib
import contextvars
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Disk errors; other errors while writing need no explanation.
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
_KEPT = contextvars.ContextVar("kept", default=True)


def write_atomically(path: Path, write: Callable[[Path], Any]) -> Any:
    """Lets `write` fill a temporary file beside `path`, then renames it; returns what `write` returned.

    A reader of `path` sees the old file or the new one, never a partial one.

    Raises:
        OSError: if the disk cannot hold it, or may not be written to; the old file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last, because Keras chooses the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        returned = write(temporary)
        put_in_place(temporary, path)
    except Exception as error:
        if not _is_of_the_disk(error):
            raise
        raise OSError(
            f"Cannot write {str(path)!r}: {getattr(error, 'strerror', None) or error}. The previous file "
            f"is kept; free disk space or check the disk, and run the same command again."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return returned


def _is_of_the_disk(error: Exception) -> bool:
    # HDF5 has its own messages, and raises other errors when it closes a file.
    found = re.search(r"errno = (\d+)", str(error))
    number = int(found[1]) if found else getattr(error, "errno", None)
    return number in _OF_THE_DISK or (isinstance(error, OSError) and "unable to" in str(error).lower())


def put_in_place(temporary: Path, path: Path) -> None:
    """Renames a complete file or directory to its final name, unless nothing is to be kept."""
    if not keeps():
        return
    if path.is_dir():
        shutil.rmtree(path)
    os.replace(temporary, path)


def keeps() -> bool:
    """Whether written files are kept."""
    return _KEPT.get()


@contextlib.contextmanager
def nothing_kept() -> Iterator[None]:
    """Discards what is written inside the context: for a process whose peer writes the same."""
    token = _KEPT.set(False)
    try:
        yield
    finally:
        _KEPT.reset(token)


def sha256(path: str | os.PathLike) -> str:
    """The fingerprint of a file's content."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as JSON, atomically."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        ValueError: if it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{str(path)!r} is damaged: {error}. Expected JSON. Delete it, or run again."
        ) from None
