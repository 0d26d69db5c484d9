"""The head of a flagfile says what a run with it gave, from the JSON of the results."""

import re
from pathlib import Path

import pytest

from tfsegkd.recipe.page_values import Values

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(
    path for path in (ROOT / "configs").rglob("*.cfg") if path.parent.name in ("configs", "camvid", "papers")
)
_RESULT = re.compile(r"^# Result\b(?:[^:\n]*, docs/results/(?P<file>\w+\.json))?:(?P<words>.*)$")
_FIGURE = re.compile(r"^#   (?P<figure>\S+) (?P<words>.*?) = (?P<expression>.+)$")


def results(text: str) -> list[tuple[str, str, str]]:
    """Each figure of a head, with its file and the expression that gives it."""
    found, file = [], None
    for line in text.splitlines():
        if head := _RESULT.match(line):
            file = head["file"]
        elif file and (figure := _FIGURE.match(line)):
            found.append((file, figure["figure"], figure["expression"]))
    return found


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_head_is_as_the_json_says(path):
    text = path.read_text(encoding="utf-8")
    (head,) = [found for line in text.splitlines() if (found := _RESULT.match(line))]
    told = results(text)
    assert bool(told) == bool(head["file"])
    assert told or head["words"].strip(), "says neither what it gave nor that nobody has run it"
    values = Values(ROOT / "docs" / "results")
    for file, figure, expression in told:
        assert values.evaluate(file, expression) == figure, f"{figure} = {expression}"


def test_another_figure_is_seen():
    text = (ROOT / "configs" / "quickstart.cfg").read_text(encoding="utf-8")
    file, figure, expression = results(text)[0]
    assert Values(ROOT / "docs" / "results").evaluate(file, expression) != f"1{figure}"
