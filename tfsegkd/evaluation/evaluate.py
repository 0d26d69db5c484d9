"""Evaluation of a network on a split."""

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
    """The scores of a network on a split.

    Args:
        mean_iou: The mean of `iou` over the classes that occur in labels or predictions, 0…1.
        pixel_accuracy: The share of correct valid pixels, 0…1.
        iou: Intersection over union by class name; None for absent classes.
        num_images: The number of images.
        confusion: Pixel counts, [label][prediction].
        blocks: For each block of consecutive images, by class: labelled pixels, predicted pixels, and correct
            pixels, [block][3][class]. Empty unless requested.

    Example:
        result = evaluation.evaluate(student, source)
        0 <= result.pixel_accuracy <= 1, result.num_images  # (True, 8)
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
    """Evaluates a network on all images of a split, at the resolution of the labels.

    Images are resized to the network's input size, and its logits bilinearly to the size of the labels. One
    confusion matrix counts the valid pixels of all images.

    Args:
        network: A Keras model, or the path of a saved one or of a `.tflite`.
        source: The split.
        batch_size: Images per batch; affects the speed only.
        frames_per_block: The number of consecutive images in a block; None counts no blocks.

    Returns:
        Scores and the confusion matrix that they come from.

    Raises:
        ValueError: if the network has another number of classes than the data set, or the split has no
            labels.

    Example:
        result = evaluation.evaluate(student, source)
        result.mean_iou, result.iou["road"]
    """
    predictor = network if isinstance(network, Predictor) else Predictor(network)
    options = {"batch_size": batch_size, "frames_per_block": frames_per_block}
    (found,) = _evaluations(predictor, lambda images: [predictor.logits(images)], source, **options)
    return found


def evaluate_members(
    teacher: Teacher, members: Sequence[str], source: Source, size: tuple[int, int], batch_size: int = 8
) -> tuple[Evaluation, dict[str, Evaluation]]:
    """Evaluates an ensemble and each of its members on a split, together.

    Args:
        teacher: An ensemble, also with test-time augmentation.
        members: The names of its members.
        source: The split.
        size: (height, width) of the images for a teacher of any size.
        batch_size: Images per batch.

    Raises:
        ValueError: if the teacher has another number of classes than the data set, or the split has no
            labels.
    """
    predictor = Predictor(teacher, size)
    layers = ["logits", *(f"{member}/logits" for member in members)]
    run = tf.function(teacher.feature_extractor(layers), reduce_retracing=True)

    def logits(images):
        outputs = run(tf.convert_to_tensor(images, tf.float32))
        return [outputs[layer].numpy() for layer in layers]

    mean, *each = _evaluations(predictor, logits, source, batch_size, None)
    return mean, dict(zip(members, each, strict=True))


def _evaluations(
    predictor: Predictor,
    run: Callable[[np.ndarray], list[np.ndarray]],
    source: Source,
    batch_size: int,
    frames_per_block: int | None,
) -> list[Evaluation]:
    """Returns the scores of each of the logits that `run` computes."""
    info = source.info
    if not source.labelled:
        raise ValueError(
            f"Networks are evaluated on images with labels. Received: {len(source)} images of data set "
            f"{info.name!r}, which has none. Name a data set with labels."
        )
    if predictor.num_classes != info.num_classes:
        raise ValueError(
            f"The network predicts {predictor.num_classes} classes and data set {info.name!r} has "
            f"{info.num_classes}: {list(info.class_names)}. Evaluate it on the data set it was trained for."
        )
    per_block = frames_per_block or max(len(source), 1)
    shape = (-(-len(source) // per_block), info.num_classes, info.num_classes)
    counts = collections.defaultdict(lambda: np.zeros(shape, np.int64))
    for start in counted(range(0, len(source), batch_size), "evaluation"):
        examples = [source[index] for index in range(start, min(start + batch_size, len(source)))]
        images = np.stack([resize_image(image, predictor.size) for image, _ in examples])
        for number, predictions in enumerate(run(images)):
            for index, (logits, (_, mask)) in enumerate(zip(predictions, examples, strict=True), start):
                prediction = metrics.labels_at(logits, mask.shape)
                counts[number][index // per_block] += metrics.confusion_matrix(
                    mask, prediction, info.num_classes, info.ignore_label
                )
    return [_evaluation(blocks, source, bool(frames_per_block)) for blocks in counts.values()]


def _evaluation(counts: np.ndarray, source: Source, with_blocks: bool) -> Evaluation:
    """Returns the scores of confusion matrices by block, (blocks, C, C)."""
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
