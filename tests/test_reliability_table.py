"""Every row of the table of faults has a test that exists."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCUMENT = TESTS.parent / "docs" / "reliability.md"


def rows(text: str) -> list[list[str]]:
    """The cells of the lines of the table, its head left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def faults(text: str, tests: Path) -> list[str]:
    """What is wrong with the table: rows without a test, and tests that do not exist."""
    found = []
    for what, seen, kept, tested in rows(text):
        if not (what and seen and kept):
            found.append(f"{what!r}: an empty cell")
        named = re.findall(r"`([^`]+)`", tested)
        if not named:
            found.append(f"{what!r}: no test")
        for name in named:
            path, _, function = name.partition("::")
            file = tests / path
            if not file.is_file() or function not in _functions(file):
                found.append(f"{what!r}: no test {name}")
    return found


def _functions(file):
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def test_every_row_has_tests_that_exist():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert len(rows(text)) > 20
    assert faults(text, TESTS) == []


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ("a | b | c | `test_architecture.py::test_all_files_are_found`", None),
        ("a | b | c | somewhere", "'a': no test"),
        ("a |  | c | `test_architecture.py::test_all_files_are_found`", "'a': an empty cell"),
        ("a | b | c | `test_architecture.py::test_gone`", "'a': no test test_architecture.py::test_gone"),
        ("a | b | c | `test_architecture.py`", "'a': no test test_architecture.py"),
        ("a | b | c | `gone.py::test_gone`", "'a': no test gone.py::test_gone"),
    ],
)
def test_a_table_that_promises_too_much_is_found(cells, fault):
    text = f"| what | seen | kept | test |\n|---|---|---|---|\n| {cells} |\n"
    assert faults(text, TESTS) == ([fault] if fault else [])
