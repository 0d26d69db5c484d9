"""Trains, evaluates and exports again and again, and watches the memory of this process and its children."""

import gc
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.rows import Row
from tfsegkd.data.road_scenes import RoadScenes
from tfsegkd.recipe import Distill, Quantize, Recipe, Schedule, Teacher, TrainingData

# By how much the memory may grow after the first cycle, in which TensorFlow and Keras settle.
TOLERANCE = 0.05
_SIZE = (48, 64)
_LINE = (
    "cycle {cycle}: {resident_mb:.0f} MB, a child up to {peak_mb:.0f} MB, "
    "{open_files} open files, {children} children, {seconds:.0f} s"
)


def run(directory: Path, minutes: float, cycle: Callable[[Path], None] | None = None) -> list[Row]:
    """Repeats a cycle until so many minutes have passed, at least twice.

    Args:
        directory: Where each cycle writes, and what it wrote is deleted again; it must not exist.
        minutes: After how long no further cycle begins.
        cycle: What to repeat, given a directory; from frames to an int8 file unless given.

    Returns:
        A row for each cycle: its number from 1, how long it took (`seconds`), and at its end the memory that
        the process holds (`resident_mb`), the most that one of its children, which do the work, has had until
        then (`peak_mb`), how many files, pipes and sockets are open (`open_files`), and how many processes
        that it started still run (`children`).
    """
    directory.mkdir(parents=True)
    rows, began = [], time.monotonic()
    while len(rows) < 2 or time.monotonic() - began < 60 * minutes:
        started = time.monotonic()
        (cycle or _cycle)(directory / "run")
        shutil.rmtree(directory / "run", ignore_errors=True)
        gc.collect()
        rows.append(_row(len(rows) + 1, time.monotonic() - started))
        print(_LINE.format(**rows[-1]), flush=True)
    return rows


def growth(rows: list[Row]) -> float:
    """By which share the memory after any later cycle, or of a child, exceeds that after the first."""
    kinds = ([row[kind] for row in rows] for kind in ("resident_mb", "peak_mb"))
    return max(max(later) / first - 1 for first, *later in kinds)


def verdict(rows: list[Row]) -> str:
    """Whether the memory stayed flat, in a sentence."""
    found = growth(rows)
    word = "flat" if found <= TOLERANCE else "NOT flat"
    return (
        f"{word}: after the first of {len(rows)} cycles the memory grew by at most {found:.1%}; "
        f"{TOLERANCE:.0%} are allowed"
    )


def _cycle(directory):
    """Trains a teacher, distils and fine-tunes, an epoch each; exports, and evaluates what each step made."""
    schedule = Schedule(epochs=1, learning_rate=1e-3, batch_size=4)
    frames = TrainingData(
        *(RoadScenes(split, *_SIZE, num_images=8) for split in ("train", "val")), size=_SIZE
    )
    student, terms = "mobile_unet(width_multiplier=0.35)", ("pixelwise(temperature=2)",)
    stages = [
        Teacher("mobile_unet(width_multiplier=0.5)", schedule),
        # Eight frames make no teacher that the check would let pass.
        Distill(student, schedule, terms, preflight="off"),
        Quantize(schedule, terms),
    ]
    Recipe(stages).run(directory, frames)


def _row(cycle, seconds):
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    tasks = Path("/proc/self/task").glob("*/children")
    return {
        "cycle": cycle,
        "seconds": round(seconds, 1),
        "resident_mb": round(int(resident.split()[1]) / 1024, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1),
        "open_files": len(os.listdir("/proc/self/fd")),
        "children": sum(len(task.read_text(encoding="utf-8").split()) for task in tasks),
    }
