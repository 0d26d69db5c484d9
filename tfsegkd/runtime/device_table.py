"""Latencies of files on the user's device."""

import csv
import io
import math
import os
from pathlib import Path

from tfsegkd import checks
from tfsegkd.atomic import sha256

FILE, LAYER = "file", "layer"


class DeviceTable:
    """Latencies of files that the user measured on a device.

    Args:
        path: A CSV with the columns `file` and `ms`: a file's name and its milliseconds per image; lines
            without milliseconds are skipped. An optional column `sha256` restricts a line to the file with
            that content.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read as such a table.

    Example:
        Path("phone.csv").write_text("file,ms\\nstudent.tflite,7.5\\n")
        runtime.DeviceTable("phone.csv").milliseconds(Path("student.tflite"))  # 7.5
    """

    def __init__(self, path: str | os.PathLike):
        self._path = str(path)
        kind = kind_of_table(path)
        if kind != FILE:
            raise ValueError(
                f"The latency table {self._path!r} has latencies of layers, but not of files, in which "
                f"layers are fused and run in parallel. Expected the columns file,ms. Measure the file with "
                f"benchmark_model on the device."
            )
        self._rows = [
            (name, row.get("sha256") or None, ms)
            for name, ms, row in read_times(path, FILE, may_be_empty=True)
        ]

    def milliseconds(self, file: str | os.PathLike) -> float | None:
        """Returns the latency of a file; None if the table does not contain it."""
        path = Path(file)
        of_that_name = [(digest, ms) for name, digest, ms in self._rows if name == path.name]
        if any(digest for digest, _ in of_that_name):
            found = sha256(path)
            of_that_name = [(digest, ms) for digest, ms in of_that_name if digest in (None, found)]
        return next((ms for _, ms in of_that_name), None)


def kind_of_table(path: str | os.PathLike) -> str:
    """Returns the kind of a latency table: 'file' or 'layer'.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if its header is neither file,ms nor layer,ms.
    """
    columns = list(_rows(path).fieldnames or ())
    kinds = [kind for kind in (FILE, LAYER) if kind in columns]
    if len(kinds) != 1 or "ms" not in columns:
        raise ValueError(
            f"The latency table {str(path)!r} has the header {','.join(columns)!r}. Expected file,ms for "
            f"latencies of files or layer,ms for latencies of the layers of a network."
        )
    return kinds[0]


def read_times(
    path: str | os.PathLike, key: str, may_be_empty: bool = False
) -> list[tuple[str, float, dict[str, str]]]:
    """Yields the lines of a latency table: name, milliseconds and the whole line.

    Args:
        key: The column of names.
        may_be_empty: Whether to skip lines without milliseconds.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a line that cannot be parsed or is repeated, or if no line has a latency.
    """
    checks.one_of(key, (FILE, LAYER), "key")
    times, seen = [], set()
    for number, row in enumerate(_rows(path), start=2):
        name, text = row.get(key), row.get("ms")
        value, which = _number(text), (name, row.get("sha256") if key == FILE else None)
        if name and may_be_empty and text is not None and not text.strip():
            continue
        if not name or which in seen or value is None:
            raise ValueError(
                f"Line {number} of the latency table {str(path)!r} cannot be parsed. Expected a unique "
                f"{key} and milliseconds, under the header {key},ms. Received: {dict(row)}."
            )
        seen.add(which)
        times.append((name, value, row))
    if not sum(ms for _, ms, _ in times):
        example = "stem_conv,1.25" if key == LAYER else "model_int8.tflite,7.5"
        raise ValueError(
            f"The latency table {str(path)!r} has no latency. Expected lines such as {example} under the "
            f"heading {key},ms."
        )
    return times


def _rows(path):
    expected = "a CSV with the columns layer,ms or file,ms"
    if not Path(path).is_file():
        raise FileNotFoundError(f"No latency table at {str(path)!r}. Expected {expected}.")
    text = checks.text_of(Path(path), expected)
    try:
        lines = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise ValueError(
            f"The latency table {str(path)!r} cannot be read: {error}. Expected {expected}."
        ) from None
    return csv.DictReader(io.StringIO(text, newline="")) if lines else csv.DictReader([])


def _number(text: str | None) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) and value >= 0 else None
