"""How fast saved networks are at a size of your choice, float and int8, beside each other."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.printing import figure, table
from tfsegkd import models, runtime


@dataclass(frozen=True)
class Row:
    """One network; medians for one image, on one thread.

    Args:
        network: Its file.
        float_ms, int8_ms: Of its float and its int8 `.tflite`.
        float_ratio, int8_ratio: The same, over those of the first network.
    """

    network: str
    float_ms: float
    int8_ms: float
    float_ratio: float
    int8_ratio: float


def run(networks: Sequence[str], size: tuple[int, int], rounds: int) -> list[Row]:
    """Converts each network at a size, times all files in turn, and prints a table.

    Ranges of the int8 files come from noise, which changes what they compute and not how long it takes.

    Args:
        networks: Files of float Keras networks.
        size: (height, width) of the image.
        rounds: How often each file is run.

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
            for kind, data in (("float", None), ("int8", noise)):
                files[f"{kind} {network}"] = Path(directory, f"{number}_{kind}.tflite")
                files[f"{kind} {network}"].write_bytes(
                    runtime.convert(model, "float32", "float32", calibration=data)
                )
        taken = {key: report.median_ms for key, report in runtime.latency(files, rounds).items()}
    rows = []
    for network in dict.fromkeys(networks):
        times = [taken[f"{kind} {network}"] for kind in ("float", "int8")]
        ratios = [
            time / taken[f"{kind} {networks[0]}"] for time, kind in zip(times, ("float", "int8"), strict=True)
        ]
        rows.append(Row(network, *(round(value, 3) for value in (*times, *ratios))))
    print(table(("network", "float ms", "to first", "int8 ms", "to first"), map(_cells, rows)))
    return rows


def _cells(row: Row) -> list[str]:
    figures = (row.float_ms, row.float_ratio, row.int8_ms, row.int8_ratio)
    return [row.network, *(figure(value, 2) for value in figures)]
