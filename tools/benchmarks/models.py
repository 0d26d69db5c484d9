"""What every network of ours costs, some of others as well, and whether it becomes int8."""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import arm_page, ecosystem, ecosystem_page, foreign
from benchmarks.rows import Column, Row, table
from tfsegkd.atomic import write_atomically, write_json
from tfsegkd.recipe.provenance import provenance

NETWORKS = (
    "mobile_unet",
    "lraspp",
    "fast_scnn",
    "enet",
    "enet(unpooling=upsample)",
    "erfnet",
    "erfnet(block=d, decoder=light)",
    "deeplab_v3_plus(backbone=mobilenet_v2, weights=None)",
    "deeplab_v3_plus(weights=None)",
    "deeplab_v3(backbone=mobilenet_v3_large, output_stride=16)",
    "bisenet_v2",
    "unet(width=16)",
    "unet",
    "segnet",
    "segnet(unpooling=upsample)",
    "fcn",
    "deeplab_v3",
    "deeplab_v3(backbone=resnet101)",
    "pspnet",
    *foreign.NETWORKS,
)
NUM_CLASSES = 11
GOAL = 0.6  # of float's latency, for int8
_CHILD = (sys.executable, "-m", "benchmarks.one_model")
_DOCUMENT = """# The networks

Written by `python tools/benchmark.py models`; figures in `results/models.json`, those of Arm, by
`python tools/benchmark.py arm_models`, in `results/models_arm.json`. How
[networks of other libraries](#networks-of-other-libraries) fare stands below.
The pretrained `lite_unet`, by its cost, is on the page of [students](students.md).

{networks}

One image of {size} pixels, {classes} classes, weights at random, BatchNorm's statistics measured with
them. Parameters are those that training moves. Milliseconds are medians on one thread of an x86 machine
that had other work to do as well: the two TFLite files of a network ran in turn, so read their ratio, and
measure on your phone. *QAT*: `quantize` takes the network, and all its weights get gradients. *int8*: no
operation of the file computes in float. *Partitions*: into how many pieces XNNPACK cuts the int8 file
(the float file); one is best, and only unpooling with a mask cuts (`enet`, `segnet`). The last rows were
written by others (`tools/benchmarks/foreign.py`), without trained weights, and adopted at the next multiple
of 32, to which ours pad.
{causes}{arm}{slow}
## Beside the published counts

{published}

Counted for the classes and the size of the source, the auxiliary head included where torchvision counts it.
MACs of transposed convolutions are counted at their inputs' positions.
{others}"""
_SLOW = """
## Where int8 gains little on x86

More than {goal} of the float file's time, and the kinds of op that keep it there: milliseconds in int8
(in float), each op of the file timed alone.

{networks}
"""


_MARKS = {True: "yes", False: "**no**", None: None}
_PARTITIONS = Column("int8", "partitions"), Column("float", "float_partitions")


def _ratio(row: Row) -> float | None:
    """Latency in int8 over that in float."""
    return row["int8_ms"] / row["float_ms"] if row.get("int8_ms") and row.get("float_ms") else None


def _our_parameters(row: Row) -> str:
    """With as many digits as were published."""
    ours = row["counted"]["parameters"]
    return f"{ours / 1e6:.2f} M" if " M" in row["published"]["parameters"] else f"{ours:,}"


_COLUMNS = (
    Column("network", form="`{}`"),
    *map(Column, arm_page.HEADS),
    Column("parameters, M", "parameters", "{:,.2f}", 1e-6),
    Column("published", lambda row: (row.get("published") or {}).get("parameters")),
    Column("GMACs", "macs", "{:,.2f}", 1e-9),
    Column("Keras ms", "keras_ms", "{:,.1f}"),
    Column("float ms", "float_ms", "{:,.1f}"),
    Column("int8 ms", "int8_ms", "{:,.1f}"),
    Column("int8 ÷ float, ms", _ratio, "{:,.2f}"),
    Column("QAT", lambda row: _MARKS[row.get("qat")]),
    Column("int8", lambda row: _MARKS[row.get("int8")]),
    Column("float ops", "float_ops"),
    Column("partitions", lambda row: "{} ({})".format(*(column.cell(row) for column in _PARTITIONS))),
)
_PUBLISHED_COLUMNS = (
    Column("network", form="`{}`"),
    Column("counted for", "published", "{0[num_classes]} classes, {0[size][0]}×{0[size][1]}"),
    Column("parameters", "published", "{[parameters]}"),
    Column("ours", _our_parameters),
    Column("GMACs", lambda row: row["published"]["gmacs"], "{:,.3f}"),
    Column("ours", lambda row: row["counted"]["gmacs"], "{:,.3f}"),
    Column("source", "published", "{[source]}"),
    Column("remark", "published", "{[remark]}"),
)


def run(
    results: Path,
    document: Path,
    size: tuple[int, int] = (360, 480),
    networks: Sequence[str] = NETWORKS,
    rounds: int = 20,
    minutes: float = 30.0,
    gigabytes: float = 10.0,
) -> list[Row]:
    """Measures each network in a process of its own, and writes a table.

    A network that fails, takes too long or too much memory spoils its own row only. Rows are kept as they
    come: run again, it measures what is missing and what had a cause to fail. Remove the file of results to
    measure all again.

    Args:
        results: JSON with the rows, which is read first.
        document: The page of Markdown to write.
        size: (height, width) of the images.
        networks: Specs, or names of `foreign.NETWORKS`.
        rounds: At most so many timed runs of each network.
        minutes, gigabytes: What one network may take.

    Returns:
        A row for each `network`, a spec or the name of one of others, with images of (height, width) `size`;
        what could not be had is missing or None. `parameters` and `macs` are what it costs, `published` a
        published count and `counted` our network counted in the same way, `keras_ms`, `float_ms` and
        `int8_ms` medians for one image. `qat`: whether it can be made quantization-aware and trained, `int8`:
        whether its int8 file computes nothing in float, `float_ops`: how many operations of it do,
        `partitions` and `float_partitions`: into how many pieces the delegate cuts the two files. `slow`,
        where int8 gains less than `GOAL` asks, holds what each kind of op takes in float and in int8, in ms,
        and `cause` what stood in the way.
    """
    rows = _read(results, size)
    for network in networks:
        if network not in rows or rows[network]["cause"]:
            request = {"network": network, "size": size, "num_classes": NUM_CLASSES, "rounds": rounds}
            found = measure(_CHILD, request, minutes, gigabytes)
            rows[network] = {"network": network, "size": list(size), **found}
            _write(results, document, _ordered(rows))
        print(_networks([rows[network]]).splitlines()[-1], flush=True)
    _write(results, document, _ordered(rows))
    return _ordered(rows)


def _ordered(rows: dict[str, Row]) -> list[Row]:
    """In the order of `NETWORKS`, others last."""
    return [rows[name] for name in dict.fromkeys([*NETWORKS, *rows]) if name in rows]


def _write(results: Path, document: Path, rows: list[Row]) -> None:
    write_json(results, {"benchmark": "models", "rows": rows, **provenance()})
    write_page(results, document, rows[0]["size"])


def write_page(results: Path, document: Path, size: tuple[int, int]) -> None:
    """Writes the page of what the files of results beside `results` hold."""
    rows = _ordered(_read(results, size))
    counted, agreements = (
        arm_page.read(results.with_name(name)) for name in ("models_arm.json", "arm_agreement.json")
    )
    others = ecosystem.read(results.with_name("ecosystem.json"))
    write_atomically(
        document, lambda file: file.write_text(page(rows, counted, others, agreements), encoding="utf-8")
    )


def _read(results: Path, size: tuple[int, int]) -> dict[str, Row]:
    if not results.exists():
        return {}
    rows = json.loads(results.read_text(encoding="utf-8"))["rows"]
    return {row["network"]: row for row in rows if tuple(row["size"]) == tuple(size)}


def measure(child: Sequence[str], request: dict, minutes: float, gigabytes: float) -> dict[str, Any]:
    """The figures of one network, and the cause where they are not whole.

    Args:
        child: The command, which is given the paths of a request and an answer.
        request: What it is to measure.
        minutes, gigabytes: What it may take.
    """
    limit = int(gigabytes * 2**30)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
    }
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as directory:
        asked, answered, log_file = (
            Path(directory, name) for name in ("request.json", "answer.json", "log.txt")
        )
        asked.write_text(json.dumps(request))
        with log_file.open("w") as log:
            child = subprocess.Popen(
                [*child, str(asked), str(answered)],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that its own children end with it
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
            )
            try:
                code = child.wait(60 * minutes)
                cause = None if code == 0 else _why(code, log_file.read_text())
            except subprocess.TimeoutExpired:
                cause = f"took more than {minutes:g} minutes"
            finally:
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
        figures = json.loads(answered.read_text()) if answered.exists() else {}
    return {**figures, "cause": cause or figures.get("cause")}


def _why(code: int, output: str) -> str:
    if code < 0:
        return f"stopped by {signal.Signals(-code).name}, often a sign of too little memory"
    lines = output.strip().splitlines()
    return lines[-1] if lines else f"exit code {code}"


def page(
    rows: Sequence[Row],
    counted: arm_page.Rows | None = None,
    others: Sequence[Row] = (),
    agreements: arm_page.Rows | None = None,
) -> str:
    """The document, as Markdown.

    Args:
        counted: What was counted on Arm, as of `arm_page.read`.
        others: How networks of other libraries fared, as of `ecosystem.read`.
        agreements: How files fared on Arm and here, as of `arm_page.read`.
    """
    counted = counted or {}
    causes = [f"- `{row['network']}`: {row['cause']}." for row in rows if row.get("cause")]
    return _DOCUMENT.format(
        networks=_networks(rows, counted),
        size="×".join(map(str, rows[0]["size"])),
        classes=NUM_CLASSES,
        causes="\n".join(["\nWhat stands in the way:\n", *causes, ""]) if causes else "",
        arm=arm_page.section(counted, agreements),
        slow=_slow([row for row in rows if row.get("slow")]),
        published=table(
            _PUBLISHED_COLUMNS, [row for row in rows if row.get("published") and row.get("counted")]
        ),
        others=ecosystem_page.section(others),
    )


def _networks(rows: Sequence[Row], counted: arm_page.Rows | None = None) -> str:
    def with_arm(row):
        figures = arm_page.figures((counted or {}).get((row["network"], tuple(row["size"]))))
        return {**row, **dict(zip(arm_page.HEADS, figures, strict=True))}

    return table(_COLUMNS, map(with_arm, rows))


def _slow(rows: Sequence[Row]) -> str:
    """Where int8 gains little: the kinds of op that take most of what is above the goal."""
    if not rows:
        return ""
    lines = []
    for row in rows:
        above = {kind: inside - GOAL * before for kind, (before, inside) in row["slow"].items()}
        worst = sorted((kind for kind in above if above[kind] > 0), key=above.get, reverse=True)[:3]
        kinds = ("{0} {2:.1f} ({1:.1f})".format(kind, *row["slow"][kind]) for kind in worst)
        lines.append(f"- `{row['network']}`, {_ratio(row):.2f}: {', '.join(kinds)}")
    return _SLOW.format(goal=GOAL, networks="\n".join(lines))
