"""DIST: correlation of class probabilities."""

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.losses.base import DistillationLoss, registry
from tfsegkd.losses.functional import masked_mean, unit


@registry.register("dist")
@keras.utils.register_keras_serializable("tfsegkd")
class DISTLoss(DistillationLoss):
    """Computes 1 − Pearson's correlation of class probabilities, over classes and over pixels.

    With p the softmax of z / τ and ρ Pearson's correlation:
    τ²·(β·mean over valid pixels of (1 − ρ of p_T, p_S over the classes)
    + γ·mean over classes of (1 − ρ of p_T, p_S over the valid pixels of the image)).

    Args:
        beta: The weight of the correlation over the classes of a pixel; with two classes it has no gradient
            and is left out.
        gamma: The weight of the correlation over the pixels of a class.
        temperature: τ, above 0.

    Shapes:
        teacher, student: (N, H, W, C) logits.
        returns: (N,).

    Raises:
        ValueError: if `temperature` is not above 0; for two classes and `gamma` 0, because two probabilities
            that sum to 1 are always fully correlated.

    Example:
        loss = losses.DISTLoss(beta=1.0, gamma=1.0)
        loss(teacher_logits, student_logits)  # a value for each of two images

    Reference:
        Huang et al., NeurIPS 2022, https://arxiv.org/abs/2205.10536: inter-class and intra-class relation.
        Differs: correlations over the pixels of one image, not of the batch, so that the loss of an image
        does not depend on the others. Where the teacher is constant, the loss is 0.
    """

    of_probabilities = True

    def __init__(
        self, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0, name: str | None = None
    ):
        super().__init__(name=name)
        self.beta = beta
        self.gamma = gamma
        self.temperature = checks.positive(temperature, "temperature")

    def compare(self, teacher, student, valid, labels, images):
        teacher, student = (tf.nn.softmax(side / self.temperature) for side in (teacher, student))
        two = student.shape[-1] == 2
        if two and not self.gamma:
            raise ValueError(
                f"Loss '{self.name}' with gamma=0 compares the classes of a pixel only, which has no "
                f"gradient for two classes. Set gamma above 0, or use pixelwise."
            )
        between_classes = masked_mean(
            _distance(*(side - tf.reduce_mean(side, -1, keepdims=True) for side in (teacher, student)), [3]),
            valid,
        )
        between_pixels = tf.reduce_mean(
            _distance(*(_centred(side, valid[..., None]) for side in (teacher, student)), [1, 2]), -1
        )
        beta = 0.0 if two else self.beta
        return self.temperature**2 * (beta * between_classes + self.gamma * between_pixels)

    def get_config(self):
        options = {"beta": self.beta, "gamma": self.gamma, "temperature": self.temperature}
        return {**super().get_config(), **options}


def _centred(side, weight):
    count = tf.reduce_sum(weight, [1, 2], keepdims=True)
    mean = tf.math.divide_no_nan(tf.reduce_sum(side * weight, [1, 2], keepdims=True), count)
    return (side - mean) * weight


def _distance(teacher, student, axes):
    """Returns 1 − Pearson's correlation of centered values along `axes`; 0 where the teacher is constant.

    Computed as half the squared distance of unit vectors, which is exactly 0 when they are equal.
    """
    teacher, student = unit(teacher, axes), unit(student, axes)
    varies = tf.cast(tf.reduce_any(teacher != 0, axes), tf.float32)
    return varies * tf.reduce_sum(tf.math.squared_difference(teacher, student), axes) / 2
