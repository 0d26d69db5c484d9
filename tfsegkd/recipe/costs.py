"""Costs of the networks of a study, measured together."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfsegkd import models, runtime
from tfsegkd.recipe.study import Reports, Study

TIMED_RUNS = 100


@dataclass(frozen=True)
class Price:
    """The cost of one row of a study.

    Args:
        title: The method and the stage.
        parameters, macs: Those of the network.
        file_bytes: The size of its file.
        milliseconds: The latency on this machine, one thread; float networks as float `.tflite`.
    """

    title: str
    parameters: int
    macs: int
    file_bytes: int
    milliseconds: float


def latencies(files: Mapping[str, Path]) -> dict[str, runtime.LatencyReport]:
    """Measures the latency of saved networks together, on one thread; Keras networks as float `.tflite`."""
    with tempfile.TemporaryDirectory() as scratch:
        paths = {}
        for number, (name, path) in enumerate(files.items()):
            if path.suffix != ".tflite":
                content = runtime.convert(models.load(path), "float32", "float32")
                path = Path(scratch) / f"{number}.tflite"
                path.write_bytes(content)
            paths[name] = path
        return runtime.latency(paths, runs=TIMED_RUNS)


def price(study: Study, reports: Reports) -> list[Price]:
    """Returns the cost of each row, from the first seed's networks; rows without a file are left out."""
    seed, stages, files = study.seeds[0], {}, {}
    for row in study.rows:
        for stage in reports[row.method].get(seed, {"stages": []})["stages"]:
            path = study.run_directory(row.method, seed) / stage.get("file", "")
            if stage["name"] == row.stage and path.is_file():
                stages[row.title], files[row.title] = stage, path
    timings = latencies(files) if files else {}
    return [
        Price(
            title,
            *(stage[key] for key in ("parameters", "macs", "file_bytes")),
            round(timings[title].median_ms, 3),
        )
        for title, stage in stages.items()
    ]


def table(prices: Sequence[Price]) -> str:
    """Returns a Markdown table; latencies are also relative to the first row's."""
    lines = [
        "| row | parameters | MMACs | file KB | ms, 1 thread | to the first row |",
        "|---|---|---|---|---|---|",
    ]
    for one in prices:
        share = one.milliseconds / prices[0].milliseconds
        lines.append(
            f"| {one.title} | {one.parameters:,} | {one.macs / 1e6:.1f} | {one.file_bytes / 1e3:,.0f} "
            f"| {one.milliseconds:.2f} | {share:.2f} |"
        )
    return "".join(f"{line}\n" for line in lines)
