"""How figures and tables of all benchmarks look."""

from collections.abc import Iterable, Sequence


def figure(value: float | None, digits: int = 0, scale: float = 1.0) -> str:
    """A number; a dash where there is none."""
    return "–" if value is None else f"{value * scale:,.{digits}f}"


def line(cells: Iterable[object]) -> str:
    """A row of a table of Markdown."""
    return f"| {' | '.join(map(str, cells))} |"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], words: int = 1) -> str:
    """A table of Markdown.

    Args:
        words: How many columns, the first ones, hold words; numbers stand on the right.
    """
    rule = ["---"] * words + ["---:"] * (len(heads) - words)
    return "\n".join(map(line, (heads, rule, *rows)))
