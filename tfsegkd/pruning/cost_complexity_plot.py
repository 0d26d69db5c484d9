"""Plots the path of cost-complexity pruning."""

from collections.abc import Sequence
from pathlib import Path

from tfsegkd.atomic import write_atomically
from tfsegkd.pruning.path_search import Point

_SIZE = (7.5, 5.0)  # inches


def draw(path: Path, points: Sequence[Point], chosen: int, cost: str) -> None:
    """Draws mean IoU and loss over the cost.

    Args:
        path: Where to write the PNG.
        points: From the dense network on.
        chosen: The index of the one to mark.
        cost: What the cost is, in words.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(
            "The picture of a path needs matplotlib, which is not installed. Run pip install "
            "'tfsegkd[plots]', or read the table instead."
        ) from None
    shares = [100 * point.cost for point in points]
    figure = Figure(figsize=_SIZE, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    upper.errorbar(
        shares,
        [100 * point.mean_iou for point in points],
        yerr=[100 * point.standard_error for point in points],
        fmt="o-",
        markersize=4,
        capsize=2,
        elinewidth=0.8,
        label="± one standard error",
    )
    best = max(points, key=lambda point: point.mean_iou)
    limit = 100 * (best.mean_iou - best.standard_error)
    upper.axhline(limit, color="grey", linewidth=1, linestyle="--", label="best less one standard error")
    upper.plot(
        shares[chosen], 100 * points[chosen].mean_iou, "s", color="C3", markersize=8, label=f"point {chosen}"
    )
    upper.set_ylabel("held-out mean IoU, %, not retrained")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    lower.plot(shares, [point.loss for point in points], "o-", color="C1", markersize=3)
    lower.set_ylabel("loss")
    lower.set_xlabel(f"{cost} left, % of the dense network")
    lower.invert_xaxis()
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=150))
