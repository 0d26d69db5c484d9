"""The mean of what several teachers say, each weighted by class."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

# Stands for the logarithm of 0, and stays finite in sums of several.
NEVER = -1e9
# Of a share of probability: below it nothing changes.
_LEAST = 1e-12


def weight_table(
    weights: Sequence | np.ndarray | None,
    covered: np.ndarray,
    names: Sequence[str],
    class_names: Sequence[str] | None = None,
) -> np.ndarray:
    """How much each teacher counts for each class.

    Args:
        weights: A number for each teacher, or a row with one for each class; None counts all alike.
        covered: (M, C), whether a teacher has a channel for a class.
        names: The teachers'.
        class_names: The student's, for the message.

    Shapes:
        returns: (M, C).

    Raises:
        ValueError: for weights of another shape, below 0 or not finite, or a class that no teacher with a
            weight covers; the message says which.
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
            f"The weights of teachers {faulty} must be numbers that are not below 0. Received: "
            f"{given.tolist()}."
        )
    table = np.where(covered, given.reshape(count, -1), 0.0)
    total = table.sum(0)
    if not total.all():
        missing = [class_names[index] if class_names else int(index) for index in np.flatnonzero(total == 0)]
        raise ValueError(
            f"The student's classes {missing} are known to none of the teachers {list(names)} that has a "
            f"weight above 0. Add a teacher that knows them, or map them in a class_map."
        )
    return table


def mixed(logs: Sequence[tf.Tensor], table: np.ndarray) -> tf.Tensor:
    """The logarithm of the weighted mean of the teachers' probabilities.

    Where a teacher counts alike for all classes, that is all. Where it does not know a class, or counts for
    less there, a plain mean would take that class's probability away, since this teacher spends all of its
    own on the other classes. So it only shares out anew what the mixture gives to the classes that it counts
    for: with weights w, probabilities q and the mixture p,

        p(c) = Σ_m w_mc·z_m·q_m(c) / Σ_m w_mc,    z_m = Σ_c w_mc·p(c) / Σ_c w_mc·q_m(c).

    A class that only the teachers who cover everything know has the probability of their mean.

    Args:
        logs: Of each teacher the logarithms of its probabilities. They may sum to less than 1: the rest is
            for something that is no class of the student, and the teacher counts for so much less there.
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
    """As `mixed`, by the logarithms of the weights, (M, C); a gradient goes through."""
    stacked = tf.stack([tf.cast(each, tf.float32) for each in logs])
    classes = int(logarithms.shape[-1])
    weights = tf.reshape(logarithms, (len(logs), *[1] * (stacked.shape.rank - 2), classes))
    # One that sees something else counts for less.
    weights += tf.reduce_logsumexp(stacked, -1, keepdims=True)
    total = tf.reduce_logsumexp(weights, axis=0)
    shared = tf.nn.log_softmax(weights + stacked)
    shares, parts = tf.unstack(tf.exp(shared)), tf.unstack(tf.exp(weights - total))
    owned = _stationary([[tf.reduce_sum(share * part, -1) for part in parts] for share in shares])
    joined = tf.reduce_logsumexp(shared + tf.math.log(tf.stack(owned))[..., None], axis=0)
    return tf.nn.log_softmax(joined - total)


def _stationary(passed: list[list[tf.Tensor]]) -> list[tf.Tensor]:
    """y with y_j = Σ_i y_i·passed[i][j] and Σ y = 1, by the elimination of Grassmann, Taksar and Heyman.

    It subtracts nothing, so that small shares keep their digits.
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
