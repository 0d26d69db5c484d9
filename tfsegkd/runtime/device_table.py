"""How long files take on a device that is not this one."""

import csv
import io
import math
import os
from pathlib import Path

from tfsegkd import checks
from tfsegkd.atomic import sha256

FILE, LAYER = "file", "layer"


class DeviceTable:
    """Latencies that the user measured on a device, one for each file.

    Args:
        path: A CSV with the columns `file` and `ms`: a file's name and its milliseconds for one image; a line
            without milliseconds is passed over. A column `sha256` may tell files of one name apart: of a line
            that has it, only the file with that content is meant.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read as such a table.
    """

    def __init__(self, path: str | os.PathLike):
        self._path = str(path)
        kind = kind_of_table(path)
        if kind != FILE:
            raise ValueError(
                f"The latency table {self._path!r} holds times of layers, which say nothing of a whole file: "
                f"layers are merged and run in parallel there. Expected the columns file,ms. Time the file "
                f"with benchmark_model on the device."
            )
        self._rows = [
            (name, row.get("sha256") or None, ms)
            for name, ms, row in read_times(path, FILE, may_be_empty=True)
        ]

    def milliseconds(self, file: str | os.PathLike) -> float | None:
        """What the device needs for a file; None if the table does not know this file."""
        path = Path(file)
        of_that_name = [(digest, ms) for name, digest, ms in self._rows if name == path.name]
        if any(digest for digest, _ in of_that_name):
            found = sha256(path)
            of_that_name = [(digest, ms) for digest, ms in of_that_name if digest in (None, found)]
        return next((ms for _, ms in of_that_name), None)


def kind_of_table(path: str | os.PathLike) -> str:
    """What a latency table is about: 'file' or 'layer'.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if its heading is neither file,ms nor layer,ms.
    """
    columns = list(_rows(path).fieldnames or ())
    kinds = [kind for kind in (FILE, LAYER) if kind in columns]
    if len(kinds) != 1 or "ms" not in columns:
        raise ValueError(
            f"The latency table {str(path)!r} has the heading {','.join(columns)!r}. Expected file,ms for "
            f"the times of whole files or layer,ms for those of the layers of a network."
        )
    return kinds[0]


def read_times(
    path: str | os.PathLike, key: str, may_be_empty: bool = False
) -> list[tuple[str, float, dict[str, str]]]:
    """The lines of a latency table, each as its name, its milliseconds and all that stands on it.

    Args:
        key: The column of names.
        may_be_empty: Pass over lines without milliseconds.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a line that cannot be read or comes twice, or if no line holds any time.
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
                f"Line {number} of the latency table {str(path)!r} cannot be read. Expected a {key} that no "
                f"other line has, and milliseconds, under the heading {key},ms. Received: {dict(row)}."
            )
        seen.add(which)
        times.append((name, value, row))
    if not sum(ms for _, ms, _ in times):
        example = "stem_conv,1.25" if key == LAYER else "model_int8.tflite,7.5"
        raise ValueError(
            f"The latency table {str(path)!r} holds no time. Expected lines such as {example} under the "
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
