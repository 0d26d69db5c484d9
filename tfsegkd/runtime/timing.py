"""Latency of networks, measured together."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tfsegkd import _keras, checks
from tfsegkd.progress_bar import waited
from tfsegkd.runtime import workers
from tfsegkd.runtime.network import load_interpreter, try_out_together


@dataclass(frozen=True)
class LatencyReport:
    """The latency for one image on this machine, in milliseconds.

    Args:
        median_ms, p10, p90: The median, and the 10th and 90th percentile.
        runs: The number of runs.
        num_threads: The number of threads.

    Example:
        runtime.LatencyReport(median_ms=3.0, p10=2.9, p90=3.4, runs=50, num_threads=1).median_ms  # 3.0
    """

    median_ms: float
    p10: float
    p90: float
    runs: int
    num_threads: int


def latency(
    paths: Mapping[str, str | os.PathLike], runs: int = 50, num_threads: int = 1, warmup: int = 5
) -> dict[str, LatencyReport]:
    """Measures the latency of networks on this machine, alternately, so that disturbances affect all alike.

    Runs in a subprocess, without the matrix unit (AMX) of x86 servers, which phones do not have. Compare only
    values of the same call.

    Args:
        paths: The .tflite files, by name.
        runs: The number of timed runs of each network.
        num_threads: The number of threads.
        warmup: The number of runs of each network before the first timed one.

    Returns:
        A report by name.

    Raises:
        ValueError: if there is no file, or a file cannot be run.

    Example:
        runtime.latency({"student": "student.tflite"}, runs=3)["student"].median_ms
    """
    if not paths:
        raise ValueError("paths must name at least one network. Received: none.")
    for value, least, what in ((runs, 1, "runs"), (warmup, 0, "warmup")):
        checks.whole(value, least, what)
    try_out_together(paths.values())
    for path in paths.values():
        load_interpreter(path, num_threads)
    request = {
        # The child uses the same interpreter without loading TensorFlow.
        "interpreter": _keras.Interpreter.__module__,
        "paths": {name: str(path) for name, path in paths.items()},
        "runs": runs,
        "num_threads": num_threads,
        "warmup": warmup,
    }
    with waited("measuring the latency"):
        answer = workers.run("latency_worker.py", request)
    return {
        name: LatencyReport(*_percentiles(milliseconds), runs=runs, num_threads=num_threads)
        for name, milliseconds in answer["milliseconds"].items()
    }


def _percentiles(milliseconds: list[float]) -> tuple[float, float, float]:
    p10, median, p90 = np.percentile(milliseconds, [10, 50, 90])
    return float(median), float(p10), float(p90)
