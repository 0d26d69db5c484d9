"""The studies of configs/studies: rows of equal settings, but for what they say they compare."""

from pathlib import Path

import pytest

from tfsegkd.commands import flagfiles
from tfsegkd.commands import study as commands
from tfsegkd.recipe.study import Study, parse_method, parse_row

ROOT = Path(__file__).parents[2]


def words(path):
    return flagfiles.expand([f"--flagfile={path}"])


def values(found, name):
    return [word.partition("=")[2] for word in found if word.startswith(f"--{name}=")]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "studies").glob("*.cfg")), ids=lambda path: path.stem
)
def test_rows_are_of_equal_settings(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = words(path)
    base, varies, against = (values(found, name) for name in ("base", "varies", "against"))
    methods = tuple(map(parse_method, values(found, "method")))
    shared, methods = commands.expanded(words(base[-1]), methods)
    study = Study(
        ("python", "tools/train.py", *shared),
        methods,
        (0,),
        Path("study"),
        tuple(parse_row(row) for one in against for row in one.split(",")),
        tuple(name for one in varies for name in one.split(",")),
    )
    # What is said to differ does: a study says no more than it compares.
    given = [
        {word.partition("=")[0].removeprefix("--").removeprefix("no") for word in m.flags} for m in methods
    ]
    assert set(study.varies) <= set.union(*given)
