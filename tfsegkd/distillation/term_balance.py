"""Balancing: weights that hold each term at a share of the task loss' gradient norm."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.distillation.features import shared_feature
from tfsegkd.distillation.terms import Term

# So that gradients of a mean over many pixels do not vanish in float16; the ratios stay.
_SCALE = 2.0**12
_LEAST, _MOST = 1e-6, 1e6


@dataclasses.dataclass(frozen=True)
class Balance:
    """Settings of balancing: each term is held at a share of the gradient norm of the task loss.

    The weight of a term is this share: with 1, its gradient norm equals that of the task loss. Norms are
    measured at the last feature of the student on which all compared layers depend.

    Args:
        every: Steps between measurements, at least 50 to keep their cost small: each takes part of a backward
            pass for the task loss and for each term.
        momentum: How much of the old factor is kept at a measurement, 0…1, because a measurement on one batch
            is noisy.

    Raises:
        ValueError: for values out of these ranges.

    Example:
        terms = [tfsegkd.Term("pixelwise", weight=0.5)]  # half of the labels' gradient
        balance = distillation.Balance(every=50)
        distiller = tfsegkd.Distiller(teacher, student, terms, balance=balance)
    """

    every: int = 100
    momentum: float = 0.5

    def __post_init__(self):
        checks.whole(self.every, 50, "every")
        checks.in_range(self.momentum, 0, 1, "momentum")


class TermBalance(keras.layers.Layer):
    """Measures and stores the factors of balanced terms. They are a variable, so that checkpoints keep them.

    Args:
        balance: The settings.
        terms: The terms; their weights are the shares.
        student: A functional network.

    Attributes:
        feature: The layer at whose output gradient norms are measured.
    """

    def __init__(self, balance: Balance, terms: Sequence[Term], student: keras.Model):
        super().__init__(name="term_balance")
        self.balance = balance
        self.feature = shared_feature(student, {term.layers[1] for term in terms})
        # 0 stands for a term that has not been measured yet.
        self.factors = self.add_weight(
            name="factors", shape=(len(terms),), dtype=tf.float32, initializer="zeros", trainable=False
        )

    def measure(
        self,
        step: tf.Tensor,
        tape: tf.GradientTape,
        task_loss: tf.Tensor,
        values: Sequence[tf.Tensor],
        shares: Sequence[tf.Tensor],
        feature: tf.Tensor,
    ) -> list[tf.Tensor]:
        """Returns the factors for this step; measures them again when that is due.

        Args:
            step: The optimizer's step.
            tape: A persistent tape that recorded the losses.
            task_loss: The weighted task loss.
            values: Each weighted term, before its factor.
            shares: The weight of each at this step; 0 where it is off.
            feature: The student's output at `self.feature`.
        """
        shares = tf.stack([tf.cast(share, tf.float32) for share in shares])
        is_on = shares > 0
        is_due = (step % self.balance.every == 0) | tf.reduce_any(is_on & (self.factors == 0))

        def remeasure():
            norms = [_norm(tape, value, feature) for value in (task_loss, *values)]
            target = shares * norms[0] / tf.stack(norms[1:])
            known = tf.math.is_finite(target) & (target > 0)
            old = tf.where(self.factors > 0, self.factors, tf.where(known, target, 1.0))
            moved = old**self.balance.momentum * tf.where(known, target, old) ** (1 - self.balance.momentum)
            moved = tf.clip_by_value(moved, _LEAST, _MOST)
            self.factors.assign(tf.where(is_on, moved, self.factors))
            return tf.identity(self.factors)

        factors = tf.cond(is_due, remeasure, lambda: tf.identity(self.factors))
        return tf.unstack(tf.stop_gradient(factors))


def _norm(tape, value, feature):
    gradient = tape.gradient(value, feature, output_gradients=tf.constant(_SCALE, value.dtype))
    return tf.zeros([]) if gradient is None else tf.norm(tf.cast(gradient, tf.float32))
