"""What a network's outputs and weights say about whether it can teach, in figures."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from scipy.optimize import linear_sum_assignment

from tfsegkd import metrics

# Of the way from chance to perfect mean IoU. Below the first a network knows nothing; below the second
# neither, if its cross-entropy is that of a constant or worse.
_NOTHING, _LITTLE = 0.02, 0.15
_LEAST_PROBABILITY = 1e-7
_IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_CAFFE_MEAN = (103.939, 116.779, 123.68)

# What networks are commonly fed instead of RGB from 0 to 255, by how such a one is loaded.
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
    """How good predictions are.

    Args:
        mean_iou: From 0 to 1.
        cross_entropy: In nats a pixel.
    """

    mean_iou: float
    cross_entropy: float

    def is_uninformed(self, random_baseline: "Score") -> bool:
        """Whether it is no better than `chance`, the score of somebody who does not see the images."""
        skill = (self.mean_iou - random_baseline.mean_iou) / (1 - random_baseline.mean_iou)
        return skill < _NOTHING or (skill < _LITTLE and self.cross_entropy >= random_baseline.cross_entropy)

    def __str__(self):
        return f"mean IoU {self.mean_iou:.1%}, cross-entropy {self.cross_entropy:.2f}"


class Tally:
    """Gathers, batch by batch, what a network says of each class.

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
            logits: (N, H, W, C). labels: (N, H, W), −1 where a pixel does not count.
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
        """(C,) the share of labelled pixels of each class."""
        return self.matrix.sum(1) / max(self.matrix.sum(), 1)

    def score(self, order: np.ndarray | None = None) -> Score:
        """The score, were channel `order[k]` the one of class k."""
        order = np.arange(len(self.matrix)) if order is None else order
        right = self.log_likelihood[np.arange(len(order)), order].sum()
        return Score(metrics.mean_iou(self.matrix[:, order]), float(-right / max(self.matrix.sum(), 1)))

    def random_baseline(self) -> Score:
        """The best that is possible without looking at the images.

        Mean IoU: of the most frequent class everywhere, or of guesses as frequent as this network's
        predictions, whichever is more. Cross-entropy: of always giving the frequencies of the classes, which
        is their entropy.
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
    """Which channel seems to stand for which class: the order with the highest mean IoU.

    Shapes:
        matrix: (C, C), [label, prediction].

    Returns:
        `order`, (C,), the channel of each class; and the pairs (class, channel) of it for which the counts
        speak clearly and that are not where they should be.
    """
    matrix = np.asarray(matrix, np.float64)
    union = matrix.sum(1)[:, None] + matrix.sum(0)[None] - matrix
    overlap = np.divide(matrix, union, out=np.zeros_like(matrix), where=union > 0)
    # A hair in favour of the order as it is, for classes of which nothing is known.
    _, order = linear_sum_assignment(overlap + 1e-6 * np.eye(len(matrix)), maximize=True)
    moved = [
        (label, int(channel))
        for label, channel in enumerate(order)
        if overlap[label, channel] > max(0.2, 2 * overlap[label, label])
    ]
    return order, moved


def output_kind(output: np.ndarray) -> str:
    """What a network gives out: 'logits', 'probabilities', 'one-hot' or 'unit', which is 0…1 otherwise.

    Log-probabilities are logits: their softmax is the same.

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
    """`output` as logits, whatever of `output_kind` it is, so that it can be scored."""
    return output if kind == "logits" else np.log(np.maximum(output, _LEAST_PROBABILITY))


def untrained_layers(model) -> tuple[int, int]:
    """How many layers of a Keras model look as if nothing had ever been loaded into them or learnt.

    Those are BatchNorms with mean 0, variance 1, scale 1 and shift 0. In a network without BatchNorm,
    layers whose bias is exactly 0.

    Returns:
        How many, and of how many that could tell.
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
