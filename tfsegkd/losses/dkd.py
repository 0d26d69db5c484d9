"""Decoupled knowledge distillation."""

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.losses.base import DistillationLoss, registry
from tfsegkd.losses.functional import MINUS_INFINITY, divergence, labelled, masked_mean


@registry.register("dkd")
@keras.utils.register_keras_serializable("tfsegkd")
class DKDLoss(DistillationLoss):
    """Computes the KL divergence in two parts: true class against the rest, and among the other classes.

    It is the mean over labelled pixels of τ²·(α·KL over {true class, rest} + β·KL over the other classes).
    The plain divergence would weight the second part by the probability of the other classes, which is near 0
    where the teacher is confident.

    Args:
        alpha: The weight of the true class against the rest.
        beta: The weight of the other classes; with two classes this part is 0.
        temperature: τ, above 0.

    Shapes:
        teacher, student: (N, H, W, C) logits. labels: (N, Y, X), needed.
        returns: (N,).

    Raises:
        ValueError: without labels, or if `temperature` is not above 0; for two classes and `alpha` 0, because
            a single other class has no distribution.

    Example:
        loss = losses.DKDLoss(beta=8.0)
        loss(teacher_logits, student_logits, labels=masks)  # a value for each of two images

    Reference:
        Zhao et al., CVPR 2022, https://arxiv.org/abs/2203.08679, eq. 7.
        Differs: no probability is clamped before its logarithm, which is computed by log-sum-exp.
    """

    needs_labels = True
    of_probabilities = True

    def __init__(
        self, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0, name: str | None = None
    ):
        super().__init__(name=name)
        self.alpha = alpha
        self.beta = beta
        self.temperature = checks.positive(temperature, "temperature")

    def compare(self, teacher, student, valid, labels, images):
        classes = student.shape[-1]
        if classes == 2 and not self.alpha:
            raise ValueError(
                f"Loss '{self.name}' with alpha=0 compares the classes other than the true one only, and is "
                f"always 0 for two classes. Set alpha above 0, or use pixelwise."
            )
        one_hot = tf.one_hot(labels, classes)
        (binary_t, others_t), (binary_s, others_s) = (
            _split(side / self.temperature, one_hot) for side in (teacher, student)
        )
        loss = self.alpha * divergence(binary_t, binary_s) + self.beta * divergence(others_t, others_s)
        return self.temperature**2 * masked_mean(loss, labelled(valid, labels, classes))

    def get_config(self):
        options = {"alpha": self.alpha, "beta": self.beta, "temperature": self.temperature}
        return {**super().get_config(), **options}


def _split(logits, one_hot):
    """Returns log-probabilities of (true class, rest), and of the classes without the true one."""
    without_true = logits + MINUS_INFINITY * one_hot
    rest = tf.reduce_logsumexp(without_true, -1)
    true = tf.reduce_sum(logits * one_hot, -1)
    binary = tf.stack([true, rest], -1) - tf.reduce_logsumexp(logits, -1, keepdims=True)
    return binary, without_true - rest[..., None]
