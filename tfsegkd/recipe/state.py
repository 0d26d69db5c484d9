"""What a run has done so far, on disk."""

import json
from pathlib import Path

from tfsegkd.atomic import write_json


class State:
    """The stages that a run directory holds, with the settings that made them.

    Args:
        directory: The run's directory.
        flags: The command that was given; `flags.json` holds it from the first stage that begins on, so that
            a run which dies has it, too.

    Raises:
        ValueError: if its record cannot be read.
    """

    def __init__(self, directory: Path, flags: dict | None = None):
        self._flags = flags
        self.path = directory / "state.json"
        try:
            self._stages = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
            if not all(map(_is_whole, self._stages.values())):
                raise ValueError("a record is not whole")
        except (ValueError, AttributeError, RecursionError):
            raise ValueError(
                f"{str(self.path)!r} is damaged. Expected the record of the stages that are done. Delete it "
                f"to run them again, or choose another `output_dir`."
            ) from None

    def result(self, stage: str, settings: dict) -> dict | None:
        """What `stage` reported, or None if it has not been completed.

        Raises:
            ValueError: if it was completed, or got part of the way, with other settings; the message names
                them.
        """
        record = self._stages.get(stage)
        if record is None:
            return None
        progress = progress_directory(self.path.parent, stage)
        if record["result"] is None and not progress.exists():
            return None
        settings = _as_read_again(settings)
        changed = [
            f"{key} was {record['settings'].get(key)!r} and is {settings.get(key)!r}"
            for key in sorted({*settings, *record["settings"]})
            if settings.get(key) != record["settings"].get(key)
        ]
        if changed:
            what, where = ("made", self.path.parent) if record["result"] else ("begun", progress)
            raise ValueError(
                f"Stage {stage!r} in {str(self.path.parent)!r} was {what} with other settings: "
                f"{'; '.join(changed)}. Choose another `output_dir`, or delete {str(where)!r} to start anew."
            )
        return record["result"]

    def row(self, stage: str) -> dict | None:
        """What `stage` reported, whatever it was made with; None if it has not been completed."""
        return self._stages.get(stage, {}).get("result")

    def begin(self, stage: str, settings: dict) -> None:
        """Records with which settings `stage` is made, so that nobody goes on with others."""
        if self._flags:
            write_json(self.path.with_name("flags.json"), self._flags)
        self._record(stage, settings, None)

    def complete(self, stage: str, settings: dict, result: dict) -> None:
        """Records that `stage` is done."""
        self._record(stage, settings, result)

    def _record(self, stage, settings, result):
        self._stages[stage] = _as_read_again({"settings": settings, "result": result})
        write_json(self.path, self._stages)


def _is_whole(record) -> bool:
    try:
        settings, result = record["settings"], record["result"]
    except (LookupError, TypeError):
        return False
    return isinstance(settings, dict) and isinstance(result, dict | None)


def progress_directory(run: Path, stage: str) -> Path:
    """Where the checkpoints of an unfinished stage lie."""
    return run / stage / "progress"


def _as_read_again(content: dict) -> dict:
    # JSON makes lists of tuples.
    return json.loads(json.dumps(content))
