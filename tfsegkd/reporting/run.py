"""The records of a run on disk, read and checked."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from tfsegkd.atomic import read_json
from tfsegkd.data import same_fingerprint
from tfsegkd.reporting.curves import Curves, read_curves


@dataclasses.dataclass(frozen=True)
class Unfinished:
    """A stage that was started but not finished.

    Args:
        name: The stage.
        epochs_done: The number of epochs in its log.
        epochs: The number of planned epochs; None without training.
    """

    name: str
    epochs_done: int
    epochs: int | None

    def __str__(self):
        if self.epochs is None:
            return self.name
        return f"{self.name} (after epoch {self.epochs_done} of {self.epochs})"


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """The records of a run.

    Args:
        directory: The run's directory.
        title: A unique title within a report.
        report: The content of `report.json`; empty for an unfinished run.
        state: The content of `state.json`: settings and result by stage.
        begun_with: The content of `flags.json`, the flags of the last stage.

    Example:
        (run,) = reporting.read_runs(["saved_models/quickstart"])
        [stage["name"] for stage in run.stages][:2]  # ['teacher', 'student_alone']
    """

    directory: Path
    title: str
    report: Mapping
    state: Mapping[str, Mapping]
    begun_with: Mapping = dataclasses.field(default_factory=dict)

    @cached_property
    def stages(self) -> list[dict]:
        """The results of finished stages, in order."""
        rows = {row["name"]: dict(row) for row in self.report.get("stages", [])}
        for name, record in self.state.items():
            result, row = record["result"], rows.get(name, {})
            # A stage that was repeated after the report has its current result.
            if result and any(row.get(key) != value for key, value in result.items()):
                rows[name] = dict(result)
        # Rows that the report lacks have come after it, and the file is made of the last network.
        return sorted(rows.values(), key=lambda row: row["name"] == "int8")

    @cached_property
    def unfinished(self) -> list[Unfinished]:
        return [
            Unfinished(
                name,
                max((len(values) for values in self.curves.get(name, {}).values()), default=0),
                (record["settings"].get("schedule") or {}).get("epochs"),
            )
            for name, record in self.state.items()
            if record["result"] is None
        ]

    @cached_property
    def curves(self) -> dict[str, Curves]:
        """The logs of trainings, by stage."""
        found = {name: read_curves(self.directory / name / "logs") for name in self._trained}
        return {name: curves for name, curves in found.items() if curves}

    @property
    def _trained(self) -> list[str]:
        return list(dict.fromkeys([*(row["name"] for row in self.stages), *self.state]))

    @cached_property
    def networks(self) -> dict[str, Path]:
        """The network files by stage; the fine-tuned network is represented by the int8 file."""
        paths = {row["name"]: self.directory / row["file"] for row in self.stages if row.get("file")}
        paths = {name: path for name, path in paths.items() if path.is_file()}
        if "int8" in paths:
            paths.pop("student_qat", None)
        return paths

    @property
    def final(self) -> dict | None:
        """The row of the last network."""
        exported = [row for row in self.stages if row.get("file")]
        return exported[-1] if exported else None

    @property
    def float_student(self) -> str | None:
        """The stage of the float network that became the int8 file."""
        students = [name for name in self.networks if name not in ("teacher", "int8")]
        return students[-1] if students and "int8" in self.networks else None

    @property
    def flags(self) -> Mapping:
        """The flags of the command, if known, also for unfinished runs."""
        return self.report.get("flags") or self.begun_with

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(next((row["iou"] for row in self.stages if row.get("iou")), ()))

    @property
    def validation(self) -> Mapping | None:
        """Name, number of examples and fingerprint of the validation split."""
        found = (record["settings"].get("val") for record in self.state.values())
        return next((split for split in found if split), None)

    @property
    def settings(self) -> Mapping:
        """The settings of the first stage; size, seed and augmentation are the same for all."""
        return next((record["settings"] for record in self.state.values()), {})

    def confusion(self, stage: str) -> list[list[int]] | None:
        """Returns pixel counts, [label][prediction], over the whole split; None if there are none."""
        return _read(self.directory / "confusion" / f"{stage}.json")

    @cached_property
    def pruning(self) -> Mapping | None:
        """The `PruningReport` of the last round of pruning, as JSON."""
        rounds = self.directory.glob("*/pruning_*.json")
        last = max(rounds, key=lambda path: (len(path.stem), path.stem), default=None)
        return last and _read(last)


def read_runs(directories: Sequence[str | os.PathLike]) -> list[RunRecord]:
    """Reads runs that can be compared, finished or not.

    Args:
        directories: Output directories of runs.

    Returns:
        A record for each directory.

    Raises:
        FileNotFoundError: if a directory contains no run.
        ValueError: if a run is damaged or repeated, or if they were evaluated on different data.

    Example:
        runs = reporting.read_runs(["saved_models/quickstart"])
        runs[0].report["stages"]
    """
    paths = [Path(directory).resolve() for directory in directories]
    if not paths:
        raise ValueError("A report needs at least one run. Received: none. Pass the directory of a run.")
    twice = sorted({str(path) for path in paths if paths.count(path) > 1})
    if twice:
        raise ValueError(f"{twice} are repeated. Expected different runs.")
    shared = Path(os.path.commonpath([path.parent for path in paths]))
    runs = [_read_run(path, path.relative_to(shared).as_posix()) for path in paths]
    _check_comparable(runs)
    return runs


def _read_run(directory: Path, title: str) -> RunRecord:
    report, state, flags = (_read(directory / f"{name}.json") for name in ("report", "state", "flags"))
    if report is None and state is None:
        raise FileNotFoundError(
            f"No run in {str(directory)!r}. Expected a report.json or, for an unfinished run, a "
            f"state.json. Pass the output directory of a run."
        )
    run = RunRecord(directory, title, report or {}, state=state or {}, begun_with=flags or {})
    try:
        for row in run.stages:
            _check_row(row)
        for record in run.state.values():
            _check_settings(record["settings"])
        _ = run.validation, dict(run.flags)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ValueError(
            f"The record of {str(directory)!r} is damaged: its report.json, state.json or flags.json is "
            f"invalid. Run it again, or leave it out."
        ) from None
    return run


def _check_row(row: Mapping) -> None:
    """Raises ValueError or the like for invalid results: paths outside of the run, text for numbers."""
    shares = [row["mean_iou"], *filter(None, row.get("iou", {}).values())]
    names = ("parameters", "macs", "file_bytes", "latency_ms", "arm_instructions", "seconds")
    costs = [row.get(key) or 0 for key in names]
    if not all(0 <= value < math.inf for value in [*shares, *costs]):
        raise ValueError("not a number")
    for name in (row["name"], row.get("file") or "none"):
        if Path(name).name != name:
            raise ValueError("a path outside of the run")


def _check_settings(settings: Mapping) -> None:
    epochs = (settings.get("schedule") or {}).get("epochs") or 0
    if not 0 <= epochs < math.inf or not all(isinstance(key, str) for key in settings.get("val") or {}):
        raise ValueError("not a setting")


def _read(path: Path):
    if not path.is_file():
        return None
    return read_json(path)


def _check_comparable(runs: Sequence[RunRecord]) -> None:
    first = runs[0]
    for run in runs[1:]:
        for what, of in (
            ("classes", lambda run: run.classes),
            ("validation split", lambda run: run.validation),
        ):
            one, other = of(first), of(run)
            if one and other and not _alike(one, other):
                raise ValueError(
                    f"Runs of different data cannot be compared: the {what} of {first.title!r} is "
                    f"{_short(one)}, of {run.title!r} {_short(other)}. Expected the same data set and split, "
                    f"because mean IoU on different images cannot be compared. Write separate reports."
                )


def _alike(one, other) -> bool:
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return one == other
    # Older records have fewer keys.
    shared = {*one} & {*other} - {"fingerprint"}
    prints = (str(split.get("fingerprint")) for split in (one, other))
    return same_fingerprint(*prints) and all(one[key] == other[key] for key in shared)


def _short(value) -> str:
    if isinstance(value, Mapping):
        return f"{value.get('dataset')!r} with {value.get('examples')} images ({value.get('fingerprint')})"
    return f"{list(value)[:4]}, {len(value)} in all"
