"""The distance of class probabilities, split into the true class and the others."""

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.losses.base import DistillationLoss, registry
from tfsegkd.losses.functional import MINUS_INFINITY, divergence, labelled, masked_mean


@registry.register("dkd")
@keras.utils.register_keras_serializable("tfsegkd")
class DKDLoss(DistillationLoss):
    """Teaches the student the teacher's doubts about the wrong classes even where the teacher is certain.

    The mean over labelled pixels of τ²·(α·KL over {true class, rest} + β·KL over the other classes among
    themselves). The plain divergence would weigh the second part by the teacher's doubt, which is near 0
    where it is certain.

    Args:
        alpha: Weight of the true class against the rest.
        beta: Weight of the other classes among themselves; with two classes that part is 0.
        temperature: τ, above 0.

    Shapes:
        teacher, student: (N, H, W, C) logits. labels: (N, Y, X), needed.
        returns: (N,).

    Raises:
        ValueError: without labels, or if `temperature` is not above 0; for two classes and `alpha` 0, because
            a single other class has no distribution to teach.

    Reference:
        Zhao et al., CVPR 2022, https://arxiv.org/abs/2203.08679, eq. 7.
        Differs: no probability is clamped before its logarithm; log-sum-exp gives the logarithm itself.
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
                f"Loss '{self.name}' with alpha=0 compares the classes beside the true one, and of two "
                f"classes only one is left: it would be 0 everywhere. Set alpha above 0, or use pixelwise."
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
    """Log-probabilities of (true class, rest), and of the classes given that the true one is out."""
    without_true = logits + MINUS_INFINITY * one_hot
    rest = tf.reduce_logsumexp(without_true, -1)
    true = tf.reduce_sum(logits * one_hot, -1)
    binary = tf.stack([true, rest], -1) - tf.reduce_logsumexp(logits, -1, keepdims=True)
    return binary, without_true - rest[..., None]
