"""What every network takes on Arm, what each change of the export saves, and whether classes are the same."""

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.arm_page import Rows, read
from benchmarks.models import NETWORKS, NUM_CLASSES, measure
from benchmarks.rows import Row
from tfsegkd.atomic import write_json
from tfsegkd.recipe.report import versions

_COUNT = (sys.executable, "-m", "benchmarks.one_arm")
_COMPARE = (sys.executable, "-m", "benchmarks.one_arm_agreement")


def run(
    results: Path,
    sizes: Sequence[tuple[int, int]],
    networks: Sequence[str] = NETWORKS,
    whole: bool = False,
    minutes: float = 240.0,
    gigabytes: float = 10.0,
) -> list[Row]:
    """Counts each network at each size in a process of its own; rows are kept as they come.

    Run again, it counts what is missing and what had a cause to fail. Instructions do not depend on what else
    the machine does, so rows may come from different days, of one version of LiteRT.

    Args:
        results: JSON with the rows, which is read first.
        sizes: (height, width) of the images.
        networks: Specs, or names of `foreign.NETWORKS`.
        whole: Whether to run whole files, which takes hours for the large ones, rather than add up their ops.
        minutes, gigabytes: What one network may take.
    """
    rows = read(results)
    for size in sizes:
        for network in networks:
            request = {"network": network, "size": size, "num_classes": NUM_CLASSES, "whole": whole}
            print(line(_row(results, rows, "arm_models", _COUNT, request, minutes, gigabytes)), flush=True)
    return _ordered(rows)


def compare(
    results: Path,
    size: tuple[int, int],
    networks: Sequence[str] = NETWORKS,
    minutes: float = 60.0,
    gigabytes: float = 10.0,
) -> list[Row]:
    """Runs each network's exported int8 file on Arm and here, and compares the classes of all pixels.

    Rows are kept as they come, as those of `run`.

    Args:
        results: JSON with the rows, which is read first.
        size: (height, width) of the images; small, because the emulator takes its time.
        networks: Specs, or names of `foreign.NETWORKS`.
        minutes, gigabytes: What one network may take.
    """
    rows = read(results)
    for network in networks:
        request = {"network": network, "size": size, "num_classes": NUM_CLASSES}
        row = _row(results, rows, "arm_agreement", _COMPARE, request, minutes, gigabytes)
        print(network, row["cause"] or f"{row['pixels']:.2%}", flush=True)
    return _ordered(rows)


def _row(
    results: Path,
    rows: Rows,
    benchmark: str,
    child: Sequence[str],
    request: dict,
    minutes: float,
    gigabytes: float,
) -> Row:
    """The row of a request, measured and written where it is missing or had a cause to fail."""
    key = (request["network"], tuple(request["size"]))
    if key not in rows or rows[key]["cause"]:
        found = measure(child, request, minutes, gigabytes)
        rows[key] = {"network": request["network"], "size": list(request["size"]), **found}
        write_json(results, {"benchmark": benchmark, "rows": _ordered(rows), "versions": versions()})
    return rows[key]


def _ordered(rows: Rows) -> list[Row]:
    rank = {name: number for number, name in enumerate(dict.fromkeys([*NETWORKS, *(key[0] for key in rows)]))}
    return [rows[key] for key in sorted(rows, key=lambda key: (key[1], rank[key[0]]))]


def line(row: Row) -> str:
    """A row for whoever watches."""
    counts = "  ".join(f"{name} {row[name] / 1e6:,.1f} M" for name in ("int8", "float") if name in row)
    height, width = row["size"]
    return f"{row['network']} {height}x{width}  {counts}  {row['cause'] or ''}".rstrip()
