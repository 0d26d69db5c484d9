"""SegNet on CamVid pruned by others, beside ours pruned to the same MACs."""

from benchmarks.rows import Column, Row, table
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
_COLUMNS = (
    Column("method"),
    Column("published mean IoU %", "mean_iou"),
    Column("GMACs", "gmacs"),
    Column("parameters", form="{:.2f} M"),
    Column("source"),
    Column("our GMACs", "our_gmacs", "{:,.2f}"),
    Column("our parameters", "our_parameters", "{:.2f} M"),
)


def run() -> list[Row]:
    """Counts all of them, and prints a Markdown table.

    Returns:
        A row for each published network: `method`, `mean_iou`, `gmacs`, `parameters` (in millions) and
        `source` as published; `our_gmacs` and `our_parameters` of our SegNet, every layer pruned alike. What
        is left of the parameters depends on which layers lose, what is left of the MACs does not.
    """
    model = models.build("segnet", NUM_CLASSES, (*SIZE, 3))
    full, rows = cost(model), []
    for method, mean_iou, gmacs, parameters, source in PUBLISHED:
        share = min(1.0, gmacs / (full.macs / 1e9))
        if method == "dense":
            share = 1.0
        _, report = prune_channels(model, f"macs:{share:.6g}", "l1", "local", compensate=False)
        rows.append(
            {
                "method": method,
                "mean_iou": mean_iou,
                "gmacs": gmacs,
                "parameters": parameters,
                "source": source,
                "our_gmacs": report.after.macs / 1e9,
                "our_parameters": report.after.parameters / 1e6,
            }
        )
    print(table(_COLUMNS, rows))
    return rows
