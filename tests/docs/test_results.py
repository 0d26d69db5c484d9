"""The committed results are those of anyone's machine."""

import json

import pytest
from pages import ROOT

RESULTS = sorted((ROOT / "docs" / "results").glob("*.json"))


def absolute(content) -> list[str]:
    """Every text in a JSON document that is an absolute path."""
    if isinstance(content, str):
        return [content] if content.startswith("/") else []
    below = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return [path for part in below for path in absolute(part)]


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_no_path_of_a_machine(path):
    assert absolute(json.loads(path.read_text())) == []


def test_paths_are_found_at_any_depth():
    run = {"flags": {"data_dir": "/home/me", "rate": 0.1, "name": "a/b"}}
    assert absolute({"runs": [run]}) == ["/home/me"]
