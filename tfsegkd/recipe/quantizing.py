"""The quantize stage: quantization-aware training in 8, 4 or 2 bits."""

import dataclasses
import itertools
from collections.abc import Sequence

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.distillation import Distiller, Term, parse_terms
from tfsegkd.distillation import Teacher as LoadedTeacher
from tfsegkd.grouping import as_dense, regroup, written_dense
from tfsegkd.pruning import KeepZeros
from tfsegkd.quantization import FreezeBatchNorm, FreezeRanges, Precision, quantize
from tfsegkd.recipe.stages import (
    STUDENTS,
    Reads,
    Rehearsal,
    Run,
    cache_key,
    check_task,
    teacher_of,
    without_masks,
)
from tfsegkd.recipe.training import Recorded, Schedule, train

_CALIBRATION_BATCHES = 8


class QuantizedStudent:
    """The base class of stages that quantize the student.

    They use the run's grouped student, or else the pruned, the distilled, or the one trained alone. Grouped
    convolutions are trained in their dense form.
    """

    name = "student_qat"
    artefact = "student_qat.keras"

    @property
    def reads(self) -> Reads:
        return (STUDENTS, *teacher_of(on_logits(self.distill)))

    def make(self, run: Run) -> keras.Model:
        run = without_masks(run, self.task_weight)
        data = run.data
        keras.utils.set_random_seed(data.seed)
        student = as_dense(run.load(*STUDENTS))
        unaugmented = run.unaugmented_batches(self.schedule.batch_size)
        images = (images for images, _ in itertools.islice(unaugmented, _CALIBRATION_BATCHES))
        precision = dataclasses.asdict(self.precision)
        quantized = quantize(student, **precision, calibration=images)
        # Statistics that still change in the last third would differ from those in the file.
        at_epoch = self.schedule.epochs * 2 // 3
        self.train(run, student, quantized, [FreezeBatchNorm(at_epoch), FreezeRanges(at_epoch), KeepZeros()])
        if data.training_shape[:2] != tuple(data.size):
            weights = quantized.get_weights()
            quantized = quantize(models.at_size(student, data.size), **precision)
            quantized.set_weights(weights)
        return regroup(quantized) if written_dense(quantized) else quantized

    def train(
        self,
        run: Run,
        student: keras.Model,
        quantized: keras.Model,
        callbacks: list[keras.callbacks.Callback],
    ) -> None:
        """Trains `quantized`, the quantized `student`, in place."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Quantize(QuantizedStudent):
    """Fine-tunes the student with quantization-aware training and distillation.

    Args:
        schedule: The schedule. In the last third BatchNorm and the ranges of activations are frozen.
        distill: Specs of the terms; none for labels alone. Terms on features are ignored, because their new
            adapters would harm a trained student.
        task_weight: The factor of the task loss.
        cache: As for `Distill`.
        precision: The bits and the quantizer.
        balanced_terms: As for `Distill`.

    Example:
        stage = recipe.Quantize(recipe.Schedule(epochs=6, learning_rate=1e-4), distill=["pixelwise"])
    """

    schedule: Schedule
    distill: Sequence[str] = ()
    task_weight: float = 1.0
    cache: str | None = None
    precision: Precision = dataclasses.field(default_factory=Precision)
    balanced_terms: bool = False

    def __post_init__(self):
        check_task(on_logits(self.distill), self.task_weight, self.balanced_terms)

    def settings(self) -> dict:
        return cache_key(self)

    def rehearsal(self, cache: str) -> Rehearsal:
        stage = dataclasses.replace(self, cache=self.cache and cache)
        return Rehearsal(stage.make, records=self.cache)

    def train(self, run, student, quantized, callbacks) -> None:
        terms = on_logits(self.distill)
        teacher, recorded = self.teacher(run, terms)
        ignore = run.data.train.info.ignore_label
        distiller = Distiller(
            teacher,
            quantized,
            terms,
            task_weight=self.task_weight,
            ignore_label=ignore,
            balance=self.balanced_terms,
        )
        train(distiller, run.data, self.schedule, run.directory / self.name, callbacks, recorded)

    def teacher(self, run: Run, terms: Sequence[Term]) -> tuple[LoadedTeacher | None, Recorded | None]:
        """Returns the teacher for `terms`, or its recorded outputs."""
        return run.teacher(terms, self.cache)


def on_logits(distill: Sequence[str]) -> list[Term]:
    """Returns the terms of the specs that are on the logits."""
    return [term for term in parse_terms(distill) if term.at is None]
