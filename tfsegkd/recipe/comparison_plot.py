"""Methods × seeds, as a picture."""

from collections.abc import Sequence
from pathlib import Path

from tfsegkd.atomic import write_atomically
from tfsegkd.recipe.comparison import Line, interval

_WIDTH, _ROW = 10, 0.42  # inches


def check_installed() -> None:
    """Finds out whether pictures can be drawn.

    Raises:
        ImportError: if not.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ImportError(
            "The picture of a study needs matplotlib, which is not installed. Run pip install "
            "'tfsegkd[plots]', or leave the picture out with --noplot."
        ) from None


def draw(path: Path, lines: Sequence[Line]) -> None:
    """Draws each row's seeds as dots with their mean and its 95 % interval, and the paired differences.

    Args:
        path: Where to write the PNG.
        lines: The rows of the comparison, the baseline first.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    check_installed()
    from matplotlib.figure import Figure

    seeds = sorted({seed for line in lines for seed in line.last})
    figure = Figure(figsize=(_WIDTH, 1.5 + _ROW * len(lines)), layout="constrained")
    scores, differences = figure.subplots(1, 2, sharey=True)
    for place, line in enumerate(lines):
        _row(scores, place, line.last, seeds)
        _row(differences, place, line.differences or {}, seeds)
    _frame(scores, [value for line in lines for value in line.last.values()], "mean IoU, %")
    first = lines[0].title if lines[0].differences is None else "the first row"
    apart = [value for line in lines for value in (line.differences or {}).values()]
    _frame(differences, [0.0, *apart], f"difference to {first}, points")
    differences.axvline(0, color="grey", linewidth=1, zorder=0)
    scores.set_yticks(range(len(lines)), [line.title for line in lines])
    scores.set_ylim(len(lines) - 0.5, -0.5)
    handles, labels = scores.get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=len(shown), frameon=False)
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=150))


def _row(axes, place, values, seeds):
    for number, seed in enumerate(seeds):
        if seed in values:
            axes.plot(
                values[seed], place + 0.12, "o", color=f"C{number % 10}", markersize=5, label=f"seed {seed}"
            )
    if values:
        mean, half = interval(list(values.values()))
        label = "mean, 95 % interval"
        axes.errorbar(
            mean, place - 0.15, xerr=half, fmt="D", color="black", markersize=4, capsize=3, label=label
        )


def _frame(axes, values, label):
    """The dots fill the picture: the interval of two pairs may be many times wider, and runs out of it."""
    axes.set_xlabel(label)
    axes.grid(axis="x", alpha=0.3)
    margin = max(max(values) - min(values), 0.5) / 2
    axes.set_xlim(min(values) - margin, max(values) + margin)
