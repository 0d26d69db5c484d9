"""Flagfiles include each other; of a repeated flag the values of the source that is read last count."""

import re
from pathlib import Path

import pytest
from absl import flags

from tfsegkd.commands import flag_names, flagfiles, study
from tfsegkd.recipe.study import Method
from tfsegkd.reporting import summary

ROOT = Path(__file__).parents[2]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    contents = {
        "inner": "# a comment\n--epochs=1\n--distill=a\n--distill=b\n",
        "outer": "--flagfile=inner.cfg\n\n  // another\n--distill=c\n--prune_distill=d\n",
        "same": "--flagfile=inner.cfg\n--epochs=2\n",
        "late": "--distill=e\n--flagfile=inner.cfg\n",
        "other": "--distill=f",
        "one": "--flagfile=two.cfg",
        "two": "--flagfile=one.cfg",
    }
    for name, content in contents.items():
        Path(f"{name}.cfg").write_text(content, encoding="utf-8")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--flagfile=inner.cfg", "--epochs=1 --distill=a --distill=b"),
        ("--flagfile=inner.cfg --distill=x --distill=y", "--epochs=1 --distill=x --distill=y"),
        ("--distill=x --flagfile=inner.cfg --distill=y", "--distill=x --epochs=1 --distill=y"),
        ("--distill=x --flagfile=inner.cfg", "--epochs=1 --distill=a --distill=b"),
        ("--flagfile=outer.cfg", "--epochs=1 --distill=c --prune_distill=d"),
        ("--flagfile=outer.cfg --prune_distill=x", "--epochs=1 --distill=c --prune_distill=x"),
        ("--flagfile=same.cfg", "--epochs=1 --distill=a --distill=b --epochs=2"),
        ("--flagfile=late.cfg", "--epochs=1 --distill=a --distill=b"),
        ("--flagfile=inner.cfg --flagfile=other.cfg", "--epochs=1 --distill=f"),
        ("--flagfile=other.cfg --flagfile=other.cfg", "--distill=f"),
        ("--flagfile=other.cfg -distill=x", "-distill=x"),
        ("--flagfile= --epochs=3", "--epochs=3"),
        # What follows a word that is no flag is not the command's.
        ("--epochs=3 word --flagfile=other.cfg", "--epochs=3 word --flagfile=other.cfg"),
        ("-- --flagfile=other.cfg", "-- --flagfile=other.cfg"),
    ],
)
def test_the_last_source_of_a_repeated_flag_counts(line, expected, files):
    assert flagfiles.expand(line.split()) == expected.split()


def test_values_may_be_words_of_their_own(files, monkeypatch):
    values = flags.FlagValues()
    flags.DEFINE_string("flagfile", "", "", flag_values=values)
    flags.DEFINE_multi_string("distill", [], "", flag_values=values)
    flags.DEFINE_bool("flip", False, "", flag_values=values)
    monkeypatch.setattr(flagfiles, "FLAGS", values)
    words = ["--flagfile", "other.cfg", "--flip", "--distill", "x"]
    assert flagfiles.expand(words) == ["--flip", "--distill", "x"]


def test_files_that_include_each_other(files):
    with pytest.raises(flags.Error, match=r"'one\.cfg'"):
        flagfiles.expand(["--flagfile=one.cfg"])


def test_the_repeated_flags_are_those_that_are_defined_so():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tfsegkd" / "commands").glob("*.py")]
    defined = {name for text in sources for name in re.findall(r'DEFINE_multi_\w+\(\s*"(\w+)"', text)}
    assert defined == set(flag_names.REPEATED)
    of_runs = defined - {"method", "measure"}
    line = summary.command({name: ["x", "y"] for name in of_runs})
    assert all(line.count(f"--{name}=") == 2 for name in of_runs)


def test_the_flags_of_a_method_replace_those_of_the_base(files):
    methods = (
        Method("same", (), ("student",)),
        Method("other", ("--epochs=3", "--distill=x", "--distill=y"), ("student",)),
        Method("file", ("--flagfile=outer.cfg",), ("student",)),
    )
    shared, (same, other, file) = study.expanded(["--epochs=2", "--distill=a", "--distill=b"], methods)
    assert shared == ["--epochs=2"]
    assert same.flags == ("--distill=a", "--distill=b")
    assert other.flags == ("--epochs=3", "--distill=x", "--distill=y")
    assert file.flags == ("--epochs=1", "--distill=c", "--prune_distill=d")


def test_a_study_without_repeated_flags_is_as_it_was():
    methods = (Method("one", (), ("student",)), Method("two", ("--epochs=3",), ("student",)))
    shared = ["--epochs=2", "--distill=a"]
    assert study.expanded(shared, methods) == (shared, methods)
