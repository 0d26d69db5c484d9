"""One training: batches in, epochs done, progress kept."""

import contextvars
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

# What takes the place of trainings in a rehearsal: called with the distiller, its schedule, the callbacks,
# and what trains by another schedule with one more callback.
TRIAL: contextvars.ContextVar[Callable | None] = contextvars.ContextVar("trial", default=None)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    AdamW with linear warm-up and cosine decay to zero.

    Args:
        epochs: Passes over the training split.
        learning_rate: The highest learning rate.
        batch_size: Images a step.
        weight_decay: AdamW's decay of kernels; biases and BatchNorm are not decayed.
        warmup_epochs: Epochs of linear warm-up.
        halve_at_nan: How often a training whose loss became NaN or infinite may go back to its last
            checkpoint and go on at half the learning rate; 0 stops it there.
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
        """The optimizer of a training; its learning rate is multiplied by what `factor` is at each step."""
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
    """What all trainings of a run see.

    Args:
        train, val: The splits.
        size: (height, width) of the network's input, to which images are resized.
        crop_size: (height, width) of training crops; `size` if None.
        augmentation: How training images are varied.
        seed: Seed of initial weights, order and augmentation.
        class_weights: Weights of the task loss, or None for equal ones.
        validate_every: Epochs between validations while training; 0 for none.
        ema: Whether every training keeps the exponential moving average of the weights, validates with it and
            ends with it.
        histograms: Whether TensorBoard gets histograms of the activations.
        unlabelled: Frames without masks, of which only a teacher speaks; None for none.
        unlabelled_per_batch: How many of them distillation adds to each batch.
        unlabelled_in_batch: Whether they take places of labelled images in the batch instead, so that a step
            costs no more; a labelled frame is then seen less often in as many steps.
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

    @property
    def training_shape(self) -> tuple[int, int, int]:
        return (*(self.crop_size or self.size), 3)

    def settings(self) -> dict:
        """What tells one run from another, as JSON."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for split in ("train", "val", "unlabelled"):
            source = fields[split]
            fields[split] = source and {
                "dataset": source.info.name,
                "examples": len(source),
                "fingerprint": source.fingerprint(),
            }
        fields["augmentation"] = dataclasses.asdict(self.augmentation)
        del fields["validate_every"], fields["histograms"]
        # Without it a run is what it was before there was such a thing, and goes on.
        for name in ("ema", "unlabelled_in_batch"):
            if not fields[name]:
                del fields[name]
        return fields


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What a teacher says of the frames, from disk.

    Args:
        train: Of the training split.
        unlabelled: Of the unlabelled images, where there are any.
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
    """Trains `distiller.student` in place; called again after a kill, it goes on where it was.

    Args:
        distiller: Not yet compiled.
        frames: The examples.
        schedule: How long and how fast.
        directory: Where checkpoints (`progress/`), TensorBoard logs (`logs/`) and the mean IoU of each
            validation (`validation.json`) go.
        callbacks: Further Keras callbacks.
        recorded: What the teacher says of the frames, if it does not run itself.
        teacher_schedule: How long and how fast the teacher of a `CoStudying` trains.
        until: The epoch after which to stop before the schedule ends; called again with a later one, it goes
            on from there, if need be on more images than before.

    Raises:
        FloatingPointError: if a loss became NaN or infinite, and `schedule.halve_at_nan` is used up.
        OSError: if the disk cannot hold a checkpoint.
        MemoryError: if a step does not fit into memory; the message says which batch size does.
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
    rehearse = TRIAL.get()
    if rehearse:

        def fit(shorter, callback):
            watching = [*callbacks, callback]
            end = shorter.epochs
            _fit(distiller, data, shorter, end, directory, watching, recorded, progress, start, averages)

        rehearse(distiller, dataclasses.replace(schedule, epochs=until), list(callbacks), fit)
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
            lower = float(factor) / 2  # the checkpoint holds the factor of its time
            start = progress.restore()
            factor.assign(lower)
            print(
                f"  {error}\n  going back to epoch {start}, at {lower:g} of the learning rate",
                flush=True,
            )


def _fit(distiller, data, schedule, until, directory, callbacks, recorded, progress, start, averages):
    # A network trained on crops is validated on crop-sized images; the stage reports full ones at the end.
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
            _NoteValidation(_validations(directory), anew=not start),
            _Keep(progress),
            _Eta(until),
        ],
        **validation,
    )


def _advice(distiller, batch_size, batch):
    """What to do about a step that does not fit into memory."""
    fitting = batch_size // 2
    while fitting:
        some = tf.nest.map_structure(lambda values: values[:fitting], batch)  # noqa: B023 - called here
        try:
            distiller.train_on_batch(*some)
            break
        except tf.errors.ResourceExhaustedError:
            fitting //= 2
    cure = (
        f"`batch_size={fitting}` fits" if fitting else "not even one image fits: use a smaller `input_size`"
    )
    return f"A step with {batch_size} images does not fit into memory; {cure}. What is done so far is kept."


def _logs(directory, data):
    """What TensorBoard shows, written by the worker whose files are kept."""
    # All workers look, because what they look at is a mean over all of them.
    monitor = Monitor(directory / "monitor" if keeps() else None, data.val, data.histograms)
    board = keras.callbacks.TensorBoard(str(directory), write_graph=False, profile_batch=0)
    return [monitor, board] if keeps() else [monitor]


def best_validation(directory: Path) -> dict[str, float | int | None]:
    """The best of the validations while training in `directory`, as a report holds it; None without any.

    It was measured at the size of training, and picked on the images that it was measured on.
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
        # Their epochs are of other lengths, so the place to go on from is counted in steps.
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
    # Another seed, else example k of both would be varied alike.
    return mixed_batches(batches, stream(data.unlabelled, data.unlabelled_per_batch, data.seed + 1, maps[1]))


class _NoteValidation(keras.callbacks.Callback):
    """Keeps the mean IoU of every validation, by the epochs done, through interruptions."""

    def __init__(self, path, anew):
        super().__init__()
        self._path = path
        if anew:
            path.unlink(missing_ok=True)

    def on_epoch_end(self, epoch, logs=None):
        value = (logs or {}).get("val_mean_iou", math.nan)
        if math.isfinite(value):
            found = read_json(self._path) if self._path.exists() else {}
            write_json(self._path, {**found, str(epoch + 1): float(value)})


class _Keep(keras.callbacks.Callback):
    """Saves the progress after every epoch."""

    def __init__(self, progress):
        super().__init__()
        self._progress = progress

    def on_epoch_end(self, epoch, logs=None):
        self._progress.save(epoch + 1)


class _Eta(keras.callbacks.Callback):
    """Prints a line an epoch, with the time that the stage still needs."""

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
