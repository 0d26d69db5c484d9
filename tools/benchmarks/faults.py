"""Kills a recipe at random moments, again and again, and compares what comes out in the end."""

import json
import os
import random
import re
import signal
import subprocess
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rows import Row
from tfsegkd.recipe.progress import fault

# The longest attempt, in shares of an undisturbed run: none reaches the end at once.
_LONGEST = 0.25
# After so many kills a run is left alone: what it does after its last stage may take longer than any attempt.
_MOST = 12
_ADDRESS = re.compile(rb'"shared_object_id": \d+')
# Not parts of the result: what the clock and the machine say, and logs of every attempt.
_STAMPED = ("report.json", "report.html", "flags.json", "state.json", "overlays.png", ".lock")


def run(command: Sequence[str], directory: Path, kills: int, seed: int) -> list[Row]:
    """Runs `command` once undisturbed, then under fire until `kills` kills have fallen.

    Each attempt is killed after a random time, unless it ends before: then that run is done, and another one
    begins. None is killed more than twelve times.

    Args:
        command: A command line that takes `--output_dir=`, goes on after an interruption, and is
            deterministic.
        directory: Where the runs write; it must not exist.
        kills: The least number of kills.
        seed: Seed of their moments.

    Returns:
        A row for each run: how often it was killed (`kills`), in which stages the kills fell (`stages`; one
        before the first is 'start'), what was half-written after a kill, and what is wrong with it (`torn`),
        and which files are not, byte by byte or weight by weight, those of an undisturbed run (`different`).

    Raises:
        ChildProcessError: if an attempt ends by itself with an error; the message has its last lines.
    """
    directory.mkdir(parents=True)
    whole = directory / "undisturbed"
    began = time.monotonic()
    _attempt(command, whole, None)
    duration = time.monotonic() - began
    print(f"undisturbed: {duration:.0f} s; seed {seed}", flush=True)
    rows, moments = [], random.Random(seed)
    while sum(row["kills"] for row in rows) < kills:
        rows.append(_under_fire(command, directory / f"run_{len(rows)}", whole, duration, moments))
        print("{kills} kills, {stages}: torn {torn}, different {different}".format(**rows[-1]), flush=True)
    return rows


def _under_fire(command, target, whole, duration, moments):
    stages, torn, count = {}, [], 0
    while not _attempt(command, target, moments.uniform(0, _LONGEST * duration) if count < _MOST else None):
        count += 1
        stage = _stage(target)
        stages[stage] = stages.get(stage, 0) + 1
        torn += [f"{path.relative_to(target)}: {what}" for path, what in _torn(target)]
    return {"kills": count, "stages": stages, "torn": torn, "different": differences(whole, target)}


def _attempt(command, target, seconds):
    """Runs until the end, or a kill after so many seconds; whether it was the end."""
    log_file = target.with_suffix(".log")
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [*command, f"--output_dir={target}"], stdout=log, stderr=log, start_new_session=True
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                # The whole group: stages, conversions and timings run in processes of their own.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code is None:
        return False
    if code:
        lines = log_file.read_text(errors="replace").splitlines()[-5:]
        raise ChildProcessError(f"An attempt ended with code {code}, log in {log_file}: {' | '.join(lines)}")
    return True


def _stage(target):
    """The stage that was being made when the run was killed, and how far it had come."""
    path = target / "state.json"
    records = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if not records:
        return "start"
    name, record = list(records.items())[-1]
    return f"after {name}" if record["result"] else f"{name}, {_phase(target, name)}"


def _phase(target, name):
    """What a stage that is not done was doing, as its files tell."""
    progress = target / name / "progress"
    epochs = [path.name.removeprefix("epoch_") for path in progress.glob("epoch_*")]
    if epochs:
        return f"{int(max(epochs))} epochs done"
    if any((target / name).glob("path_*")) and not any(progress.glob("pruned_*")):
        return "following a path"
    if name == "student" and any(target.glob("*.cache/*")):
        return "recording the teacher"
    return "begun"


def _torn(target):
    """What is half-written under a name that somebody reads."""
    for path in sorted(target.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(target).parts)
        what = None if hidden else _CHECKS.get(path.suffix, _checkpoint)(path)
        if what:
            yield path, what


def _archive(path):
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except zipfile.BadZipFile as error:
        return str(error)


def _json(path):
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return str(error)


def _flatbuffer(path):
    return None if path.read_bytes()[4:8] == b"TFL3" else "no TFLite file"


def _checkpoint(path):
    return fault(path) if path.is_dir() and path.name.startswith("epoch_") else None


_CHECKS = {".keras": _archive, ".json": _json, ".tflite": _flatbuffer}


def differences(one: Path, other: Path) -> list[str]:
    """The files of a finished run that another does not have, or has with another content."""
    first, second = _contents(one), _contents(other)
    return [name for name in sorted({*first, *second}) if first.get(name) != second.get(name)]


def _contents(directory):
    found = {}
    for path in sorted(directory.iterdir()):
        if path.name in _STAMPED or path.is_dir():
            continue
        if path.suffix == ".keras":
            # The archive's own dates differ, and the addresses of objects; nothing else may.
            with zipfile.ZipFile(path) as archive:
                found[path.name] = {
                    name: _ADDRESS.sub(b"", archive.read(name))
                    for name in archive.namelist()
                    if name != "metadata.json"
                }
        else:
            found[path.name] = path.read_bytes()
    return found
