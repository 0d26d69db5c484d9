"""Pair-wise distillation."""

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.losses.base import DistillationLoss, registry
from tfsegkd.losses.functional import gram_distance, image_by_image, positions, unit


@registry.register("pairwise")
@keras.utils.register_keras_serializable("tfsegkd")
class PairwiseLoss(DistillationLoss):
    """Computes the mean squared error between similarities of all pairs of positions.

    A(i, j) is the cosine similarity of positions i and j. The loss is the mean over all pairs of valid
    positions of (A_T − A_S)². It is computed exactly from C×C Gram matrices in float64, without the P×P
    matrices.

    Args:
        pool: The size of the average-pooling window that is applied first; 1 for none.

    Shapes:
        teacher: (N, H, W, Ct). student: (N, H, W, Cs). Ct and Cs may differ.
        returns: (N,).

    Raises:
        ValueError: if `pool` is not a whole number of at least 1.

    Example:
        loss = losses.PairwiseLoss(pool=2)
        loss(teacher_features, student_features)  # a value for each of two images

    Reference:
        Liu et al., CVPR 2019, https://arxiv.org/abs/1903.04197, eq. 2.
        Differs: no pooling by default; pooling averages valid positions only. The paper pools because of the
        size of the P×P matrices.
    """

    same_channels = False

    def __init__(self, pool: int = 1, name: str | None = None):
        super().__init__(name=name)
        self.pool = checks.whole(pool, 1, "pool")

    def compare(self, teacher, student, valid, labels, images):
        if self.pool > 1:
            share = self._average(valid[..., None])
            # Void positions are 0, so only the divisor of the plain average must be corrected.
            kept = tf.cast(share >= 0.5, tf.float32)
            teacher, student = (
                kept * tf.math.divide_no_nan(self._average(side), share) for side in (teacher, student)
            )
            valid = kept[..., 0]
        teacher, student = (positions(unit(side)) for side in (teacher, student))
        pairs = tf.square(tf.cast(tf.reduce_sum(valid, [1, 2]), tf.float64))
        distance = image_by_image(gram_distance, teacher, student)
        return tf.cast(tf.math.divide_no_nan(distance, pairs), tf.float32)

    def _average(self, values):
        return tf.nn.avg_pool2d(values, self.pool, self.pool, "SAME")

    def get_config(self):
        return {**super().get_config(), "pool": self.pool}
