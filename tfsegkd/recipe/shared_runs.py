"""Runs that several studies share, and the key that identifies a run."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from tfsegkd.atomic import read_json, sha256
from tfsegkd.distillation import parse_members, split_members
from tfsegkd.recipe.settings import by_name


def inputs(flags: Iterable[str], seed: int) -> dict[str, str]:
    """Returns the files that a run's flags name, such as its teacher, with fingerprints."""
    values: set[str] = set()
    for flag in flags:
        name, _, value = flag.lstrip("-").partition("=")
        value = value.replace("{seed}", str(seed))
        values.update(value.split(","), _of_teacher(value) if name == "teacher" else ())
    return {value: sha256(value) for value in sorted(values) if value and Path(value).is_file()}


def _of_teacher(text: str) -> set[str]:
    """Returns the files of saved teachers and their options; none of a network that is trained."""
    paths = {path for path, _ in split_members(text)}
    if not any(Path(path).is_file() for path in paths):
        return set()
    return paths.union(*(member.files() for member in parse_members(text)))


def changed(report: Mapping) -> list[str]:
    """Returns the input files of a finished run that have changed; missing ones are ignored."""
    before = report.get("inputs", {})
    return [name for name, sha in before.items() if Path(name).is_file() and sha256(name) != sha]


def find_alike(
    directory: Path, flags: list[str], seed: int, code: str | None, data_dir: str | None = None
) -> Path | None:
    """Finds a finished run of the same flags, seed, code, data and files in this study or one beside it.

    Args:
        directory: The directory of the study.
        flags: All flags of the run except seed and directories.
        seed: The seed.
        code: The hash of the code; without it no run matches.
        data_dir: The directory of the run's data set, if it has one.
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
        if _resolved((report.get("flags") or {}).get("data_dir")) != _resolved(data_dir):
            continue
        files = inputs(flags, seed) if files is None else files
        if report.get("inputs") == files:
            return path.parent
    return None


def share(run: Path, other: Path) -> None:
    """Links `run` to the finished run `other`."""
    run.parent.mkdir(parents=True, exist_ok=True)
    temporary = run.with_name(f".{run.name}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(other.resolve(), run.parent.resolve()), target_is_directory=True)
    os.replace(temporary, run)


def _resolved(directory: str | None) -> Path | None:
    return Path(directory).expanduser().resolve() if directory else None
