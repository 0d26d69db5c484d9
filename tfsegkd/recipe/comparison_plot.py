"""The plot of a study."""

import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tfsegkd.atomic import write_atomically
from tfsegkd.recipe.comparison import Line
from tfsegkd.recipe.statistics import interval

_TITLES, _PANEL, _ROW = 2, 4, 0.42  # inches
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
    metadata = {_DESCRIPTION: description(lines)}
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=150, metadata=metadata))


def description(lines: Sequence[Line]) -> str:
    """Returns all numbers of a plot, as the PNG stores them for comparison with its data."""

    def rounded(values):
        return {seed: round(value, 4) for seed, value in values.items()}

    rows = [
        [line.title, rounded(line.last), {name: rounded(of) for name, of in line.differences.items()}]
        for line in lines
    ]
    return json.dumps(rows)


def drawn(path: Path) -> str | None:
    """Returns the description that a PNG contains; None if there is no file or description."""
    if not path.is_file():
        return None
    with Image.open(path) as picture:
        return getattr(picture, "text", {}).get(_DESCRIPTION)


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
