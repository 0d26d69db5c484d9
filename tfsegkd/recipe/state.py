"""The state of a run on disk: its finished stages and their settings."""

import json
from collections.abc import Sequence
from pathlib import Path

from tfsegkd.atomic import write_json
from tfsegkd.data import same_fingerprint

# Networks that a stage has read: the names to choose from, and the chosen one with its SHA-256.
Read = dict[tuple[str, ...], tuple[str, str]]

# Settings that change nothing in what is finished: how a loss that became NaN is answered from here on.
_WITHOUT_EFFECT = {"halve_at_nan"}
# Settings that older records lack: there they may be anything, so that older runs can resume.
_LATER = ("class_names",)
# Those of images.
_FINGERPRINTS = ("fingerprint", "held_out")


class State:
    """The stages in a run directory, with their settings.

    Args:
        directory: The run's directory.
        flags: The flags of the command, written to `flags.json` when the first stage starts.

    Raises:
        ValueError: if its record cannot be read.
    """

    def __init__(self, directory: Path, flags: dict | None = None):
        self._flags = flags
        self.path = directory / "state.json"
        try:
            self._stages = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
            if not all(map(_is_whole, self._stages.values())):
                raise ValueError("a record is incomplete")
        except (ValueError, AttributeError, RecursionError):
            raise ValueError(
                f"{str(self.path)!r} is damaged. Expected the record of finished stages. Delete it "
                f"to run them again, or choose another `output_dir`."
            ) from None

    def result(self, stage: str, settings: dict) -> dict | None:
        """Returns the result of `stage`, or None if it is not finished.

        Raises:
            ValueError: if it was run with other settings; the message names them.
        """
        record = self._stages.get(stage)
        if record is None:
            return None
        progress = progress_directory(self.path.parent, stage)
        if record["result"] is None and not progress.exists():
            return None
        if changed := _changes(record["settings"], _as_read_again(settings)):
            what, where = ("made", self.path.parent) if record["result"] else ("begun", progress)
            raise ValueError(
                f"Stage {stage!r} in {str(self.path.parent)!r} was {what} with other settings: "
                f"{'; '.join(changed)}. Choose another `output_dir`, or delete {str(where)!r} to start again."
            )
        return record["result"]

    def row(self, stage: str) -> dict | None:
        """Returns the result of `stage`, whatever its settings; None if it is not finished."""
        return self._stages.get(stage, {}).get("result")

    def rows(self) -> dict[str, dict]:
        """Returns the results of finished stages by name, in the order in which they were begun first."""
        return {stage: record["result"] for stage, record in self._stages.items() if record["result"]}

    def begin(self, stage: str, settings: dict) -> None:
        """Records the settings with which `stage` starts."""
        if self._flags:
            write_json(self.path.with_name("flags.json"), self._flags)
        self._record(stage, settings, None, [])

    def complete(self, stage: str, settings: dict, result: dict, read: Read | None = None) -> None:
        """Records that `stage` is finished, and what it has read."""
        self._record(stage, settings, result, list((read or {}).items()))

    def read(self, stage: str) -> Read:
        """Returns what a finished stage has read; nothing for a record that does not say."""
        return {tuple(files): tuple(found) for files, found in self._stages.get(stage, {}).get("read", ())}

    def forget(self, stages: Sequence[str]) -> None:
        """Makes `stages` count as not finished, so that they run again."""
        self._stages = {stage: record for stage, record in self._stages.items() if stage not in stages}
        write_json(self.path, self._stages)

    def _record(self, stage, settings, result, read):
        self._stages[stage] = _as_read_again({"settings": settings, "result": result, "read": read})
        write_json(self.path, self._stages)


def _is_whole(record) -> bool:
    try:
        settings, result = record["settings"], record["result"]
    except (LookupError, TypeError):
        return False
    return isinstance(settings, dict) and isinstance(result, dict | None)


def _changes(before: dict, after: dict) -> list[str]:
    """Describes the settings that differ; of nested ones, the entries that do."""
    found = []
    for key in sorted({*before, *after} - _WITHOUT_EFFECT):
        old, new = before.get(key), after.get(key)
        if old == new:  # what is None may as well be left out
            continue
        if key in _LATER and key not in before:
            continue
        if key in _FINGERPRINTS and old and new and same_fingerprint(old, new):
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            found += _changes(old, new)
        elif key not in before:
            found.append(f"{key} is {new!r} and was not given")
        elif key not in after:
            found.append(f"{key} was {old!r} and is not given")
        else:
            found.append(f"{key} was {old!r} and is {new!r}")
    return found


def progress_directory(run: Path, stage: str) -> Path:
    """Returns the directory of the checkpoints of an unfinished stage."""
    return run / stage / "progress"


def _as_read_again(content: dict) -> dict:
    # JSON turns tuples into lists.
    return json.loads(json.dumps(content))
