"""Trains, evaluates and exports again and again in one process, and watches its memory."""

import gc
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tfsegkd import export, models
from tfsegkd._keras import keras
from tfsegkd.data.road_scenes import RoadScenes
from tfsegkd.distillation import Distiller, parse_terms
from tfsegkd.evaluation import evaluate
from tfsegkd.quantization import quantize
from tfsegkd.recipe import Frames, Schedule
from tfsegkd.recipe.training import train

# By how much the memory may grow after the first cycle, in which TensorFlow and Keras settle.
TOLERANCE = 0.05
_SIZE = (48, 64)


@dataclass(frozen=True)
class Row:
    """What a cycle left behind.

    Attributes:
        cycle: Its number, from 1.
        seconds: How long it took.
        resident_mb: The memory that the process holds at its end.
        open_files: How many files, pipes and sockets are open then.
        children: How many processes that it started still run then.
    """

    cycle: int
    seconds: float
    resident_mb: float
    open_files: int
    children: int


def run(directory: Path, minutes: float, cycle: Callable[[Path], None] | None = None) -> list[Row]:
    """Repeats a cycle until so many minutes have passed, at least twice.

    Args:
        directory: Where each cycle writes, and what it wrote is deleted again; it must not exist.
        minutes: After how long no further cycle begins.
        cycle: What to repeat, given a directory; from frames to an int8 file unless given.

    Returns:
        A row for each cycle.
    """
    directory.mkdir(parents=True)
    rows, began = [], time.monotonic()
    while len(rows) < 2 or time.monotonic() - began < 60 * minutes:
        started = time.monotonic()
        (cycle or _cycle)(directory / "run")
        shutil.rmtree(directory / "run", ignore_errors=True)
        gc.collect()
        rows.append(_row(len(rows) + 1, time.monotonic() - started))
        print(
            f"cycle {rows[-1].cycle}: {rows[-1].resident_mb:.0f} MB, {rows[-1].open_files} open files, "
            f"{rows[-1].children} children, {rows[-1].seconds:.0f} s",
            flush=True,
        )
    return rows


def growth(rows: list[Row]) -> float:
    """By which share the memory after any later cycle exceeds that after the first."""
    first, *later = (row.resident_mb for row in rows)
    return max(later) / first - 1


def verdict(rows: list[Row]) -> str:
    """Whether the memory stayed flat, in a sentence."""
    found = growth(rows)
    word = "flat" if found <= TOLERANCE else "NOT flat"
    return (
        f"{word}: after the first of {len(rows)} cycles the resident memory grew by at most {found:.1%}; "
        f"{TOLERANCE:.0%} are allowed"
    )


def _cycle(directory):
    """Distils and fine-tunes for an epoch each, exports, and evaluates the network and its file."""
    schedule = Schedule(epochs=1, learning_rate=1e-3, batch_size=4)
    train_split, val = (RoadScenes(split, *_SIZE, num_images=8) for split in ("train", "val"))
    frames = Frames(train_split, val, size=_SIZE)
    teacher, student = (
        models.build(f"mobile_unet(width_multiplier={width})", val.info.num_classes, (*_SIZE, 3))
        for width in (0.5, 0.35)
    )
    for number in range(2):
        if number:
            student = quantize(student)
        distiller = Distiller(teacher, student, parse_terms(["pixelwise(temperature=2)"]))
        train(distiller, frames, schedule, directory / str(number))
        evaluate(student, val)
    export.export_tflite(student, directory / "model_int8.tflite", metadata=val.info)
    evaluate(directory / "model_int8.tflite", val)
    # As between the stages of a recipe.
    keras.backend.clear_session()


def _row(cycle, seconds):
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    tasks = Path("/proc/self/task").glob("*/children")
    return Row(
        cycle,
        round(seconds, 1),
        round(int(resident.split()[1]) / 1024, 1),
        len(os.listdir("/proc/self/fd")),
        sum(len(task.read_text(encoding="utf-8").split()) for task in tasks),
    )
