"""The mean of the probabilities of several teachers, weighted by class."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

# Used for log 0; sums of several stay finite.
NEVER = -1e9
# Of a share of probability: below it nothing changes.
_LEAST = 1e-12


def weight_table(
    weights: Sequence | np.ndarray | None,
    covered: np.ndarray,
    names: Sequence[str],
    class_names: Sequence[str] | None = None,
) -> np.ndarray:
    """Returns the weight of each teacher for each class.

    Args:
        weights: A number per teacher, or a row per teacher with one for each class; None weights all equally.
        covered: (M, C), whether a teacher has a channel for a class.
        names: The names of the teachers.
        class_names: The student's classes, for the message.

    Shapes:
        returns: (M, C).

    Raises:
        ValueError: for weights of another shape, negative or not finite, or a class that no teacher of
            positive weight has; the message names it.
    """
    count, classes = covered.shape
    given = np.ones(count) if weights is None else np.asarray(weights, np.float64)
    if given.shape not in ((count,), (count, classes)):
        raise ValueError(
            f"weights must be a number for each of {list(names)}, or a row of {classes}, one for each class. "
            f"Received: shape {given.shape}."
        )
    faulty = [
        name
        for name, row in zip(names, given.reshape(count, -1), strict=True)
        if not (np.isfinite(row).all() and (row >= 0).all())
    ]
    if faulty:
        raise ValueError(
            f"The weights of teachers {faulty} must be finite and not negative. Received: {given.tolist()}."
        )
    if not given.any():
        raise ValueError(f"All weights of the teachers {list(names)} are 0. Give one a weight above 0.")
    table = np.where(covered, given.reshape(count, -1), 0.0)
    total = table.sum(0)
    if not total.all():
        missing = [class_names[index] if class_names else int(index) for index in np.flatnonzero(total == 0)]
        raise ValueError(
            f"No teacher of {list(names)} with a weight above 0 has the student's classes {missing}. Add a "
            f"teacher that has them, or map them in a class_map."
        )
    return table


def mixed(logs: Sequence[tf.Tensor], table: np.ndarray) -> tf.Tensor:
    """Returns the logarithm of the weighted mean of the teachers' probabilities.

    Where all weights of a teacher are equal, this is the plain mean. A teacher that lacks a class, or has a
    lower weight there, gives all of its probability to the other classes, and a plain mean would lower the
    probability of that class. So such a teacher only redistributes what the mixture gives to its own classes:
    with weights w, probabilities q and the mixture p,

        p(c) = Σ_m w_mc·z_m·q_m(c) / Σ_m w_mc,    z_m = Σ_c w_mc·p(c) / Σ_c w_mc·q_m(c).

    A class that only teachers of all classes have gets their mean probability.

    Args:
        logs: The log-probabilities of each teacher. The probabilities may sum to less than 1: the rest is for
            classes that the student lacks, and lowers the weight of the teacher there.
        table: As of `weight_table`.

    Shapes:
        logs: M times (..., C). table: (M, C). returns: (..., C).
    """
    with np.errstate(divide="ignore"):
        logarithms = np.maximum(np.log(table), NEVER)
    if np.ptp(table, axis=1).max() > 1e-6:
        return mixed_by_class(logs, tf.constant(logarithms, tf.float32))
    weights = tf.unstack(tf.constant(logarithms, tf.float32))
    weighted = [tf.cast(each, tf.float32) + weight for each, weight in zip(logs, weights, strict=True)]
    return tf.nn.log_softmax(tf.reduce_logsumexp(tf.stack(weighted), axis=0))


def mixed_by_class(logs: Sequence[tf.Tensor], logarithms: tf.Tensor) -> tf.Tensor:
    """Like `mixed`, from the logarithms of the weights, (M, C); differentiable."""
    stacked = tf.stack([tf.cast(each, tf.float32) for each in logs])
    classes = int(logarithms.shape[-1])
    weights = tf.reshape(logarithms, (len(logs), *[1] * (stacked.shape.rank - 2), classes))
    # The weight of a teacher is lower where it predicts another class.
    weights += tf.reduce_logsumexp(stacked, -1, keepdims=True)
    total = tf.reduce_logsumexp(weights, axis=0)
    shared = tf.nn.log_softmax(weights + stacked)
    shares, parts = tf.unstack(tf.exp(shared)), tf.unstack(tf.exp(weights - total))
    owned = _stationary([[tf.reduce_sum(share * part, -1) for part in parts] for share in shares])
    joined = tf.reduce_logsumexp(shared + tf.math.log(tf.stack(owned))[..., None], axis=0)
    return tf.nn.log_softmax(joined - total)


def _stationary(passed: list[list[tf.Tensor]]) -> list[tf.Tensor]:
    """Solves y_j = Σ_i y_i·passed[i][j] with Σ y = 1, by the elimination of Grassmann, Taksar and Heyman.

    The method has no subtractions, so that small values keep their precision.
    """
    passed = [[tf.maximum(share, _LEAST) for share in row] for row in passed]
    for last in reversed(range(1, len(passed))):
        leaving = tf.add_n(passed[last][:last])
        for i in range(last):
            passed[i][last] /= leaving
            for j in range(last):
                passed[i][j] += passed[i][last] * passed[last][j]
    owned = [tf.ones_like(passed[0][0])]
    for j in range(1, len(passed)):
        owned.append(tf.add_n([owned[i] * passed[i][j] for i in range(j)]))
    total = tf.add_n(owned)
    return [tf.maximum(share / total, _LEAST**2) for share in owned]
