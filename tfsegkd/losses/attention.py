"""Attention transfer."""

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.losses.base import DistillationLoss, registry
from tfsegkd.losses.functional import masked_mean, unit


@registry.register("attention")
@keras.utils.register_keras_serializable("tfsegkd")
class AttentionLoss(DistillationLoss):
    """Computes the mean squared error between the spatial attention maps of two features.

    The attention map a is the mean over channels of f², a vector over the positions, normalized to length 1.
    The loss is the mean over valid positions of (a_S − a_T)². Its values are small, because a has length 1:
    a weight of 10⁴ is common.

    Shapes:
        teacher: (N, H, W, Ct). student: (N, H, W, Cs). Ct and Cs may differ.
        returns: (N,).

    Example:
        loss = losses.AttentionLoss()
        loss(teacher_features, student_features)  # a value for each of two images

    Reference:
        Zagoruyko and Komodakis, ICLR 2017, https://arxiv.org/abs/1612.03928, eq. 2 with p = 2.
        Differs: the mean of squares instead of the norm of the difference, as in the authors' code.
    """

    same_channels = False

    def compare(self, teacher, student, valid, labels, images):
        # Void positions are 0 in both maps, so they do not contribute to the lengths.
        teacher, student = (
            unit(tf.reduce_mean(tf.square(side), -1), axis=[1, 2]) for side in (teacher, student)
        )
        return masked_mean(tf.math.squared_difference(teacher, student), valid)
