"""What a recipe consists of: each stage makes one network from those before it."""

import dataclasses
import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.data import NO_AUGMENTATION, training_batches
from tfsegkd.distillation import Distiller, Term, parse_terms
from tfsegkd.quantization import FreezeBatchNorm, quantize
from tfsegkd.recipe.training import Frames, Schedule, train


class Run:
    """A recipe while it runs: its directory and what the stages before have left there.

    Args:
        directory: The run's directory.
        frames: What all trainings see.
    """

    def __init__(self, directory: Path, frames: Frames):
        self.directory = directory
        self.frames = frames

    def find(self, *files: str) -> Path:
        """The first of `files` that a stage has left.

        Raises:
            FileNotFoundError: if there is none.
        """
        for file in files:
            if (self.directory / file).exists():
                return self.directory / file
        raise FileNotFoundError(
            f"None of {list(files)} is in {str(self.directory)!r}, and a later stage needs it. Add the stage "
            f"that makes it to --stages, or use the --output_dir of the run that has it."
        )

    def load(self, *files: str) -> keras.Model:
        """The network in the first of `files` that exists, at the size of training."""
        return models.at_size(models.load(self.find(*files)), self.frames.training_shape[:2])


@dataclasses.dataclass(frozen=True)
class Teacher:
    """Trains the teacher, or takes a trained one.

    Args:
        model: The spec of a network to train, or the path of a saved one.
        schedule: How to train it; not needed for a path.
    """

    model: str
    schedule: Schedule | None = None
    name = "teacher"
    artefact = "teacher.keras"

    def settings(self) -> dict:
        if _is_path(self.model):
            return {"model": self.model, "sha256": _fingerprint(self.model)}
        return {"model": self.model, "schedule": dataclasses.asdict(self.schedule)}

    def make(self, run: Run) -> keras.Model:
        if _is_path(self.model):
            return models.at_size(models.load(self.model), run.frames.size)
        return _train_from_scratch(self.model, self.schedule, run, self.name)


@dataclasses.dataclass(frozen=True)
class StudentAlone:
    """Trains the student on the labels alone: what distillation has to beat.

    Args:
        model: The spec of the network.
        schedule: How to train it.
    """

    model: str
    schedule: Schedule
    name = "student_alone"
    artefact = "student_alone.keras"

    def settings(self) -> dict:
        return {"model": self.model, "schedule": dataclasses.asdict(self.schedule)}

    def make(self, run: Run) -> keras.Model:
        return _train_from_scratch(self.model, self.schedule, run, self.name)


@dataclasses.dataclass(frozen=True)
class Distill:
    """Trains the student on the labels and on the teacher, from the same initial weights as alone.

    Args:
        model: The spec of the network.
        schedule: How to train it.
        distill: Specs of the terms, such as `('pixelwise(temperature=4)*0.5',)`.
        task_weight: The factor of the task loss.
    """

    model: str
    schedule: Schedule
    distill: Sequence[str]
    task_weight: float = 1.0
    name = "student"
    artefact = "student.keras"

    def settings(self) -> dict:
        return dataclasses.asdict(self)

    def make(self, run: Run) -> keras.Model:
        teacher = run.load(Teacher.artefact)
        return _train_from_scratch(
            self.model, self.schedule, run, self.name, teacher, parse_terms(self.distill), self.task_weight
        )


@dataclasses.dataclass(frozen=True)
class Quantize:
    """Fine-tunes the student while it computes in 8 bits, still with the teacher's help.

    Args:
        schedule: How to train it. In the last third BatchNorm is frozen.
        distill: Specs of the terms, of which those on the logits are used; none for the labels alone. Terms
            on features are left out: their adapters would begin anew and pull a trained student astray.
        task_weight: The factor of the task loss.
    """

    schedule: Schedule
    distill: Sequence[str] = ()
    task_weight: float = 1.0
    name = "student_qat"
    artefact = "student_qat.keras"

    def settings(self) -> dict:
        return dataclasses.asdict(self)

    def make(self, run: Run) -> keras.Model:
        frames = run.frames
        keras.utils.set_random_seed(frames.seed)
        student = run.load(Distill.artefact, StudentAlone.artefact)
        calm = training_batches(
            frames.train,
            frames.size,
            self.schedule.batch_size,
            crop_size=frames.training_shape[:2],
            augmentation=NO_AUGMENTATION,
            seed=frames.seed,
        )
        quantized = quantize(student, (images for images, _ in itertools.islice(calm, 8)))
        terms = [term for term in parse_terms(self.distill) if term.at is None]
        teacher = run.load(Teacher.artefact) if terms else None
        distiller = _distiller(teacher, quantized, terms, self.task_weight, frames)
        freeze = FreezeBatchNorm(at_epoch=self.schedule.epochs * 2 // 3)
        train(distiller, frames, self.schedule, run.directory / self.name, [freeze])
        if frames.training_shape[:2] == tuple(frames.size):
            return quantized
        full = quantize(models.at_size(student, frames.size))
        full.set_weights(quantized.get_weights())
        return full


def _train_from_scratch(
    spec: str,
    schedule: Schedule,
    run: Run,
    name: str,
    teacher: keras.Model | None = None,
    terms: Sequence[Term] = (),
    task_weight: float = 1.0,
) -> keras.Model:
    frames = run.frames
    # Alone and distilled students start from the same weights.
    keras.utils.set_random_seed(frames.seed)
    network = models.build(spec, frames.train.info.num_classes, frames.training_shape)
    distiller = _distiller(teacher, network, terms, task_weight, frames)
    train(distiller, frames, schedule, run.directory / name)
    return models.at_size(network, frames.size)


def _distiller(teacher, student, terms, task_weight, frames):
    return Distiller(teacher, student, terms, task_weight, frames.train.info.ignore_label)


def _is_path(model: str) -> bool:
    return Path(model).suffix in (".keras", ".h5") or Path(model).is_dir()


def _fingerprint(path: str) -> str:
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"No teacher at {path!r}. Expected a .keras or .h5 file.")
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
