"""Runs that studies have in common, which are trained once, and what tells one run from another."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from tfsegkd.atomic import read_json, sha256
from tfsegkd.recipe.settings import by_name


def inputs(flags: Iterable[str], seed: int) -> dict[str, str]:
    """The files that a run's flags name, such as its teacher, each with its fingerprint."""
    values = {
        part for flag in flags for part in flag.partition("=")[2].replace("{seed}", str(seed)).split(",")
    }
    return {value: sha256(value) for value in sorted(values) if value and Path(value).is_file()}


def changed(report: Mapping) -> list[str]:
    """The input files of a finished run that hold something else today; those that are gone do not count."""
    before = report.get("inputs", {})
    return [name for name, sha in before.items() if Path(name).is_file() and sha256(name) != sha]


def find_alike(directory: Path, flags: list[str], seed: int, code: str | None) -> Path | None:
    """A finished run of the same flags, seed, code and input files, in a study beside `directory` or in it.

    Args:
        directory: The study's.
        flags: All flags of the run but seed and directories.
        seed: Its seed.
        code: What tells the code from other code; without it nothing is alike.
    """
    if code is None:
        return None
    wanted, files = by_name(flags), None
    for path in sorted(directory.parent.glob(f"*/*/seed_{seed}/study.json")):
        if path.parent.is_symlink():
            continue
        report = read_json(path)
        if report.get("code") != code or by_name(report.get("asked", [])) != wanted:
            continue
        files = inputs(flags, seed) if files is None else files
        if report.get("inputs") == files:
            return path.parent
    return None


def share(run: Path, other: Path) -> None:
    """Lets `run` be the finished run `other`, by a link."""
    run.parent.mkdir(parents=True, exist_ok=True)
    temporary = run.with_name(f".{run.name}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(other.resolve(), run.parent.resolve()), target_is_directory=True)
    os.replace(temporary, run)
