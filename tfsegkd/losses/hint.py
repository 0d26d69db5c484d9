"""Hint: mean squared error of features."""

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.losses.base import DistillationLoss, registry
from tfsegkd.losses.functional import masked_mean, standardize


@registry.register("hint")
@keras.utils.register_keras_serializable("tfsegkd")
class HintLoss(DistillationLoss):
    """Computes the mean squared error between the features of teacher and student.

    It is the mean over valid positions and channels of (f_S − f_T)². The shapes must be equal; the adapter of
    a term, a 1×1 convolution and a resize of the student's feature, makes them so.

    Args:
        normalize: True: each channel of the teacher's feature is normalized to mean 0 and variance 1 over the
            valid positions of each image, so that channels of large variance do not dominate and one weight
            suits every teacher; the adapter learns that scale. 'both': the student's feature, too. False:
            none.

    Shapes:
        teacher, student: (N, H, W, C) features.
        returns: (N,).

    Raises:
        ValueError: for another `normalize`.

    Example:
        loss = losses.HintLoss()
        loss(teacher_features, student_features)  # a value for each of two images

    Reference:
        Romero et al., FitNets, 2014, https://arxiv.org/abs/1412.6550, eq. 3; Liu et al., Normalized Feature
        Distillation, 2022, https://arxiv.org/abs/2207.05256: 'both', statistics over height and width.
        Differs: statistics and mean over valid positions only; a variance has 1e-6 added.
    """

    def __init__(self, normalize: bool | str = True, name: str | None = None):
        super().__init__(name=name)
        self.normalize = checks.one_of(normalize, (True, False, "both"), "normalize")

    def compare(self, teacher, student, valid, labels, images):
        teacher = self.target(teacher, valid)
        if self.normalize == "both":
            student = standardize(student, valid)
        return masked_mean(tf.reduce_mean(tf.math.squared_difference(teacher, student), -1), valid)

    def target(self, teacher, valid):
        return standardize(teacher, valid) if self.normalize else teacher

    def get_config(self):
        return {**super().get_config(), "normalize": self.normalize}
