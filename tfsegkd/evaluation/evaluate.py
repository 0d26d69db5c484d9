"""How good a network is on a split."""

import collections
import dataclasses
import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfsegkd import metrics
from tfsegkd._keras import keras
from tfsegkd.data import Source, resize_image
from tfsegkd.distillation import Teacher
from tfsegkd.evaluation.predictor import Predictor
from tfsegkd.progress_bar import counted


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a network scores on a split.

    Args:
        mean_iou: Mean of `iou` over the classes that occur in labels or predictions, 0…1.
        pixel_accuracy: The share of valid pixels that are right, 0…1.
        iou: Intersection over union by class name; None for a class that never occurs.
        num_images: How many images it was measured on.
        confusion: Pixel counts, [label][prediction].
        blocks: Of each block of images that follow each other, by class: pixels of that label, pixels
            predicted so, and pixels of both, [block][3][class]. Empty unless asked for.
    """

    mean_iou: float
    pixel_accuracy: float
    iou: dict[str, float | None]
    num_images: int
    confusion: list[list[int]]
    blocks: list[list[list[int]]] = dataclasses.field(default_factory=list)

    def to_json(self) -> dict:
        return dataclasses.asdict(self)


def evaluate(
    network: keras.Model | str | os.PathLike,
    source: Source,
    batch_size: int = 8,
    frames_per_block: int | None = None,
) -> Evaluation:
    """Compares a network's predictions with every label of `source`, at the labels' own resolution.

    Images are resized to the network's input, its logits bilinearly to the label's size. One confusion
    matrix counts the pixels of all images, void left out.

    Args:
        network: A Keras model, or the path of a saved one or of a `.tflite`.
        source: The split.
        batch_size: Images run at once; it changes the speed, not the result.
        frames_per_block: How many images in the order of `source` make a block; unless given, blocks are not
            counted.

    Raises:
        ValueError: if the network's classes are not as many as the data set's.
    """
    predictor = network if isinstance(network, Predictor) else Predictor(network)
    options = {"batch_size": batch_size, "frames_per_block": frames_per_block}
    (found,) = _evaluations(predictor, lambda images: [predictor.logits(images)], source, **options)
    return found


def evaluate_members(
    teacher: Teacher, members: Sequence[str], source: Source, size: tuple[int, int], batch_size: int = 8
) -> tuple[Evaluation, dict[str, Evaluation]]:
    """Compares the mean of several teachers, and each of them, with every label of `source` in one go.

    Args:
        teacher: An ensemble, which may look through views.
        members: The names of the ensemble's members.
        source: The split.
        size: (height, width) at which a teacher that takes any size sees the images.
        batch_size: Images run at once.

    Raises:
        ValueError: if the teacher's classes are not as many as the data set's.
    """
    predictor = Predictor(teacher, size)
    layers = ["logits", *(f"{member}/logits" for member in members)]
    run = tf.function(teacher.feature_extractor(layers), reduce_retracing=True)

    def logits(images):
        shown = run(tf.convert_to_tensor(images, tf.float32))
        return [shown[layer].numpy() for layer in layers]

    mean, *each = _evaluations(predictor, logits, source, batch_size, None)
    return mean, dict(zip(members, each, strict=True))


def _evaluations(
    predictor: Predictor,
    run: Callable[[np.ndarray], list[np.ndarray]],
    source: Source,
    batch_size: int,
    frames_per_block: int | None,
) -> list[Evaluation]:
    """What each of the logits that `run` makes of a batch scores."""
    info = source.info
    if predictor.num_classes != info.num_classes:
        raise ValueError(
            f"The network tells {predictor.num_classes} classes apart and data set {info.name!r} has "
            f"{info.num_classes}: {list(info.class_names)}. Evaluate it on the data set it was trained for."
        )
    per_block = frames_per_block or max(len(source), 1)
    shape = (-(-len(source) // per_block), info.num_classes, info.num_classes)
    counts = collections.defaultdict(lambda: np.zeros(shape, np.int64))
    for start in counted(range(0, len(source), batch_size), "evaluation"):
        examples = [source[index] for index in range(start, min(start + batch_size, len(source)))]
        images = np.stack([resize_image(image, predictor.size) for image, _ in examples])
        for place, made in enumerate(run(images)):
            for index, (logits, (_, mask)) in enumerate(zip(made, examples, strict=True), start):
                prediction = metrics.labels_at(logits, mask.shape)
                counts[place][index // per_block] += metrics.confusion_matrix(
                    mask, prediction, info.num_classes, info.ignore_label
                )
    return [_evaluation(blocks, source, bool(frames_per_block)) for blocks in counts.values()]


def _evaluation(counts: np.ndarray, source: Source, with_blocks: bool) -> Evaluation:
    """The scores of confusion matrices by block, (blocks, C, C)."""
    confusion = counts.sum(0)
    iou = metrics.iou(confusion)
    return Evaluation(
        mean_iou=float(metrics.mean_iou(confusion)),
        pixel_accuracy=float(metrics.pixel_accuracy(confusion)),
        iou={
            name: None if np.isnan(value) else float(value)
            for name, value in zip(source.info.class_names, iou, strict=True)
        },
        num_images=len(source),
        confusion=confusion.tolist(),
        blocks=[[c.sum(1).tolist(), c.sum(0).tolist(), c.diagonal().tolist()] for c in counts]
        if with_blocks
        else [],
    )
