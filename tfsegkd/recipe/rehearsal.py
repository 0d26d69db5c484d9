"""Rehearsal of a run: its stages for a few steps in a temporary directory, to estimate time and memory."""

import contextlib
import dataclasses
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import tensorflow as tf

from tfsegkd import export, models
from tfsegkd._keras import keras
from tfsegkd.data import Source
from tfsegkd.data.statistics import Subset
from tfsegkd.deprecation import renamed_arguments
from tfsegkd.distillation import CoStudying, Distiller, KerasTeacher
from tfsegkd.evaluation import Predictor, evaluate
from tfsegkd.graph import cost
from tfsegkd.posix import peak_memory
from tfsegkd.recipe.dry_run import Plan, PlannedStage, PlannedTraining
from tfsegkd.recipe.progress import resumable_randomness
from tfsegkd.recipe.quantizing import Quantize
from tfsegkd.recipe.recipe import Recipe, Stage
from tfsegkd.recipe.stages import PretrainedTeacher, Rehearsal, Run
from tfsegkd.recipe.state import State, progress_directory
from tfsegkd.recipe.training import Schedule, TrainingData

_MEASURED_IMAGES = 8
# Two epochs, so that the end of the second one does not include tracing.
_EPOCHS = 2


@renamed_arguments(frames="data")
def plan(recipe: Recipe, output_dir: str | Path, data: TrainingData, timed_steps: int = 3) -> Plan:
    """Plans a run without training and without writing to its directory.

    Every unfinished stage runs in a temporary directory on a few images: it fails here as it would in the
    run, and networks and steps are the real ones. Checks of quality are left out: the check before
    distillation, and the importance scores of pruning.

    Args:
        recipe: The stages.
        output_dir: The directory of the run, which need not exist.
        data: The data of its trainings.
        timed_steps: The number of steps of each training to time; 0 only builds the networks.

    Returns:
        What would be done; printed, it is a page.

    Raises:
        ValueError, FileNotFoundError: as the run would.

    Example:
        schedule = recipe.Schedule(epochs=1, learning_rate=1e-3, batch_size=4)
        steps = recipe.Recipe([recipe.StudentAlone("unet(width=2)", schedule)], export=False)
        frames = recipe.TrainingData(train=source, val=source, size=(32, 48))
        print(recipe.plan(steps, "mine", frames, timed_steps=0))
    """
    directory, before = Path(output_dir), 1024 * peak_memory()
    data = recipe.begin(directory, data).data
    state = State(directory)
    with tempfile.TemporaryDirectory(prefix="tfsegkd_plan_") as scratch:
        for path in directory.glob("*.keras"):
            (Path(scratch) / path.name).symlink_to(path.resolve())
        rehearsal = _Rehearsal(recipe, directory, Path(scratch), data=data, timed_steps=timed_steps)
        stages = [rehearsal.stage(stage, state) for stage in recipe.stages]
        if recipe.export:
            files = (*export.variants(recipe.output_stride), "labels.txt")
            reads = rehearsal.run.find(Quantize.artefact)
            if recipe.output_stride != 1:
                export.check_output_stride(models.load(reads), recipe.output_stride)
            stages.append(PlannedStage("export", (reads.name,), files))
    counts = len(data.train), len(data.val)
    return Plan(
        directory,
        counts,
        tuple(stages),
        timed_steps=timed_steps,
        memory_bytes=before,
        rehearsed_bytes=1024 * peak_memory(),
    )


def memory_of(distiller: Distiller, batch_size: int) -> int:
    """Estimates the additional memory of a training in bytes, by a rule of thumb.

    Each trained weight is stored four times: itself, its gradient, and two moments of AdamW. The outputs of
    all the student's layers are kept for the backward pass; of the teacher's at most half at once, unless it
    is trained, too. All are float32.
    """
    student = distiller.student
    trained = sum(int(tf.size(weight)) for weight in distiller.trainable_variables)
    kept, activations = cost(student).parameters, cost(student).activation_bytes
    if isinstance(distiller.teacher, KerasTeacher):
        teacher = cost(distiller.teacher.model)
        kept += teacher.parameters
        learns = isinstance(distiller, CoStudying)
        activations += teacher.activation_bytes if learns else teacher.activation_bytes // 2
    return 4 * (3 * trained + kept) + batch_size * activations


class _Rehearsal:
    """Runs the stages on few images in a temporary directory."""

    def __init__(self, recipe: Recipe, directory: Path, scratch: Path, data: TrainingData, timed_steps: int):
        self._directory, self._data, self._timed_steps = directory, data, timed_steps
        sizes = [schedule.batch_size for stage in recipe.stages for schedule in _schedules(stage)]
        count = max(sizes, default=1) * max(timed_steps, 1)
        few = dataclasses.replace(
            data,
            train=_first(data.train, count),
            val=_first(data.val, _MEASURED_IMAGES),
            unlabelled=data.unlabelled and _first(data.unlabelled, count),
            teacher_train=data.teacher_train and _first(data.teacher_train, count),
            validate_every=0,
        )
        pretrained = next((stage for stage in recipe.stages if isinstance(stage, PretrainedTeacher)), None)
        teacher_size = tuple(data.size) if recipe.search else None
        artefacts = [stage.artefact for stage in recipe.stages]
        self.run = _RehearsedRun(scratch, few, pretrained, recipe.workers, teacher_size, artefacts=artefacts)
        self._recorded: set[str] = set()

    def stage(self, stage: Stage, state: State) -> PlannedStage:
        artefact = stage.artefact
        row = state.result(stage.name, {**self._data.settings(), **stage.settings()})
        known = tuple(dict.fromkeys(_files_named(stage)))
        if row is not None and (artefact is None or (self._directory / artefact).exists()):
            if artefact is not None:
                self.run.check_read(state.read(stage.name), self._directory / artefact)
            macs, parameters = row.get("macs"), row.get("parameters")
            self._go_on_at(row.get("input_size", self._data.size))
            return PlannedStage(
                stage.name,
                known,
                _files(artefact),
                finished=True,
                network=artefact or "",
                parameters=parameters,
                macs=macs,
            )
        if artefact is None:
            seconds = self._measuring(stage.load(self.run.data.val.info, tuple(self._data.size)))
            return PlannedStage(stage.name, known, (), other_seconds=seconds)
        return self._rehearsed(stage, known)

    def _rehearsed(self, stage: Stage, known: tuple[str, ...]) -> PlannedStage:
        rehearsal = _rehearsal_of(stage, self.run.directory / "cache")
        trial = _Trial(self._timed_steps, len(self._data.train), self._done(stage, rehearsal))
        self.run.begin(trial)
        began, quiet = time.monotonic(), contextlib.redirect_stdout(io.StringIO())
        with self.run.workers.in_scope(), resumable_randomness(), quiet:
            network = rehearsal.make(self.run)
        seconds = time.monotonic() - began - trial.seconds
        path = self.run.directory / stage.artefact
        path.unlink(missing_ok=True)  # otherwise its files would be written
        network.save(path)
        price = cost(network)
        self._go_on_at(network.input_shape[1:3])
        other = None
        if self._timed_steps:
            other = seconds + self._recording(rehearsal.records) + self._measuring(network)
        keras.backend.clear_session()
        return PlannedStage(
            stage.name,
            tuple(dict.fromkeys([*known, *(file for file, _ in self.run.read.values())])),
            _files(stage.artefact),
            finished=False,
            network=network.name,
            parameters=price.parameters,
            macs=price.macs,
            trainings=tuple(rehearsal.planned(trial.trainings)),
            other_seconds=other,
            note="\n          ".join(filter(None, [rehearsal.note, *self.run.notes])),
        )

    def _go_on_at(self, size) -> None:
        """Later stages see images at the size of the network that they get."""
        self._data = dataclasses.replace(self._data, size=tuple(size))
        self.run = self.run.at_size(size)

    def _done(self, stage: Stage, rehearsal: Rehearsal) -> int:
        """Returns the epochs that an interrupted run has finished, for stages with one training."""
        if rehearsal.trainings > 1:
            return 0
        kept = progress_directory(self._directory, stage.name).glob("epoch_*")
        return max((int(path.name.removeprefix("epoch_")) for path in kept), default=0)

    def _measuring(self, network) -> float | None:
        """Returns the seconds of an evaluation on all validation images."""
        if not self._timed_steps:
            return None
        predictor = Predictor(network, tuple(self._data.size))
        few = self.run.data.val
        with contextlib.redirect_stdout(io.StringIO()):
            evaluate(predictor, few, len(few))  # traces it
            began = time.monotonic()
            evaluate(predictor, few, len(few))
        return (time.monotonic() - began) / len(few) * len(self._data.val)

    def _recording(self, cache: str | None) -> float:
        """Returns the seconds of recording the teacher, an upper bound if some outputs are recorded."""
        if cache is None or cache in self._recorded or not self.run.image_seconds:
            return 0.0
        self._recorded.add(cache)
        count = len(self._data.train) + len(self._data.unlabelled or ())
        return count * sum(self.run.image_seconds)  # a search records for each input size


class _RehearsedRun(Run):
    """A run that records what a stage prints, and the time of a recorded teacher per image."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        # Lists, because a stage may use a copy of the run.
        self.notes: list[str] = []
        self.image_seconds: list[float] = []

    def begin(self, trial: "_Trial") -> None:
        """Begins a stage, whose trainings `trial` replaces."""
        self.read, self.notes, self.image_seconds = {}, [], []
        self.data = dataclasses.replace(self.data, rehearse=trial)

    def note(self, text):
        self.notes += [line.strip() for line in text.splitlines()]

    def teacher(self, terms, cache):
        if terms and cache and self.data.rehearse.timed_steps:
            teacher, _ = super().teacher(terms, None)
            self.image_seconds.append(_seconds_per_image(teacher, terms, self.data.size))
        return super().teacher(terms, cache)


def _seconds_per_image(teacher, terms, size) -> float:
    size = tuple(teacher.size or teacher.input_size or size)
    network = tf.function(teacher.feature_extractor(sorted({term.layers[0] for term in terms})))
    images = tf.zeros((_MEASURED_IMAGES, *size, 3))
    network(images)
    began = time.monotonic()
    tf.nest.map_structure(lambda tensor: tensor.numpy(), network(images))
    return 2 * (time.monotonic() - began) / _MEASURED_IMAGES  # the images and their mirror images


class _Trial:
    """Replaces each training: records its settings and times some steps."""

    def __init__(self, timed_steps: int, examples: int, done: int):
        self.timed_steps = timed_steps
        self.trainings: list[PlannedTraining] = []
        self.seconds = 0.0
        self._examples, self._done = examples, done

    def __call__(
        self,
        distiller: Distiller,
        schedule: Schedule,
        callbacks: list[keras.callbacks.Callback],
        fit: Callable[[Schedule, keras.callbacks.Callback], None],
    ) -> None:
        done = 0 if self.trainings else min(self._done, schedule.epochs)
        planned = PlannedTraining(
            schedule.epochs - done,
            done,
            self._examples // schedule.batch_size,
            memory_bytes=memory_of(distiller, schedule.batch_size),
        )
        if not self.timed_steps:
            # Callbacks may change the network before its first step.
            started = keras.callbacks.CallbackList(callbacks, model=distiller)
            started.on_train_begin()
            started.on_train_end()
        else:
            watch, began = _Watch(), time.monotonic()
            fit(dataclasses.replace(schedule, epochs=_EPOCHS), watch)
            self.seconds += time.monotonic() - began
            planned = dataclasses.replace(planned, **watch.times(began))
        self.trainings.append(planned)


class _Watch(keras.callbacks.Callback):
    """Records the end times of steps."""

    def on_train_begin(self, logs=None):
        self._ends: list[list[float]] = []

    def on_epoch_begin(self, epoch, logs=None):
        self._ends.append([time.monotonic()])

    def on_train_batch_end(self, batch, logs=None):
        self._ends[-1].append(time.monotonic())

    def times(self, began: float) -> dict[str, float]:
        """Returns the fields of a `PlannedTraining` when the training has ended."""
        first, *others = self._ends
        steps = [later - sooner for ends in (first[1:], *others) for sooner, later in pairwise(ends)]
        return {
            "first_seconds": first[1] - began,
            "step_seconds": statistics.median(steps),
            "epoch_seconds": time.monotonic() - others[-1][-1],
        }


def _rehearsal_of(stage: Stage, cache: Path) -> Rehearsal:
    """Returns what is made in place of a stage: the stage itself, unless it has a `rehearsal`."""
    return stage.rehearsal(str(cache)) if hasattr(stage, "rehearsal") else Rehearsal(stage.make)


def _schedules(stage: Stage) -> list[Schedule]:
    return [value for value in _values(stage) if isinstance(value, Schedule)]


def _values(stage: Stage) -> list:
    found = [getattr(stage, field.name) for field in dataclasses.fields(stage)]
    return [one for value in found for one in (value if isinstance(value, tuple) else (value,))]


def _files_named(stage: Stage) -> list[str]:
    """Returns the files among the settings of a stage, and those of the teachers that it names."""
    found = [value for value in _values(stage) if isinstance(value, str) and _is_file(value)]
    members = stage.members() if isinstance(stage, PretrainedTeacher) else []
    return found + [file for member in members for file in (member.teacher, *member.files())]


def _is_file(text: str) -> bool:
    return "(" not in text and Path(text).is_file()


def _files(artefact: str | None) -> tuple[str, ...]:
    return (artefact,) if artefact else ()


def _first(source: Source, count: int) -> Source:
    few = Subset(source, list(range(min(count, len(source)))))
    few.labelled = source.labelled
    return few
