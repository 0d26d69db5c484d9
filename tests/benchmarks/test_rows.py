"""One type of row, and one way to print it, for all benchmarks."""

import ast
from pathlib import Path

import pytest
from benchmarks.rows import Column, line, table

TOOLS = Path(__file__).parents[2] / "tools"
COLUMNS = (
    Column("network", form="`{}`"),
    Column("size", lambda row: "×".join(map(str, row["size"]))),
    Column("ms", "latency_ms", "{:,.2f}"),
    Column("agreement %", "agreement", "{:,.1f}", 100),
)


def test_a_column_knows_its_head_its_value_and_its_form():
    rows = [
        {"network": "unet", "size": (4, 6), "latency_ms": 1234.5, "agreement": 0.25},
        {"network": "fcn", "size": (4, 6), "latency_ms": None},
    ]
    assert table(COLUMNS, rows, words=2).splitlines() == [
        "| network | size | ms | agreement % |",
        "| --- | --- | ---: | ---: |",
        "| `unet` | 4×6 | 1,234.50 | 25.0 |",
        "| `fcn` | 4×6 | – | – |",
    ]
    assert line(COLUMNS, rows[0]) in table(COLUMNS, rows)


def test_zero_is_a_figure():
    assert Column("float ops").cell({"float ops": 0}) == "0"


@pytest.mark.parametrize("path", sorted((TOOLS / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_no_benchmark_has_rows_or_tables_of_its_own(path):
    if path.stem == "rows":
        return
    text = path.read_text(encoding="utf-8")
    assert not [
        one.name for one in ast.walk(ast.parse(text)) if isinstance(one, ast.ClassDef) and "Row" in one.name
    ]
    assert "---" not in text
