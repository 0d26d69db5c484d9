"""What was counted on Arm, as a part of the page of networks."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.rows import Column, Row, table

Rows = dict[tuple[str, tuple[int, int]], Row]
HEADS = ("Arm int8, M", "Arm float, M", "int8 ÷ float", "MACs an instruction")
GOAL = 0.5  # of float's instructions, for int8
_CONVERTED, _STRIDE = "as converted", "output_stride="
_SECTION = """
## On Arm

Millions of instructions of one image on one thread of an emulated {core}, counted by
`python tools/benchmark.py arm FILE` (qemu-user, LiteRT's own kernels for Arm): the same number on every
machine and at every load. They are not milliseconds. A load that misses the cache costs more than it counts,
other cores have other kernels, and a GPU or NPU runs another program: [time your own phone](android.md).
A core with the dot product multiplies at most 16 pairs of int8 in an instruction. Networks and sizes without
a figure have not been counted; `python tools/benchmark.py arm_models` counts what is missing.
{again}{sums}{tables}
### What the export saves

The file that the converter writes, and the same after each change of the export
(`tfsegkd/export/lowering.py`), one after another: the normalization of the pixels folded into the first
convolution, or done for whole rows at once where a channel has a mean of its own; one position added to all
without a copy of it; the last enlargement along the rows first; and that by a convolution of two neighbours,
where logits have few channels. Then with logits as small as the network computes them (`--output_stride`),
which the app enlarges. Folding spares a rounding of the pixels, so that a few logits differ by more than one
step from the file before; the other changes differ by one step at most.

{steps}
"""
_ABOVE = """
### Where int8 stays above half of float

The kinds of op that keep it there: millions of instructions in int8 (in float), each op counted alone.

{networks}
"""
# What some were to take at most, with logits at full size and at a stride.
_AIMS = {("mobile_unet", (192, 256)): (34e6, {"output_stride=4": 30e6})}
_DOT_PRODUCT = 16  # pairs of int8 that one instruction multiplies
_LEFT = """
### What was aimed at

{aims}

Besides the changes above these were tried, and left out: four depthwise convolutions down the columns in
place of the second step of the last enlargement, which save a few thousandths of the whole for eleven
operators more; and logits padded to 16 channels for the bilinear kernel, which take more than the
convolution of two neighbours. What is left is the network's own: XNNPACK pads convolutions to its tiles of
channels by itself, depthwise ones have no dot product to use, and additions have no convolution to go into.
Narrower networks take less: [students](students.md).
"""
_AGREEMENT = """
### The same classes

The exported int8 file on the emulated core and on x86, {size}, {images} images, weights at random: the share
of pixels with the same class, and the largest difference of two logits in steps of the file
(`python tools/benchmark.py arm_agreement`, figures in `results/arm_agreement.json`; for a trained network of
yours, `tools/verify.py --arm`). Each run draws other weights. What may differ is an int8 MUL of two tensors,
as in hard swish and squeeze and excitation: the kernels round it up to one step apart, and layers after it
can enlarge that. `keras_cv DeepLabV3Plus, MobileNetV3-Large`, which has many, was equal in five more runs and
differed in a sixth, 93.3%, from the first such MUL with a step between. Ours were equal.

{networks}
"""
_NAMES = (
    "fold_normalization",
    "widen_normalization",
    "add_without_enlarging",
    "enlarge_in_two_steps",
    "enlarge_columns_by_convolution",
)
_AGAIN = """
Files counted twice, by two starts of the emulator: {files}; the counts differ by at most {error}.
"""
_SUMS = """
≈ marks the sum of a file's ops, each kind and size of them counted once, large ones in two strips of rows: a
whole file of that size takes the emulator hours.{error}
"""


def read(results: Path) -> Rows:
    """The rows of a file of results by network and size; none where there is no such file."""
    if not results.exists():
        return {}
    rows = json.loads(results.read_text(encoding="utf-8"))["rows"]
    return {(row["network"], tuple(row["size"])): row for row in rows}


def figures(row: Row | None) -> list[str]:
    """What stands under `HEADS`: dashes for what was not counted."""
    return [column.cell(row or {}) for column in _FIGURES]


def _over(one: str, other: str) -> Callable[[Row], float | None]:
    return lambda row: row[one] / row[other] if row.get(one) and row.get(other) else None


def _count(kind: str) -> Callable[[Row], str]:
    """Millions of instructions, marked where they are a sum."""

    def cell(row):
        return Column(kind, form="≈ {:,.1f}" if row.get("summed") else "{:,.1f}", scale=1e-6).cell(row)

    return cell


def _step(name: str) -> Column:
    """Instructions after a step of the export."""
    return Column(name.replace("_", " "), lambda row: row["steps"].get(name), "{:,.2f}", 1e-6)


def _at_stride(row: Row) -> str | None:
    """Those with logits as small as the network computes them."""
    for name, count in row["steps"].items():
        if name.startswith(_STRIDE):
            return f"{count / 1e6:,.2f} at {name.removeprefix(_STRIDE)}"
    return None


_NETWORK = Column("network", form="`{}`")
_SIZE = Column("size", lambda row: "×".join(map(str, row["size"])))
_FIGURES = (
    Column("int8, M", _count("int8")),
    Column("float, M", _count("float")),
    Column("int8 ÷ float", _over("int8", "float"), "{:,.2f}"),
    Column("MACs an instruction", _over("macs", "int8"), "{:,.2f}"),
)
_COUNTS = (_NETWORK, Column("GMACs", "macs", "{:,.2f}", 1e-9), *_FIGURES)
_STEPS = (
    _NETWORK,
    _SIZE,
    *map(_step, (_CONVERTED, *_NAMES)),
    Column("logits at stride", _at_stride),
)
_EQUAL = (
    _NETWORK,
    Column("same class", "pixels", "{:.2%}"),
    Column("largest difference, steps", "max_difference_steps", "{:.1f}"),
    Column("classes predicted", "classes"),
)


def section(rows: Rows, agreements: Rows | None = None) -> str:
    """The part of the page, as Markdown; empty where nothing was counted.

    Args:
        rows: What was counted, as of `read`.
        agreements: How files fared on Arm and here, as of `read`.
    """
    counted = [row for row in rows.values() if row.get("int8")]
    if not counted:
        return ""
    tables = []
    for size in sorted({tuple(row["size"]) for row in counted}):
        of_size = table(_COUNTS, [row for row in counted if tuple(row["size"]) == size])
        tables.append(f"\nAt {size[0]}×{size[1]}:\n\n{of_size}\n")
    above = [row for row in counted if row.get("kinds")]
    text = _SECTION.format(
        core=counted[0]["core"],
        tables="".join(tables),
        steps=table(_STEPS, counted),
        again=_again(counted),
        sums=_sums(counted),
    )
    text += _ABOVE.format(networks="\n".join(map(_above, above))) if above else ""
    text += _left(rows)
    return text + _agreement([row for row in (agreements or {}).values() if "pixels" in row])


def _left(rows: Rows) -> str:
    """How far networks are from what they were to take, and which kinds of op take it."""
    found = []
    for key, (aim, at_stride) in _AIMS.items():
        row = rows.get(key)
        if not row or not row.get("kinds"):
            continue
        taken = [(aim, row["int8"], "logits at full size")]
        taken += [
            (least, row["steps"][name], f"logits at stride {name.removeprefix(_STRIDE)}")
            for name, least in at_stride.items()
        ]
        parts = (
            f"{most / 1e6:,.1f} M with {what} ({now / 1e6:,.2f} M now, {now / most - 1:+.1%})"
            for most, now, what in taken
        )
        largest = sorted(row["kinds"].items(), key=lambda pair: -pair[1][1])[:4]
        kinds = ", ".join(f"{kind} {int8 / 1e6:,.1f} M" for kind, (_, int8) in largest)
        bound = row["macs"] / _DOT_PRODUCT
        found.append(
            f"`{row['network']}` at {_SIZE.cell(row)} was to take {' and '.join(parts)}. Most go into "
            f"{kinds}; all its multiplications by dot products would be {bound / 1e6:,.1f} M."
        )
    return _LEFT.format(aims="\n\n".join(found)) if found else ""


def _agreement(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    size, images = _SIZE.cell(rows[0]), rows[0]["images"]
    return _AGREEMENT.format(size=size, images=images, networks=table(_EQUAL, rows))


def _again(rows: Sequence[Row]) -> str:
    """How far two counts of one file are from each other."""
    errors = [abs(row["again"] / row["int8"] - 1) for row in rows if row.get("again")]
    return _AGAIN.format(files=len(errors), error=f"{max(errors):.4%}") if errors else ""


def _sums(rows: Sequence[Row]) -> str:
    """What sums are, and how far they are from whole files where both were counted."""
    if not any(row.get("summed") for row in rows):
        return ""
    both = [row for row in rows if row.get("by_ops")]
    errors = [abs(row["by_ops"][kind] / row[kind] - 1) for row in both for kind in ("int8", "float")]
    error = f" On {len(both)} networks the sum is at most {max(errors):.1%} from the whole." if both else ""
    return _SUMS.format(error=error)


def _above(row: Row) -> str:
    """The kinds of op that take most of what is above half of float."""
    above = {kind: int8 - GOAL * real for kind, (real, int8) in row["kinds"].items()}
    worst = sorted((kind for kind in above if above[kind] > 0), key=above.get, reverse=True)[:4]
    kinds = (
        f"{kind} {row['kinds'][kind][1] / 1e6:.1f} ({row['kinds'][kind][0] / 1e6:.1f})" for kind in worst
    )
    return f"- `{row['network']}` at {_SIZE.cell(row)}, {row['int8'] / row['float']:.2f}: {', '.join(kinds)}"
