"""Fitting the weights of an ensemble by class, on images on which no member was trained."""

import dataclasses

import numpy as np
import tensorflow as tf
from scipy.optimize import minimize

from tfsegkd.data import Source, resize_image, resize_mask, spread
from tfsegkd.distillation.teachers.averages import Ensemble
from tfsegkd.distillation.teachers.mixture import NEVER, mixed_by_class
from tfsegkd.progress_bar import counted

_MAX_IMAGES = 96
_PIXELS = 4000  # of each class
# Regularizes the weights of classes with few pixels.
_INERTIA = 1e-3


@dataclasses.dataclass(frozen=True)
class FittedWeights:
    """The result of `fit_weights`.

    Args:
        members: The names of the teachers.
        weights: The weight of each teacher for each class; those of the ensemble if fitted ones are no
            better.
        cross_entropy: The cross-entropy of fitted weights, on the half of the images that they were not
            fitted on.
        before: The cross-entropy of the ensemble's own weights.
        num_images: The number of images.

    Example:
        both = distillation.load_teacher([teacher, student])
        found = distillation.fit_weights(both, source)
        found.cross_entropy <= found.before
    """

    members: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]
    cross_entropy: float
    before: float
    num_images: int

    def __str__(self):
        found = "" if self.cross_entropy < self.before else "; no better, so the old weights are kept"
        return (
            f"weights by class from {self.num_images} held-out images: cross-entropy {self.before:.3f} → "
            f"{self.cross_entropy:.3f} on images they were not fitted on{found}"
        )


def fit_weights(teacher: Ensemble, source: Source) -> FittedWeights:
    """Fits the weight of each member of an ensemble for each class.

    The weights minimize the class-weighted cross-entropy with the labels. They are kept only if weights
    fitted on one half of the images lower the cross-entropy on the other half.

    Args:
        teacher: The ensemble, with its initial weights.
        source: Labelled images on which no member was trained, in the order in which they were taken, so that
            similar images are in the same half.

    Returns:
        The weights, and what they gain.

    Raises:
        ValueError: for fewer than two images, images without labels, or fewer than two classes.

    Example:
        both = distillation.load_teacher([teacher, student])
        distillation.fit_weights(both, source).members
    """
    info = source.info
    if not source.labelled or len(source) < 2:
        raise ValueError(
            f"Fitting weights needs at least two labelled images on which no teacher was trained. "
            f"Received: {len(source)} of {info.name!r}, {'' if source.labelled else 'un'}labelled. Name "
            f"another split."
        )
    indices = spread(len(source), _MAX_IMAGES)
    samples = _Samples(info.num_classes)
    run = tf.function(teacher.member_logs, reduce_retracing=True)
    for index in counted(range(len(indices)), "fitting the teachers' weights", "images"):
        image, mask = source[indices[index]]
        size = tuple(teacher.size or teacher.input_size or mask.shape)
        logs = run(tf.constant(resize_image(image, size)[None], tf.float32))
        labels = resize_mask(mask, size)
        samples.add(np.stack([each[0] for each in logs]), labels, index, len(indices))
    if np.count_nonzero(samples.counts) < 2:
        raise ValueError(
            f"Fitting weights needs labels of at least two classes. Received: {len(indices)} images of "
            f"{info.name!r} with {np.count_nonzero(samples.counts)}. Name another split."
        )
    start = teacher.weights(info.num_classes)
    middle = len(indices) / 2
    halves = [samples.of(lambda index: index < middle), samples.of(lambda index: index >= middle)]
    before = np.mean([half.loss(start) for half in halves])
    crossed = np.mean([half.loss(other.fit(start)) for half, other in zip(halves, halves[::-1], strict=True)])
    weights = samples.of(lambda index: True).fit(start) if crossed < before else start
    rows = tuple(tuple(round(float(value), 4) for value in row) for row in weights)
    return FittedWeights(
        tuple(teacher.members), rows, float(crossed), before=float(before), num_images=len(indices)
    )


class _Samples:
    """The members' predictions for a sample of pixels of each class.

    Attributes:
        counts: The number of pixels of each class, (C,).
    """

    def __init__(self, num_classes: int):
        self.counts = np.zeros(num_classes, np.int64)
        self._logs, self._labels, self._positions = [], [], []

    def add(self, logs: np.ndarray, labels: np.ndarray, index: int, num_images: int) -> None:
        """Samples pixels of image `index`. Shapes: logs (M, H, W, C), labels (H, W)."""
        random = np.random.default_rng(index)
        for label in range(len(self.counts)):
            rows, columns = np.nonzero(labels == label)
            self.counts[label] += len(rows)
            taken = random.permutation(len(rows))[: -(-_PIXELS // num_images)]
            self._logs.append(logs[:, rows[taken], columns[taken]].swapaxes(0, 1))
            self._labels.append(np.full(len(taken), label))
            self._positions.append(np.full(len(taken), index))

    def of(self, wanted) -> "_Objective":
        """Returns the samples of the images that `wanted` selects by index."""
        positions, labels = np.concatenate(self._positions), np.concatenate(self._labels)
        chosen = wanted(positions) & np.ones(len(positions), bool)
        labels, logs = labels[chosen], np.concatenate(self._logs)[chosen]
        shares = self.counts / self.counts.sum()
        found = np.maximum(np.bincount(labels, minlength=len(shares)), 1)
        return _Objective(logs, labels, (shares / np.log(1.02 + shares) / found)[labels])


class _Objective:
    """The cross-entropy of an ensemble on samples, as a function of its weights.

    Shapes:
        logs: (P, M, C). labels, importance: (P,).
    """

    def __init__(self, logs: np.ndarray, labels: np.ndarray, importance: np.ndarray):
        self._logs = tf.unstack(tf.constant(logs, tf.float32), axis=1)
        self._labels = tf.constant(labels)
        self._importance = tf.constant(importance / max(importance.sum(), 1e-12), tf.float32)
        self._measure = tf.function(self._loss_and_gradient)

    def loss(self, weights: np.ndarray) -> float:
        return float(self._loss(tf.constant(_logarithms(weights), tf.float32)))

    def fit(self, start: np.ndarray) -> np.ndarray:
        """Returns the best weights. They sum to 1 for each class; weights that start at 0 stay 0."""
        origin = _logarithms(start / start.sum(0))
        free = start > 0

        def measured(values):
            table = np.where(free, values.reshape(start.shape), NEVER)
            loss, gradient = self._measure(tf.constant(table, tf.float32))
            moved = np.where(free, table - origin, 0)
            loss = float(loss) + _INERTIA * np.square(moved).sum()
            gradient = np.where(free, gradient.numpy() + 2 * _INERTIA * moved, 0)
            return loss, gradient.ravel().astype(np.float64)

        found = minimize(measured, np.where(free, origin, 0).ravel(), jac=True, method="L-BFGS-B")
        table = np.where(free, np.exp(found.x.reshape(start.shape)), 0)
        return table / table.sum(0)

    def _loss(self, logarithms):
        logarithms -= tf.reduce_logsumexp(logarithms, 0, keepdims=True)
        mixture = mixed_by_class(self._logs, logarithms)
        right = tf.gather(mixture, self._labels, batch_dims=1)
        return -tf.reduce_sum(self._importance * right)

    def _loss_and_gradient(self, logarithms):
        with tf.GradientTape() as tape:
            tape.watch(logarithms)
            loss = self._loss(logarithms)
        return loss, tape.gradient(loss, logarithms)


def _logarithms(weights: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(weights, 1e-30)) + np.where(weights > 0, 0, NEVER)
