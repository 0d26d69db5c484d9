"""Quantization by budget: the cheapest method within an allowed loss of accuracy."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tfsegkd import checks, models
from tfsegkd._keras import keras
from tfsegkd.atomic import read_json, write_json
from tfsegkd.data import Source, spread
from tfsegkd.data.statistics import Subset
from tfsegkd.evaluation import evaluate
from tfsegkd.grouping import as_dense, regroup, written_dense
from tfsegkd.quantization import (
    NothingToEqualize,
    correct_biases,
    float_layers,
    kernel_layers,
    layer_errors,
    post_training,
    with_float_layers,
)
from tfsegkd.recipe.quantizing import Quantize, QuantizedStudent, on_logits
from tfsegkd.recipe.stages import STUDENTS, Rehearsal, Run, cache_key, check_task
from tfsegkd.recipe.training import Schedule

TRIED = "quantization.json"
_CALIBRATION_IMAGES = 64
_SENSITIVITY_IMAGES = 4
# The share of the training images that is held out to measure attempts, the least and the most. Of few
# images it is a quarter.
_HELD_OUT, _LEAST_HELD_OUT, _MOST_HELD_OUT = 0.1, 8, 64
# At most this share of the kernels falls back to float.
_MOST_FLOAT = 0.25


@dataclasses.dataclass(frozen=True)
class Attempt:
    """An attempt at quantization.

    Args:
        name: The method.
        mean_iou: On the held-out training images; None if it was skipped.
        drop: Points of mean IoU below the float network.
        float_layers: The layers that stayed in float.
        seconds: The time it took.
        skipped: The reason why it was skipped.
    """

    name: str
    mean_iou: float | None = None
    drop: float | None = None
    float_layers: tuple[str, ...] = ()
    seconds: float | None = None
    skipped: str | None = None

    def __str__(self) -> str:
        if self.skipped:
            return f"{self.name}: skipped: {self.skipped}"
        return f"{self.name}: mean IoU {100 * self.mean_iou:.2f}, {self.drop:+.2f} points lost"


@dataclasses.dataclass(frozen=True)
class AutoQuantize:
    """Quantizes the student to int8 by the cheapest method that keeps its accuracy.

    It tries, in this order: calibration; cross-layer equalization; bias correction of the better of these;
    float fallback of the worst layers of the best so far; training on labels; training on labels and teacher.
    The first attempt within the budget is used, or else the best. The search log is in `quantization.json`
    and in the run's report.

    Losses are measured on training images that are held out of the trainings here, never on the validation
    split.

    Args:
        schedule: The schedule of the attempts that train.
        distill: Specs of the terms, as for `Quantize`; without terms on the logits the last attempt is
            skipped.
        task_weight, cache: As of `Quantize`.
        max_miou_drop: The budget, in points of mean IoU (0…100).
        balanced_terms: As for `Distill`.

    Example:
        stage = recipe.AutoQuantize(recipe.Schedule(epochs=6, learning_rate=1e-4), max_miou_drop=0.5)
    """

    schedule: Schedule
    distill: Sequence[str] = ()
    task_weight: float = 1.0
    cache: str | None = None
    max_miou_drop: float = 0.5
    balanced_terms: bool = False
    name = QuantizedStudent.name
    artefact = QuantizedStudent.artefact

    def __post_init__(self):
        checks.in_range(self.max_miou_drop, 0.0, 100.0, "max_miou_drop")
        check_task(on_logits(self.distill), self.task_weight, self.balanced_terms)

    def settings(self) -> dict:
        return {**cache_key(self), "quantize": "auto"}

    def rehearsal(self, cache: str) -> Rehearsal:
        training = Quantize(
            self.schedule,
            self.distill,
            self.task_weight,
            cache=self.cache,
            balanced_terms=self.balanced_terms,
        )
        note = "at most twice these steps, and none if calibration is enough"
        return dataclasses.replace(training.rehearsal(cache), note=note)

    def make(self, run: Run) -> keras.Model:
        train = run.data.train
        if not train.labelled:
            raise ValueError(
                "Quantization by budget measures mean IoU on training images, which have no labels. Use "
                "`Quantize`, or images with labels."
            )
        fitting, held_out = hold_out(train, self.schedule.batch_size)
        inner = run.on(fitting)
        loaded = inner.load(*STUDENTS)
        student = as_dense(models.at_size(loaded, run.data.size))
        search_log = SearchLog(lambda model: evaluate(model, held_out).mean_iou, student, self.max_miou_drop)
        for name, make in self._attempts(inner, run, student, search_log):
            if search_log.take(name, make):
                break
        write_json(run.directory / TRIED, {**search_log.to_json(), "held_out_images": len(held_out)})
        model = search_log.best
        return regroup(model) if written_dense(model) else model

    def _attempts(
        self, run: Run, whole: Run, student: keras.Model, search_log: "SearchLog"
    ) -> Iterator[tuple[str, Callable[[], keras.Model]]]:
        """Yields the attempts, cheapest first; some continue from the best of `search_log`.

        Args:
            run: The run without the held-out images.
            whole: The run with all training images, for which the teacher is recorded.
            student: The float network.
            search_log: What was tried before.
        """
        images = calibration_images(run)
        batches = [images[start : start + 8] for start in range(0, len(images), 8)]
        yield "calibration", lambda: post_training(student, batches)
        yield "equalization", lambda: post_training(student, batches, equalized=True)
        yield "bias correction", lambda: correct_biases(search_log.best, batches)
        start = search_log.best
        worst = list(layer_errors(start, images[:_SENSITIVITY_IMAGES]))
        for count in _doublings(int(_MOST_FLOAT * len(kernel_layers(start)))):
            names = worst[:count]
            yield f"{count} worst layers in float", lambda names=names: with_float_layers(start, names)
        trained = {"schedule": self.schedule, "task_weight": self.task_weight}
        if self.task_weight:
            yield "training", lambda: _Trained(**trained).make(run)
        if on_logits(self.distill):
            taught = {
                **trained,
                "distill": self.distill,
                "cache": self.cache,
                "balanced_terms": self.balanced_terms,
                "whole": whole,
            }
            yield "training with the teacher", lambda: _TrainedWithTeacher(**taught).make(run)


class SearchLog:
    """The search log: all attempts and the best network.

    Args:
        score: The mean IoU of a network, 0…1.
        student: The float network.
        max_miou_drop: The allowed loss, in points of mean IoU.
    """

    def __init__(self, score: Callable[[keras.Model], float], student: keras.Model, max_miou_drop: float):
        self._score, self._budget = score, max_miou_drop
        self._float_score = score(student)
        self.tried: list[Attempt] = []
        self.best: keras.Model | None = None
        self._chosen: Attempt | None = None

    def take(self, name: str, make: Callable[[], keras.Model]) -> bool:
        """Makes an attempt; returns whether it is within the budget."""
        began = time.monotonic()
        try:
            model = make()
        except NothingToEqualize as error:
            self._note(Attempt(name, skipped=str(error)))
            return False
        score = self._score(model)
        attempt = Attempt(
            name,
            score,
            100 * (self._float_score - score),
            float_layers=float_layers(model),
            seconds=round(time.monotonic() - began, 1),
        )
        self._note(attempt)
        met = attempt.drop <= self._budget
        if met or self._chosen is None or score > self._chosen.mean_iou:
            self._chosen, self.best = attempt, model
        return met

    def _note(self, attempt: Attempt) -> None:
        self.tried.append(attempt)
        print(f"  {attempt}", flush=True)

    def to_json(self) -> dict:
        return {
            "max_miou_drop": self._budget,
            "float_mean_iou": self._float_score,
            "chosen": self._chosen.name,
            "within_budget": self._chosen.drop <= self._budget,
            "tried": [dataclasses.asdict(attempt) for attempt in self.tried],
        }


# Their checkpoints are in the stage's directory and removed with it.


class _Trained(Quantize):
    name = f"{Quantize.name}/progress/labels"


@dataclasses.dataclass(frozen=True)
class _TrainedWithTeacher(Quantize):
    whole: Run | None = None
    name = f"{Quantize.name}/progress/teacher"

    def teacher(self, run, terms):
        # The images of `run` are the first of all, for which earlier stages have recorded the teacher.
        return self.whole.teacher(terms, self.cache)


def read_tried(directory: Path) -> dict | None:
    """Returns the search log in a run's directory; None if there is none."""
    path = directory / TRIED
    return read_json(path) if path.exists() else None


def hold_out(source: Source, batch_size: int, otherwise: str = "use `Quantize`") -> tuple[Source, Source]:
    """Splits the training images into those to fit on and the last ones to measure on.

    Held-out images are consecutive, because neighbouring images of a video are similar.

    Args:
        source: The training images.
        batch_size: How many are needed to fit on.
        otherwise: What to do where there are too few.

    Raises:
        ValueError: if fewer than a batch are left to train on.
    """
    few = min(_LEAST_HELD_OUT, len(source) // 4)
    count = min(max(round(_HELD_OUT * len(source)), few, 1), _MOST_HELD_OUT)
    left = len(source) - count
    if left < batch_size:
        raise ValueError(
            f"Of {len(source)} training images {count} are held out to measure on, which leaves {left}, "
            f"fewer than a batch of {batch_size}. Lower the `batch_size`, or {otherwise}."
        )
    return Subset(source, list(range(left))), Subset(source, list(range(left, len(source))))


def calibration_images(run: Run) -> np.ndarray:
    """Returns evenly spaced training images at the network's input size, (N, H, W, 3), uint8."""
    source = run.data.train
    resized = source.resized(tuple(run.data.size))
    return np.stack([resized(index)[0] for index in spread(len(source), _CALIBRATION_IMAGES)])


def _doublings(most: int) -> Iterator[int]:
    count = 1
    while count <= most:
        yield count
        count *= 2
