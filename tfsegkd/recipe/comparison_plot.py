"""The plots of studies: rows with their seeds, and scores against costs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tfsegkd.atomic import write_atomically
from tfsegkd.evaluation import pareto_front
from tfsegkd.recipe.comparison import Line
from tfsegkd.recipe.statistics import interval

_TITLES, _PANEL, _ROW = 2, 4, 0.42  # inches
_FRONT = (8, 4.5)  # inches
_MARKERS = "osD^vP*X"
_DESCRIPTION = "Description"  # the field of the PNG with its numbers


def check_installed() -> None:
    """Checks that plots can be drawn.

    Raises:
        ImportError: if not.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ImportError(
            "The plot of a study needs matplotlib, which is not installed. Run pip install "
            "'tfsegkd[plots]', or leave the plot out with `plot=False`."
        ) from None


def draw(path: Path, lines: Sequence[Line]) -> None:
    """Draws each row's seeds as dots with mean and 95 % interval, and the differences to each baseline.

    Args:
        path: The PNG to write.
        lines: The rows of the comparison.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    check_installed()
    from matplotlib.figure import Figure

    seeds = sorted({seed for line in lines for seed in line.last})
    baselines = list(lines[0].differences)
    size = (_TITLES + _PANEL * (1 + len(baselines)), 1.5 + _ROW * len(lines))
    figure = Figure(figsize=size, layout="constrained")
    scores, *panels = figure.subplots(1, 1 + len(baselines), sharey=True, squeeze=False)[0]
    _draw(scores, [line.last for line in lines], seeds, "mean IoU, %")
    for panel, title in zip(panels, baselines, strict=True):
        differences = [line.differences[title] for line in lines]
        _draw(panel, differences, seeds, f"difference to {title}, points", also=[0.0])
        panel.axvline(0, color="grey", linewidth=1, zorder=0)
    scores.set_yticks(range(len(lines)), [line.title for line in lines])
    scores.set_ylim(len(lines) - 0.5, -0.5)
    handles, labels = scores.get_legend_handles_labels()
    legend = dict(zip(labels, handles, strict=True))
    figure.legend(
        legend.values(), legend.keys(), loc="outside lower center", ncols=len(legend), frameon=False
    )
    _save(figure, path, description(lines))


def description(lines: Sequence[Line]) -> str:
    """Returns all numbers of a plot, as the PNG stores them for comparison with its data."""

    def rounded(values):
        return {seed: round(value, 4) for seed, value in values.items()}

    rows = [
        [line.title, rounded(line.last), {name: rounded(of) for name, of in line.differences.items()}]
        for line in lines
    ]
    return json.dumps(rows)


@dataclass(frozen=True)
class Point:
    """A row as a point: its title, cost and mean IoU in percent."""

    title: str
    cost: float
    score: float


def draw_front(path: Path, points: Sequence[Point], cost: str) -> None:
    """Draws scores against costs, with a line through the Pareto front.

    Args:
        path: The PNG to write.
        points: The rows.
        cost: The cost and its unit, as the title of the axis.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    check_installed()
    from matplotlib.figure import Figure

    figure = Figure(figsize=_FRONT, layout="constrained")
    axes = figure.subplots()
    best = [points[index] for index in pareto_front(*zip(*((p.cost, p.score) for p in points), strict=True))]
    axes.step(
        [point.cost for point in best],
        [point.score for point in best],
        where="post",
        color="grey",
        linestyle=":",
        label="Pareto front",
        zorder=0,
    )
    for number, point in enumerate(points):
        style = {"color": f"C{number % 10}", "marker": _MARKERS[number % len(_MARKERS)]}
        axes.plot(point.cost, point.score, linestyle="", markersize=8, label=point.title, **style)
    axes.set_xlabel(cost)
    axes.set_ylabel("mean IoU, %")
    axes.grid(alpha=0.3)
    axes.margins(0.1)
    figure.legend(loc="outside right upper", frameon=False)
    _save(figure, path, front_description(points))


def front_description(points: Sequence[Point]) -> str:
    """Returns all numbers of a plot of scores against costs, as the PNG stores them."""
    return json.dumps([[point.title, round(point.cost, 4), round(point.score, 4)] for point in points])


def drawn(path: Path) -> str | None:
    """Returns the description that a PNG contains; None if there is no file or description."""
    if not path.is_file():
        return None
    with Image.open(path) as picture:
        return getattr(picture, "text", {}).get(_DESCRIPTION)


def _save(figure, path, numbers):
    metadata = {_DESCRIPTION: numbers}
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=150, metadata=metadata))


def _draw(axes, rows, seeds, label, also=()):
    """Draws a panel that shows every dot, and the values `also`."""
    for height, values in enumerate(rows):
        _row(axes, height, values, seeds)
    axes.set_xlabel(label)
    axes.grid(axis="x", alpha=0.3)
    # Limits follow the dots: the interval of two pairs may be much wider than the panel.
    also = [*also, *(value for values in rows for value in values.values())]
    margin = max(max(also) - min(also), 0.5) / 2
    axes.set_xlim(min(also) - margin, max(also) + margin)


def _row(axes, height, values, seeds):
    for number, seed in enumerate(seeds):
        if seed in values:
            axes.plot(
                values[seed], height + 0.12, "o", color=f"C{number % 10}", markersize=5, label=f"seed {seed}"
            )
    if values:
        mean, half = interval(list(values.values()))
        label = "mean, 95 % interval"
        axes.errorbar(
            mean, height - 0.15, xerr=half, fmt="D", color="black", markersize=4, capsize=3, label=label
        )
