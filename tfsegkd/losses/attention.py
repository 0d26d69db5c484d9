"""The distance between where two feature maps are active."""

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.losses.base import DistillationLoss, registry
from tfsegkd.losses.functional import masked_mean, unit


@registry.register("attention")
@keras.utils.register_keras_serializable("tfsegkd")
class AttentionLoss(DistillationLoss):
    """Teaches the student where in the image to be active.

    a = mean over channels of f², as one vector over the positions, scaled to length 1; the mean over valid
    positions of (a_S − a_T)². Because a has length 1 over all positions the values are small: a weight of
    10⁴ is common.

    Shapes:
        teacher: (N, H, W, Ct). student: (N, H, W, Cs). Ct and Cs may differ.
        returns: (N,).

    Reference:
        Zagoruyko and Komodakis, ICLR 2017, https://arxiv.org/abs/1612.03928, eq. 2 with p = 2.
        Differs: the mean of squares in place of the norm of the difference, as in the authors' code.
    """

    same_channels = False

    def compare(self, teacher, student, valid, labels, images):
        # A void position is 0 on both sides, so it has no part in the lengths either.
        teacher, student = (
            unit(tf.reduce_mean(tf.square(side), -1), axis=[1, 2]) for side in (teacher, student)
        )
        return masked_mean(tf.math.squared_difference(teacher, student), valid)
