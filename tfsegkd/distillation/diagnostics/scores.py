"""Scores of a network's outputs, and statistics of its weights."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from scipy.optimize import linear_sum_assignment

from tfsegkd import metrics

# Skill, from the random baseline (0) to a perfect mean IoU (1). Below the first a network is uninformed;
# below the second, too, if its cross-entropy is no better than that of a constant.
_NOTHING, _LITTLE = 0.02, 0.15
_LEAST_PROBABILITY = 1e-7
_IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_CAFFE_MEAN = (103.939, 116.779, 123.68)

# Common preprocessing other than RGB from 0 to 255, by the call that loads such a network.
PREPROCESSING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "load_teacher(model, normalize=(0, 255))": lambda images: images / 255,
    "load_teacher(model, normalize=(127.5, 127.5))": lambda images: images / 127.5 - 1,
    f"load_teacher(model, normalize={_IMAGENET})": lambda images: (
        (images - np.float32(_IMAGENET[0])) / np.float32(_IMAGENET[1])
    ),
    "load_teacher(lambda images: model(images[..., ::-1], training=False))": lambda images: images[..., ::-1],
    f"load_teacher(lambda images: model(images[..., ::-1] - {_CAFFE_MEAN}, training=False))": lambda images: (
        images[..., ::-1] - np.float32(_CAFFE_MEAN)
    ),
}


@dataclass(frozen=True)
class Score:
    """A score of predictions.

    Args:
        mean_iou: From 0 to 1.
        cross_entropy: In nats per pixel.
    """

    mean_iou: float
    cross_entropy: float

    def is_uninformed(self, random_baseline: "Score") -> bool:
        """Whether it is no better than `random_baseline`, the best score without the images."""
        skill = (self.mean_iou - random_baseline.mean_iou) / (1 - random_baseline.mean_iou)
        return skill < _NOTHING or (skill < _LITTLE and self.cross_entropy >= random_baseline.cross_entropy)

    def __str__(self):
        return f"mean IoU {self.mean_iou:.1%}, cross-entropy {self.cross_entropy:.2f}"


class Tally:
    """Accumulates the predictions of a network by class.

    Args:
        num_classes: C.

    Attributes:
        matrix: (C, C) pixel counts, [label, prediction].
        log_likelihood: (C, C) sums of log-probabilities over pixels, [label, channel]. From it the
            cross-entropy follows for any order of the channels.
    """

    def __init__(self, num_classes: int):
        self.matrix = np.zeros((num_classes, num_classes), np.int64)
        self.log_likelihood = np.zeros((num_classes, num_classes))

    def add(self, logits: np.ndarray, labels: np.ndarray) -> None:
        """Counts a batch.

        Shapes:
            logits: (N, H, W, C). labels: (N, H, W), −1 for pixels to ignore.
        """
        num_classes = len(self.matrix)
        for scores, mask in zip(logits, labels, strict=True):
            self.matrix += metrics.confusion_matrix(mask, scores.argmax(-1), num_classes, ignore_label=-1)
            # float64, because a float32 sum over a large frame loses digits.
            log_probability = tf.nn.log_softmax(tf.cast(scores[mask >= 0], tf.float64))
            self.log_likelihood += tf.math.unsorted_segment_sum(
                log_probability, mask[mask >= 0], num_classes
            ).numpy()

    @property
    def frequencies(self) -> np.ndarray:
        """The share of labelled pixels of each class, (C,)."""
        return self.matrix.sum(1) / max(self.matrix.sum(), 1)

    def score(self, order: np.ndarray | None = None) -> Score:
        """Returns the score if channel `order[k]` stands for class k."""
        order = np.arange(len(self.matrix)) if order is None else order
        right = self.log_likelihood[np.arange(len(order)), order].sum()
        return Score(metrics.mean_iou(self.matrix[:, order]), float(-right / max(self.matrix.sum(), 1)))

    def random_baseline(self) -> Score:
        """Returns the best score that is possible without looking at the images.

        Mean IoU: that of the most frequent class everywhere, or of random labels as frequent as this
        network's predictions, whichever is higher. Cross-entropy: that of the class frequencies, which is
        their entropy.
        """
        frequencies = self.frequencies
        always = np.eye(len(frequencies))[frequencies.argmax()]
        guesses = self.matrix.sum(0) / max(self.matrix.sum(), 1)
        present = frequencies[frequencies > 0]
        return Score(
            max(metrics.mean_iou(np.outer(frequencies, column)) for column in (always, guesses)),
            float(-np.sum(present * np.log(present))),
        )


def likely_order(matrix: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Estimates which channel stands for which class: the order with the highest mean IoU.

    Shapes:
        matrix: (C, C), [label, prediction].

    Returns:
        `order`, (C,), the channel of each class; and the pairs (class, channel) that are clearly
        swapped.
    """
    matrix = np.asarray(matrix, np.float64)
    union = matrix.sum(1)[:, None] + matrix.sum(0)[None] - matrix
    overlap = np.divide(matrix, union, out=np.zeros_like(matrix), where=union > 0)
    # A small bonus for the given order, for classes without pixels.
    _, order = linear_sum_assignment(overlap + 1e-6 * np.eye(len(matrix)), maximize=True)
    moved = [
        (label, int(channel))
        for label, channel in enumerate(order)
        if overlap[label, channel] > max(0.2, 2 * overlap[label, label])
    ]
    return order, moved


def output_kind(output: np.ndarray) -> str:
    """Returns the kind of a network's output: 'logits', 'probabilities', 'one-hot' or 'unit' (other 0…1).

    Log-probabilities are logits, since their softmax is the same.

    Shapes:
        output: (N, H, W, C).
    """
    if not np.isin(output, (0, 1)).all():
        if output.min() < 0 or output.max() > 1.01:
            return "logits"
        # Loose enough for float16 and 8-bit outputs.
        return "probabilities" if np.abs(output.sum(-1) - 1).max() < 0.05 else "unit"
    return "one-hot" if (output.sum(-1) == 1).all() else "unit"


def as_logits(output: np.ndarray, kind: str) -> np.ndarray:
    """Returns `output` of any `output_kind` as logits."""
    return output if kind == "logits" else np.log(np.maximum(output, _LEAST_PROBABILITY))


def untrained_layers(model) -> tuple[int, int]:
    """Counts the layers of a Keras model that look untrained.

    These are BatchNorm layers with mean 0, variance 1, scale 1 and shift 0; in a network without BatchNorm,
    layers whose bias is exactly 0.

    Returns:
        Their number, and the number of layers that were checked.
    """
    layers = list(model._flatten_layers()) if hasattr(model, "_flatten_layers") else model.layers
    norms = [layer for layer in layers if getattr(layer, "moving_variance", None) is not None]
    if norms:
        untrained = [
            all(
                np.all(np.asarray(weight) == value)
                for weight, value in (
                    (norm.moving_mean, 0),
                    (norm.moving_variance, 1),
                    (getattr(norm, "gamma", None), 1),
                    (getattr(norm, "beta", None), 0),
                )
                if weight is not None
            )
            for norm in norms
        ]
    else:
        biases = [getattr(layer, "bias", None) for layer in layers]
        untrained = [not np.any(np.asarray(bias)) for bias in biases if bias is not None]
    return sum(untrained), len(untrained)
