"""What a step of distillation costs beyond its two networks, and what it costs with Keras' own Distiller."""

import statistics
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from benchmarks.interleaved import Seconds, interleaved, ratio
from benchmarks.rows import Column, Row, table
from benchmarks.two_keras import FEATURE, network
from tfsegkd import _keras, models
from tfsegkd._keras import keras
from tfsegkd.distillation import Distiller, Teacher, load_teacher, parse_terms
from tfsegkd.losses import SegmentationLoss
from tfsegkd.metrics import MeanIoU

TEACHER, STUDENT = "deeplab_v3_plus(weights=None)", "mobile_unet"
LOGITS = ("pixelwise",)
FEATURES = ("hint@stride8:stride8", "hint@stride16:stride16", "attention@decoder:decoder")
_NUM_CLASSES, _IGNORE = 11, 255
_TEMPERATURE = 3.0
_COLUMNS = (
    Column("a step of", "step"),
    Column("over"),
    Column("ms", "milliseconds", "{:,.0f}"),
    Column("ratio", form="{:,.2f}"),
    Column("of processor time", "cpu_ratio", "{:,.2f}"),
    Column("target", form="≤ {:.2f}"),
)
_WITHOUT_AND_WITH_XLA = ("", " with XLA")


def run(
    size: tuple[int, int] = (192, 256),
    batch_size: int = 8,
    rounds: int = 20,
    teacher: str = TEACHER,
    student: str = STUDENT,
    features: Sequence[str] = FEATURES,
    xla: bool = True,
) -> list[Row]:
    """Times steps of all kinds in turn, and prints a table.

    Without Keras 3.12 or later, which has a Distiller, its rows are left out.

    Args:
        size: (height, width) of the images.
        batch_size: Images a step.
        rounds: How often each step is timed.
        teacher, student: Specs of the networks of the first half.
        features: Specs of its three feature terms.
        xla: Whether to time Keras' Distiller with XLA as well, which is its default.

    Returns:
        A row for each step: what was timed (`step`), what its time is divided by (`over`), medians over the
        rounds of its `milliseconds` and of the `ratio`, by the clock on the wall, the `cpu_ratio` of the
        processors' time, and what the ratio should not exceed (`target`), or None.
    """
    batch = _random_batch(size, batch_size)
    cases = _ours(teacher, student, features, batch) | _pair(batch) | _theirs(batch, xla)
    rows = _rows(interleaved(cases, rounds))
    print(table(_COLUMNS, rows, words=2))
    return rows


def _random_batch(size, batch_size):
    random = np.random.default_rng(0)
    images = random.uniform(0, 255, (batch_size, *size, 3)).astype("float32")
    masks = random.integers(0, _NUM_CLASSES, (batch_size, *size), "int32")
    masks[:, : size[0] // 8] = _IGNORE
    return tf.constant(images), tf.constant(masks)


def _ours(teacher: str, student: str, features: Sequence[str], batch) -> dict[str, Callable]:
    """Our reference networks: every way to train the student, and the teacher by itself."""
    shape = batch[0].shape[1:]
    teacher = models.build(teacher, _NUM_CLASSES, shape)
    recorded = Recorded(load_teacher(teacher), batch[0], [*features, *LOGITS])

    def distilled(teacher, specs):
        return Distiller(teacher, models.build(student, _NUM_CLASSES, shape), parse_terms(specs))

    def cached(specs):
        distiller = distilled(recorded, specs)
        layers = {term.layers[0] for term in distiller.terms}
        shown = {layer: recorded.shown[layer] for layer in layers}
        return _step(distiller, ({"images": batch[0], "teacher": shown}, batch[1]))

    return {
        "student": _step(models.build(student, _NUM_CLASSES, shape), batch),
        "teacher": _forward(teacher, batch),
        "logits": _step(distilled(teacher, LOGITS), batch),
        "three features": _step(distilled(teacher, features), batch),
        "logits, cached": cached(LOGITS),
        "three features, cached": cached(features),
    }


def _pair(batch) -> dict[str, Callable]:
    """The networks that both Kerases have, distilled by ours."""
    teacher, student = (_of_pair(keras, role, batch) for role in ("teacher", "student"))
    cases = {"our student": _step(student, batch, metrics=()), "our teacher": _forward(teacher, batch)}
    for name, spec in (
        ("logits", f"pixelwise(temperature={_TEMPERATURE})"),
        ("one feature", f"hint(normalize=False)@{FEATURE}:{FEATURE}"),
    ):
        distiller = Distiller(teacher, _of_pair(keras, "student", batch), parse_terms([spec]))
        cases[f"our {name}"] = _step(distiller, batch, metrics=())
    return cases


def _theirs(batch, xla: bool) -> dict[str, Callable]:
    """The same by keras.distillation, without XLA and with."""
    try:
        keras3 = _keras.keras3
        distillation = keras3.distillation
    except (ImportError, AttributeError):
        return {}
    teacher = _of_pair(keras3, "teacher", batch)
    losses = {
        "logits": distillation.LogitsDistillation(temperature=_TEMPERATURE),
        "one feature": distillation.FeatureDistillation(
            loss="mse", teacher_layer_name=FEATURE, student_layer_name=FEATURE
        ),
    }
    cases = {}
    for how in _WITHOUT_AND_WITH_XLA[: 1 + xla]:
        student = _of_pair(keras3, "student", batch)
        cases[f"Keras' student{how}"] = _their_step(keras3, student, batch, bool(how))
        cases[f"Keras' teacher{how}"] = _forward(teacher, batch, bool(how))
        for name, loss in losses.items():
            student = _of_pair(keras3, "student", batch)
            distiller = distillation.Distiller(teacher, student, distillation_losses=[loss])
            cases[f"Keras' {name}{how}"] = _their_step(keras3, distiller, batch, bool(how))
    return cases


def _of_pair(keras, role, batch):
    return network(keras, role, _NUM_CLASSES, tuple(batch[0].shape[1:]))


class Recorded(Teacher):
    """A teacher whose outputs were computed before, as those of a cache are.

    Args:
        teacher: What is recorded.
        images: Of which frames.
        specs: Of the terms that will be taught.
    """

    recorded = True

    def __init__(self, teacher: Teacher, images: tf.Tensor, specs: Sequence[str]):
        self.name = teacher.name
        self.shown = teacher.feature_extractor({term.layers[0] for term in parse_terms(specs)})(images)

    def shapes(self, names, image_shape):
        return {name: tuple(self.shown[name].shape[1:]) for name in names}


def _step(model, batch, metrics=None) -> Callable:
    """A step of `fit`."""
    if metrics is None:
        metrics = [MeanIoU(_NUM_CLASSES, _IGNORE)]
    model.compile(keras.optimizers.AdamW(1e-3), loss=SegmentationLoss(_IGNORE), metrics=list(metrics))
    return _repeated(model.make_train_function(), batch)


def _their_step(keras3, model, batch, xla) -> Callable:
    loss = keras3.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=_IGNORE)
    model.compile(keras3.optimizers.AdamW(1e-3), loss=loss, jit_compile=xla)
    model.make_train_function()
    return _repeated(model.train_function, batch)


def _forward(model, batch, xla=False) -> Callable:
    @tf.function(jit_compile=xla)
    def logits(images):
        return model(images, training=False)

    return _repeated(lambda iterator: logits(next(iterator)[0]), batch)


def _repeated(function, batch) -> Callable:
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    return lambda: function(batches)


def _rows(seconds: Mapping[str, Seconds]) -> list[Row]:
    def row(step, *over, target=None):
        parts = [seconds[name] for name in over]
        return {
            "step": step,
            "over": " + ".join(over),
            "milliseconds": 1000 * statistics.median(seconds[step].wall),
            "ratio": ratio(seconds[step].wall, *(part.wall for part in parts)),
            "cpu_ratio": ratio(seconds[step].cpu, *(part.cpu for part in parts)),
            "target": target,
        }

    rows = [
        row("logits", "student", "teacher", target=1.05),
        row("three features", "student", "teacher", target=1.1),
        row("logits, cached", "student", target=1.1),
        row("three features, cached", "student", target=1.1),
        row("our logits", "our student", "our teacher"),
        row("our one feature", "our student", "our teacher"),
    ]
    for how in _WITHOUT_AND_WITH_XLA:
        if f"Keras' student{how}" not in seconds:
            continue
        for name in ("logits", "one feature"):
            rows += [
                row(f"Keras' {name}{how}", f"Keras' student{how}", f"Keras' teacher{how}"),
                row(f"our {name}", f"Keras' {name}{how}", target=1.0),
            ]
    return rows
