"""SegNet on CamVid pruned by others, beside ours pruned to the same MACs."""

from dataclasses import dataclass

from benchmarks.printing import figure, table
from tfsegkd import models
from tfsegkd.graph import cost
from tfsegkd.pruning import prune_channels

SIZE, NUM_CLASSES = (360, 480), 11
# Method, mean IoU, GMACs and millions of parameters as published; None where the paper does not say.
SOURCE = "CAP, WACV 2021"
PUBLISHED = (
    ("dense", 55.6, 106.7, 29.45, "arXiv 1511.00561"),
    ("CAP, 20 %", 57.12, 53.14, None, SOURCE),
    ("Slimming", 54.78, 47.81, None, SOURCE),
    ("FPGM", 52.54, 32.95, None, SOURCE),
    ("CAP, 30 %", 56.37, 30.01, 6.03, SOURCE),
)


@dataclass(frozen=True)
class Row:
    """One published network, and ours of the same MACs.

    Args:
        method, mean_iou, gmacs, parameters, source: As published; parameters in millions.
        our_gmacs, our_parameters: Of our SegNet, every layer pruned alike; what is left of the parameters
            depends on which layers lose, what is left of the MACs does not.
    """

    method: str
    mean_iou: float
    gmacs: float
    parameters: float | None
    source: str
    our_gmacs: float
    our_parameters: float


def run() -> list[Row]:
    """Counts all of them, and prints a Markdown table."""
    model = models.build("segnet", NUM_CLASSES, (*SIZE, 3))
    full, rows = cost(model), []
    for method, mean_iou, gmacs, parameters, source in PUBLISHED:
        share = min(1.0, gmacs / (full.macs / 1e9))
        if method == "dense":
            share = 1.0
        _, report = prune_channels(model, f"macs:{share:.6g}", "l1", "local", compensate=False)
        ours = report.after.macs / 1e9, report.after.parameters / 1e6
        rows.append(Row(method, mean_iou, gmacs, parameters, source, *ours))
    heads = ["method", "published mean IoU %", "GMACs", "parameters", "source", "our GMACs", "our parameters"]
    print(table(heads, map(_cells, rows)))
    return rows


def _cells(row: Row) -> list[object]:
    known = f"{row.parameters:.2f} M" if row.parameters else "–"
    ours = figure(row.our_gmacs, 2), f"{row.our_parameters:.2f} M"
    return [row.method, row.mean_iou, row.gmacs, known, row.source, *ours]
