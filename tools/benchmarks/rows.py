"""The rows of all benchmarks, and how tables show them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

# What was measured of one thing, as files of results hold it; None is a figure that could not be had.
Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        head: What stands above it.
        value: The key of its values, the head unless given, or what computes them from a row.
        form: How a value looks, as `str.format` takes it; a dash stands for none.
        scale: What numbers are multiplied by.
    """

    head: str
    value: str | Callable[[Row], object] | None = None
    form: str = "{}"
    scale: float = 1.0

    def cell(self, row: Row) -> str:
        """What stands in this column of a row."""
        value = self.value(row) if callable(self.value) else row.get(self.value or self.head)
        if value is None:
            return "–"
        return self.form.format(value * self.scale if self.scale != 1 else value)


def line(columns: Iterable[Column], row: Row) -> str:
    """A row of a table of Markdown."""
    return _line(column.cell(row) for column in columns)


def table(columns: Sequence[Column], rows: Iterable[Row], words: int = 1) -> str:
    """A table of Markdown.

    Args:
        words: How many columns, the first ones, hold words; numbers stand on the right.
    """
    rule = ["---"] * words + ["---:"] * (len(columns) - words)
    heads = _line(column.head for column in columns), _line(rule)
    return "\n".join([*heads, *(line(columns, row) for row in rows)])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
