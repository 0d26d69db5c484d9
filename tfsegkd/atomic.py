"""Files that are whole or not there."""

import contextlib
import contextvars
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_KEPT = contextvars.ContextVar("kept", default=True)


def write_atomically(path: Path, write: Callable[[Path], Any]) -> Any:
    """Lets `write` fill a temporary file beside `path`, then renames it; returns what `write` returned.

    Whoever reads `path` sees the old file or the new one, never half of one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last, because Keras chooses the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        returned = write(temporary)
        put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return returned


def put_in_place(temporary: Path, path: Path) -> None:
    """Gives a file or directory that is whole its name, unless nothing is to be kept."""
    if not keeps():
        return
    if path.is_dir():
        shutil.rmtree(path)
    os.replace(temporary, path)


def keeps() -> bool:
    """Whether what is written here is kept."""
    return _KEPT.get()


@contextlib.contextmanager
def nothing_kept() -> Iterator[None]:
    """Inside, what is written is thrown away: for a process whose twin writes the same."""
    token = _KEPT.set(False)
    try:
        yield
    finally:
        _KEPT.reset(token)


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as JSON, whole or not at all."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
