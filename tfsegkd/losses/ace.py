"""Adaptive cross-entropy against labels and teacher."""

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.losses.base import DistillationLoss, registry
from tfsegkd.losses.functional import labelled, masked_mean


@registry.register("ace")
@keras.utils.register_keras_serializable("tfsegkd")
class ACELoss(DistillationLoss):
    """Computes the cross-entropy to the teacher where it is right, and to the label elsewhere.

    It is the mean over valid pixels. The target is p_T where argmax p_T is the label y, else one-hot(y). The
    minimum is the target's entropy, not 0.

    Args:
        soft: Whether to blend: the target is w·p_T + (1 − w)·one-hot(y) with w = p_T(y).

    Shapes:
        teacher, student: (N, H, W, C) logits. labels: (N, Y, X), needed.
        returns: (N,).

    Raises:
        ValueError: without labels, or for a `soft` that is not a bool.

    Example:
        loss = losses.ACELoss(soft=True)
        loss(teacher_logits, student_logits, labels=masks)  # a value for each of two images

    Reference:
        Park and Heo, Knowledge distillation for semantic segmentation using channel and spatial correlations
        and adaptive cross entropy, Sensors 2020.
        Reconstruction: the abstract says that one-hot labels and the teacher's probabilities are combined
        adaptively, because an imperfect teacher teaches false knowledge. Both rules here are ours.
    """

    needs_labels = True
    of_probabilities = True

    def __init__(self, soft: bool = False, name: str | None = None):
        super().__init__(name=name)
        self.soft = checks.one_of(soft, (True, False), "soft")

    def compare(self, teacher, student, valid, labels, images):
        classes = student.shape[-1]
        probabilities = tf.nn.softmax(teacher)
        one_hot = tf.one_hot(labels, classes)
        if self.soft:
            trust = tf.reduce_sum(probabilities * one_hot, -1)
        else:
            trust = tf.cast(tf.argmax(teacher, -1, tf.int32) == labels, tf.float32)
        target = one_hot + trust[..., None] * (probabilities - one_hot)
        entropy = -tf.reduce_sum(target * tf.nn.log_softmax(student), -1)
        return masked_mean(entropy, labelled(valid, labels, classes))

    def get_config(self):
        return {**super().get_config(), "soft": self.soft}
