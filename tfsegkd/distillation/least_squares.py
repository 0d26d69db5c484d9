"""Initialization of adapters: the least-squares map from the student's features to the teacher's."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfsegkd.distillation.adapters import Adapter, OwnAdapter
from tfsegkd.distillation.batches import Batch
from tfsegkd.distillation.terms import Term
from tfsegkd.losses.functional import valid_at

BATCHES = 12
# In variances of the student's channels: enough for channels that are equal or constant.
_RIDGE = 1e-4


class _Moments(NamedTuple):
    """Sums over valid positions, in float64: of their number, and of products of inputs and outputs.

    Shapes:
        count: (). x: (Cs,). y: (Ct,). xx: (Cs, Cs). xy: (Cs, Ct).
    """

    count: tf.Tensor
    x: tf.Tensor
    y: tf.Tensor
    xx: tf.Tensor
    xy: tf.Tensor


def initialize_by_least_squares(
    adapters: Sequence[Adapter | OwnAdapter],
    terms: Sequence[Term],
    run: Callable[..., tuple[Batch, dict, dict]],
    batches: Iterable,
) -> None:
    """Sets the 1×1 convolutions of `adapters` to the ridge regression from student to teacher.

    The target is what the loss compares with, for instance a standardized feature. Adapters of the user's are
    not changed, nor are those whose features are not finite.

    Args:
        adapters: One per term.
        run: Reads a batch and runs both networks: the batch, the teacher's features and the student's.
        batches: The inputs of `run`.

    Reference:
        Hoerl and Kennard, Technometrics 1970, https://doi.org/10.1080/00401706.1970.10488634.
    """
    fitted = [index for index, adapter in enumerate(adapters) if _is_fitted(adapter)]
    if not fitted:
        return
    strategy = tf.distribute.get_strategy()

    def sums(*data):
        batch, teacher_features, student_features = run(*data)
        valid = batch.valid
        if batch.weights is not None:  # an image of weight 0 moves nothing
            valid *= tf.cast(tf.reshape(batch.weights, [-1, 1, 1]) > 0, valid.dtype)
        return [
            _moments(
                terms[index],
                teacher_features[terms[index].layers[0]],
                student_features[terms[index].layers[1]],
                valid,
            )
            for index in fitted
        ]

    @tf.function
    def measure(*data):
        parts = strategy.run(sums, data)
        return tf.nest.map_structure(lambda part: strategy.reduce("SUM", part, axis=None), parts)

    total = None
    for data in batches:
        parts = measure(*data) if isinstance(data, tuple | list) else measure(data)
        total = parts if total is None else tf.nest.map_structure(tf.add, total, parts)
    for index, moments in zip(fitted, total or (), strict=bool(total)):
        solution = _solve(_Moments(*(part.numpy() for part in moments)))
        if solution is not None:
            adapters[index].initialize(*solution)


def _is_fitted(adapter) -> bool:
    return isinstance(adapter, Adapter) and adapter.project is not None


def _moments(term: Term, teacher, student, valid) -> _Moments:
    teacher, student = tf.cast(teacher, tf.float32), tf.cast(student, tf.float32)
    # The 1×1 convolution and the resize of the adapter commute.
    student = Adapter.resize(student, teacher)
    valid = valid_at(valid, teacher)
    teacher, student = (tf.where(valid[..., None] > 0, feature, 0.0) for feature in (teacher, student))
    counted = tf.reshape(valid, [-1]) > 0
    x, y = (
        tf.cast(tf.boolean_mask(tf.reshape(feature, [-1, feature.shape[-1]]), counted), tf.float64)
        for feature in (student, term.loss.target(teacher, valid))
    )
    return _Moments(
        tf.cast(tf.shape(x)[0], tf.float64),
        tf.reduce_sum(x, 0),
        tf.reduce_sum(y, 0),
        xx=tf.matmul(x, x, transpose_a=True),
        xy=tf.matmul(x, y, transpose_a=True),
    )


def _solve(moments: _Moments) -> list[np.ndarray] | None:
    """Kernel and bias of the regression; None without a position, or where anything is not finite."""
    if not moments.count or not all(np.isfinite(part).all() for part in moments):
        return None
    x, y = moments.x / moments.count, moments.y / moments.count
    covariance = moments.xx / moments.count - np.outer(x, x)
    # Standardized inputs, so that the ridge treats channels of small and of large variance alike.
    deviation = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
    correlation = covariance / np.outer(deviation, deviation)
    crossed = (moments.xy / moments.count - np.outer(x, y)) / deviation[:, None]
    kernel = np.linalg.solve(correlation + _RIDGE * np.eye(len(x)), crossed) / deviation[:, None]
    return [kernel[None, None].astype(np.float32), (y - x @ kernel).astype(np.float32)]
