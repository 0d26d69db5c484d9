"""How fast saved networks are at a size of your choice, float and int8, beside each other."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.rows import Column, Row, table
from tfsegkd import models, runtime

_KINDS = ("float", "int8")
_COLUMNS = (
    Column("network"),
    Column("float ms", "float_ms", "{:,.2f}"),
    Column("to first", "float_ratio", "{:,.2f}"),
    Column("int8 ms", "int8_ms", "{:,.2f}"),
    Column("to first", "int8_ratio", "{:,.2f}"),
)


def run(networks: Sequence[str], size: tuple[int, int], rounds: int) -> list[Row]:
    """Converts each network at a size, times all files in turn, and prints a table.

    Ranges of the int8 files come from noise, which changes what they compute and not how long it takes.

    Args:
        networks: Files of float Keras networks.
        size: (height, width) of the image.
        rounds: How often each file is run.

    Returns:
        A row for each network: its file, the median for one image on one thread of its float and its int8
        `.tflite` (`float_ms`, `int8_ms`), and the same over those of the first (`float_ratio`, `int8_ratio`).

    Raises:
        ValueError: if there is no network.
    """
    if not networks:
        raise ValueError("Nothing to time. Name saved networks, each with a --network=FILE of its own.")
    noise = np.random.default_rng(0).uniform(0, 255, (2, *size, 3)).astype(np.float32)
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as directory:
        files = {}
        for number, network in enumerate(networks):
            model = models.at_size(models.load(network), size)
            for kind, data in zip(_KINDS, (None, noise), strict=True):
                files[f"{kind} {network}"] = Path(directory, f"{number}_{kind}.tflite")
                files[f"{kind} {network}"].write_bytes(
                    runtime.convert(model, "float32", "float32", calibration=data)
                )
        taken = {key: report.median_ms for key, report in runtime.latency(files, rounds).items()}
    rows = []
    for network in dict.fromkeys(networks):
        times = {kind: taken[f"{kind} {network}"] for kind in _KINDS}
        row: Row = {"network": network}
        row |= {f"{kind}_ms": round(times[kind], 3) for kind in _KINDS}
        row |= {f"{kind}_ratio": round(times[kind] / taken[f"{kind} {networks[0]}"], 3) for kind in _KINDS}
        rows.append(row)
    print(table(_COLUMNS, rows))
    return rows
