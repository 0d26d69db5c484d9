"""Intra-class feature variation distillation."""

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.losses.base import DistillationLoss, registry
from tfsegkd.losses.functional import labelled, masked_mean, unit

# Masks are 8-bit images in every supported data set.
_MOST_CLASSES = 256


@registry.register("ifvd")
@keras.utils.register_keras_serializable("tfsegkd")
class IFVDLoss(DistillationLoss):
    """Computes the mean squared error between similarities of each pixel's feature to its class mean.

    The center of a class is the mean feature of its labelled pixels in the image; v(i) is the cosine
    similarity of pixel i's feature to the center of its class. The loss is the mean over labelled pixels of
    (v_S − v_T)².

    Shapes:
        teacher: (N, H, W, Ct). student: (N, H, W, Cs). Ct and Cs may differ.
        labels: (N, Y, X), from 0 to 255, needed.
        returns: (N,).

    Raises:
        ValueError: without labels.

    Example:
        loss = losses.IFVDLoss()
        loss(teacher_features, student_features, labels=masks)  # a value for each of two images

    Reference:
        Wang et al., ECCV 2020, https://arxiv.org/abs/2009.13021.
        Differs: void pixels are left out of the mean; the authors' code counts them as agreeing.
    """

    needs_labels = True
    same_channels = False

    def compare(self, teacher, student, valid, labels, images):
        valid = labelled(valid, labels, _MOST_CLASSES)
        image = tf.range(tf.shape(labels)[0])[:, None, None]
        segment = tf.where(valid > 0, image * _MOST_CLASSES + labels, -1)
        teacher, student = (_variation(side, valid, segment) for side in (teacher, student))
        return masked_mean(tf.math.squared_difference(teacher, student), valid)


def _variation(features, valid, segment):
    """Returns the cosine similarity of each position to the center of its segment; segment −1 has none."""
    count = tf.shape(features)[0] * _MOST_CLASSES
    # The sum has the same direction as the mean, and only the direction matters.
    centres = unit(tf.math.unsorted_segment_sum(features, segment, count))
    return valid * tf.reduce_sum(unit(features) * tf.gather(centres, tf.maximum(segment, 0)), -1)
