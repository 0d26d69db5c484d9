"""Training of one network: batches, schedule, checkpoints and logs."""

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.atomic import keeps, read_json, write_json
from tfsegkd.data import Augmentation, Source, evaluation_batches, mixed_batches, training_batches
from tfsegkd.distillation import AverageWeights, Distiller, StopAtNaN, TeacherCache
from tfsegkd.losses import SegmentationLoss
from tfsegkd.metrics import MeanIoU
from tfsegkd.quantization.quantizers import LEARNED
from tfsegkd.recipe.monitor import Monitor
from tfsegkd.recipe.progress import Progress


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The schedule of a training: AdamW with linear warm-up and cosine decay to zero.

    Args:
        epochs: Passes over the training split.
        learning_rate: The peak learning rate.
        batch_size: Images per step.
        weight_decay: The weight decay of kernels; biases and BatchNorm have none.
        warmup_epochs: Epochs of linear warm-up.
        halve_at_nan: How often training may restore its last checkpoint and halve the learning rate when the
            loss is NaN or infinite; 0 stops.

    Example:
        recipe.Schedule(epochs=40, learning_rate=4e-3, batch_size=16).epochs  # 40
    """

    epochs: int
    learning_rate: float
    batch_size: int = 8
    weight_decay: float = 1e-4
    warmup_epochs: float = 1.0
    halve_at_nan: int = 0

    def __post_init__(self):
        checks.positive(self.epochs, "epochs")
        checks.positive(self.learning_rate, "learning_rate")
        checks.positive(self.batch_size, "batch_size")

    def optimizer(
        self, steps_per_epoch: int, factor: tf.Variable | float = 1.0
    ) -> keras.optimizers.Optimizer:
        """Returns the optimizer of a training; its learning rate is multiplied by `factor`."""
        total = self.epochs * steps_per_epoch
        warmup = min(int(self.warmup_epochs * steps_per_epoch), total - 1)
        rate = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if warmup else self.learning_rate,
            decay_steps=total - warmup,
            warmup_target=self.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
        optimizer = keras.optimizers.AdamW(_Multiplied(rate, factor), weight_decay=self.weight_decay)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", *LEARNED])
        return optimizer


class _Multiplied(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule times a factor, which may be a variable."""

    def __init__(self, schedule, factor):
        self._schedule, self._factor = schedule, factor

    def __call__(self, step):
        return self._schedule(step) * self._factor


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """The data of all trainings of a run.

    Args:
        train, val: The splits.
        size: (height, width) of the network's input, to which images are resized.
        crop_size: (height, width) of training crops; `size` if None.
        augmentation: The augmentation of training images.
        seed: Seed of initial weights, order and augmentation.
        class_weights: Class weights of the task loss; None for equal ones.
        validate_every: Epochs between validations during training; 0 for none.
        ema: Whether training validates and ends with the exponential moving average of the weights.
        histograms: Whether TensorBoard gets histograms of the activations.
        unlabelled: Images without masks, for which only the teacher's outputs are used; None for none.
        unlabelled_per_batch: The number of them that distillation adds to each batch.
        unlabelled_in_batch: Whether they replace labelled images of the batch instead, so that a step costs
            no more and labelled images are used less often.
        teacher_train: Labelled images on which the teacher is trained; `train` if None.
        rehearse: Replaces every training: called with the distiller, its schedule, its callbacks and a
            function that trains by another schedule with one more callback. None to train.

    Example:
        frames = recipe.TrainingData(train=source, val=source, size=(32, 48), seed=1)
    """

    train: Source
    val: Source
    size: tuple[int, int]
    crop_size: tuple[int, int] | None = None
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)
    seed: int = 0
    class_weights: tuple[float, ...] | None = None
    validate_every: int = 0
    ema: bool = False
    histograms: bool = False
    unlabelled: Source | None = None
    unlabelled_per_batch: int = 0
    unlabelled_in_batch: bool = False
    teacher_train: Source | None = None
    rehearse: Callable | None = None

    @property
    def training_shape(self) -> tuple[int, int, int]:
        return (*(self.crop_size or self.size), 3)

    def settings(self) -> dict:
        """Returns the settings that identify a run, as JSON."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for split in ("train", "val", "unlabelled", "teacher_train"):
            source = fields[split]
            fields[split] = source and {
                "dataset": source.info.name,
                "examples": len(source),
                "fingerprint": source.fingerprint(),
                "class_names": list(source.info.class_names),
            }
        fields["augmentation"] = dataclasses.asdict(self.augmentation)
        del fields["validate_every"], fields["histograms"], fields["rehearse"]
        # Left out by default, so that older runs can resume.
        for name in ("ema", "unlabelled_in_batch", "teacher_train"):
            if not fields[name]:
                del fields[name]
        return fields


@dataclasses.dataclass(frozen=True)
class Recorded:
    """Recorded teacher outputs.

    Args:
        train: For the training split.
        unlabelled: For the unlabelled images, if there are any.
    """

    train: TeacherCache
    unlabelled: TeacherCache | None = None


def train(
    distiller: Distiller,
    data: TrainingData,
    schedule: Schedule,
    directory: Path,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    recorded: Recorded | None = None,
    teacher_schedule: Schedule | None = None,
    until: int | None = None,
) -> None:
    """Trains `distiller.student` in place; resumes after an interruption.

    Args:
        distiller: The distiller, not yet compiled.
        data: The data.
        schedule: The schedule.
        directory: The directory of checkpoints (`progress/`), TensorBoard logs (`logs/`) and the mean IoU of
            each validation (`validation.json`).
        callbacks: Further Keras callbacks.
        recorded: Recorded teacher outputs; None if the teacher runs in each step.
        teacher_schedule: The schedule of the teacher of a `CoStudying`.
        until: The epoch after which to stop before the end of the schedule. A later call with a higher one
            resumes from there, also with more images.

    Raises:
        FloatingPointError: if a loss became NaN or infinite, and `schedule.halve_at_nan` is used up.
        OSError: if the disk is full.
        MemoryError: if a step does not fit into memory; the message suggests a batch size.
    """
    info = data.train.info
    steps = len(data.train) // schedule.batch_size
    factor = tf.Variable(1.0, trainable=False)
    options = {}
    if teacher_schedule:
        options["teacher_optimizer"] = teacher_schedule.optimizer(max(steps, 1), factor)
    distiller.compile(
        optimizer=schedule.optimizer(max(steps, 1), factor),
        loss=SegmentationLoss(info.ignore_label, data.class_weights),
        metrics=[MeanIoU(info.num_classes, info.ignore_label)] if data.train.labelled else [],
        **options,
    )
    others, averages = {"rate_factor": factor}, []
    if data.ema:
        averages = [AverageWeights(distiller.student)]
        others["average"] = averages[0].state
    progress = Progress(directory / "progress", distiller, **others)
    start = progress.restore()
    # With other images than before an epoch has another number of steps, and the schedule counts steps.
    distiller.optimizer.iterations.assign(start * max(steps, 1))
    until = min(until or schedule.epochs, schedule.epochs)
    if data.rehearse:

        def fit(shorter, callback):
            watching = [*callbacks, callback]
            end = shorter.epochs
            _fit(distiller, data, shorter, end, directory, watching, recorded, progress, start, averages)

        data.rehearse(distiller, dataclasses.replace(schedule, epochs=until), list(callbacks), fit)
        return
    if start:
        print(f"  resuming after epoch {start} of {until}", flush=True)
    else:
        progress.save(0)
    while True:
        try:
            _fit(distiller, data, schedule, until, directory, callbacks, recorded, progress, start, averages)
            for average in averages:
                average.apply()
            return
        except tf.errors.ResourceExhaustedError as error:
            batches = _batches(data, schedule, start, recorded, mixed=bool(distiller.terms))
            raise MemoryError(_advice(distiller, schedule.batch_size, next(iter(batches)))) from error
        except FloatingPointError as error:
            if factor <= 0.5**schedule.halve_at_nan:
                raise
            lower = float(factor) / 2  # the checkpoint contains the factor of its time
            start = progress.restore()
            factor.assign(lower)
            print(
                f"  {error}\n  going back to epoch {start}, at {lower:g} of the learning rate",
                flush=True,
            )


def _fit(distiller, data, schedule, until, directory, callbacks, recorded, progress, start, averages):
    # A network trained on crops is validated at crop size; the stage evaluates full images at the end.
    size = data.training_shape[:2]
    batches = _batches(data, schedule, start, recorded, mixed=bool(distiller.terms))
    validation = {}
    if data.validate_every:
        validation = {
            "validation_data": evaluation_batches(data.val, size, schedule.batch_size),
            "validation_freq": data.validate_every,
        }
    distiller.fit(
        batches,
        initial_epoch=start,
        epochs=until,
        steps_per_epoch=len(data.train) // schedule.batch_size,
        verbose=1 if sys.stdout.isatty() else 0,
        callbacks=[
            *callbacks,
            *_logs(directory / "logs", data),
            StopAtNaN(),
            *averages,  # of whole steps only
            _NoteValidation(_validations(directory), restarted=not start),
            _Keep(progress),
            _Eta(until),
        ],
        **validation,
    )


def _advice(distiller, batch_size, batch):
    """Returns the error for a step that does not fit into memory."""
    fitting = batch_size // 2
    while fitting:
        some = tf.nest.map_structure(lambda values: values[:fitting], batch)  # noqa: B023 - called here
        try:
            distiller.train_on_batch(*some)
            break
        except tf.errors.ResourceExhaustedError:
            fitting //= 2
    fix = f"`batch_size={fitting}` fits" if fitting else "not even one image fits: use a smaller `input_size`"
    return (
        f"A step with {batch_size} images does not fit into memory; {fix}. Finished stages are kept. Use "
        f"another `output_dir` for the new setting; the teacher.keras of this one can be its `teacher`."
    )


def _logs(directory, data):
    """Returns the TensorBoard callbacks; only the chief writes files."""
    # All workers evaluate, because metrics are means over all of them.
    monitor = Monitor(directory / "monitor" if keeps() else None, data.val, data.histograms)
    board = keras.callbacks.TensorBoard(str(directory), write_graph=False, profile_batch=0)
    return [monitor, board] if keeps() else [monitor]


def best_validation(directory: Path) -> dict[str, float | int | None]:
    """Returns the best validation during training in `directory`, for the report; None without any.

    It was measured at the size of training, and selected on the same images.
    """
    path = _validations(directory)
    found = read_json(path) if path.exists() else {}
    epoch = max(found, key=found.get, default=None)
    return {"best_val_mean_iou": found.get(epoch), "best_epoch": epoch and int(epoch)}


def _validations(directory):
    return directory / "validation.json"


def _batches(data, schedule, start, recorded, mixed):
    mixed = bool(mixed and data.unlabelled)
    taken = data.unlabelled_per_batch if mixed and data.unlabelled_in_batch else 0
    steps_done = start * (len(data.train) // schedule.batch_size)

    def stream(source, count, seed, maps):
        # Their epochs have other lengths, so the position is counted in steps.
        epoch, step = divmod(steps_done, len(source) // count)
        return training_batches(
            source,
            data.size,
            count,
            crop_size=data.training_shape[:2],
            augmentation=data.augmentation,
            seed=seed,
            start_epoch=epoch,
            start_step=step,
            maps=maps,
        )

    maps = (recorded.train, recorded.unlabelled) if recorded else (None, None)
    batches = stream(data.train, schedule.batch_size - taken, data.seed, maps[0])
    if not mixed:
        return batches
    # Another seed, or example k of both would have the same augmentation.
    return mixed_batches(batches, stream(data.unlabelled, data.unlabelled_per_batch, data.seed + 1, maps[1]))


class _NoteValidation(keras.callbacks.Callback):
    """Saves the mean IoU of every validation by epoch, across interruptions."""

    def __init__(self, path, restarted):
        super().__init__()
        self._path = path
        if restarted:
            path.unlink(missing_ok=True)

    def on_epoch_end(self, epoch, logs=None):
        value = (logs or {}).get("val_mean_iou", math.nan)
        if math.isfinite(value):
            found = read_json(self._path) if self._path.exists() else {}
            write_json(self._path, {**found, str(epoch + 1): float(value)})


class _Keep(keras.callbacks.Callback):
    """Saves a checkpoint after every epoch."""

    def __init__(self, progress):
        super().__init__()
        self._progress = progress

    def on_epoch_end(self, epoch, logs=None):
        self._progress.save(epoch + 1)


class _Eta(keras.callbacks.Callback):
    """Prints a line per epoch, with the remaining time of the stage."""

    def __init__(self, epochs):
        super().__init__()
        self._epochs = epochs

    def on_train_begin(self, logs=None):
        self._began, self._first = time.monotonic(), None

    def on_epoch_begin(self, epoch, logs=None):
        self._first = epoch if self._first is None else self._first

    def on_epoch_end(self, epoch, logs=None):
        done = epoch + 1 - self._first
        left = (time.monotonic() - self._began) / done * (self._epochs - epoch - 1)
        values = "  ".join(f"{name} {value:.4f}" for name, value in (logs or {}).items())
        print(f"  epoch {epoch + 1}/{self._epochs}  {values}  {left / 60:.0f} min left", flush=True)
