"""Channel and spatial correlation."""

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.losses.base import DistillationLoss, registry
from tfsegkd.losses.functional import gram_distance, image_by_image, positions, unit


@registry.register("csc")
@keras.utils.register_keras_serializable("tfsegkd")
class CSCLoss(DistillationLoss):
    """Computes the mean squared error between correlations of channels and positions.

    f̂ is each position's vector, normalized to length 1. For each circular shift k of the channels,
    v_k(i) = f̂(i) ⊙ roll(f̂(i), k) is the co-occurrence of classes and shifted classes at position i, and
    M_k(i, j) = v_k(i)·v_k(j) relates positions by it. The loss is the mean over k and over all pairs of valid
    positions of (M_k,T − M_k,S)², computed from C×C Gram matrices in float64, without a P×P matrix. Shifts k
    and C − k have the same M, so only about half of them are computed.

    Shapes:
        teacher, student: (N, H, W, C) logits. Cost grows with C³.
        returns: (N,).

    Example:
        loss = losses.CSCLoss()
        loss(teacher_logits, student_logits)  # a value for each of two images

    Reference:
        Park and Heo, Knowledge distillation for semantic segmentation using channel and spatial correlations
        and adaptive cross entropy, Sensors 2020; claim 1 of patent US 11,756,202.
        Reconstruction: the claim has the normalization, the circular shifts, the product and ‖M_T − M_S‖, but
        not how the shifts are combined. We use one matrix per shift, because a single vector of all shifts
        would give (f̂_i·f̂_j)², without channels; and the mean square instead of the norm.
    """

    of_probabilities = True

    def compare(self, teacher, student, valid, labels, images):
        teacher, student = (positions(unit(side)) for side in (teacher, student))
        pairs = tf.square(tf.cast(tf.reduce_sum(valid, [1, 2]), tf.float64))
        distance = image_by_image(_all_shifts, teacher, student)
        return tf.cast(tf.math.divide_no_nan(distance, pairs), tf.float32)


def _all_shifts(teacher, student):
    """Returns the mean over the shifts of ‖M_k,T − M_k,S‖², and its gradient for the student."""
    channels = student.shape[-1]
    total, gradient = tf.zeros([], tf.float64), tf.zeros_like(student)
    for shift in range(channels // 2 + 1):
        share = (1 if shift == (channels - shift) % channels else 2) / channels
        rolled = tf.roll(student, shift, -1)
        distance, slope = gram_distance(teacher * tf.roll(teacher, shift, -1), student * rolled)
        total += share * distance
        gradient += share * (slope * rolled + tf.roll(slope * student, -shift, -1))
    return total, gradient
