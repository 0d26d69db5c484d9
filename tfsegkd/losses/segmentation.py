"""The task loss."""

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.layers.binary import two_logits
from tfsegkd.losses.functional import cross_entropy


@keras.utils.register_keras_serializable("tfsegkd")
class SegmentationLoss(keras.losses.Loss):
    """Computes the cross-entropy of logits and labels over valid pixels.

    Args:
        ignore_label: The label of void pixels.
        class_weights: A weight per class, or None for equal ones. The mean is weighted, so that the scale of
            the weights has no effect.

    Shapes:
        y_true: (N, H, W) integer labels. y_pred: (N, H, W, C) logits; one channel is that of label 1 against
            label 0.
        returns: (N,), before Keras' reduction; 0 for an image without a valid pixel.

    Example:
        loss = losses.SegmentationLoss(ignore_label=255)
        float(loss(tf.zeros((1, 4, 4), tf.int32), tf.zeros((1, 4, 4, 2))))  # 0.6931472
    """

    def __init__(
        self,
        ignore_label: int = 255,
        class_weights: tuple[float, ...] | None = None,
        reduction="sum_over_batch_size",
        name: str = "segmentation_loss",
    ):
        super().__init__(reduction=reduction, name=name)
        self.ignore_label = ignore_label
        self.class_weights = None if class_weights is None else tuple(map(float, class_weights))

    def call(self, y_true, y_pred):
        labels = tf.cast(y_true, tf.int32)
        valid = labels != self.ignore_label
        labels = tf.where(valid, labels, 0)
        if y_pred.shape[-1] == 1:
            y_pred = two_logits(y_pred)
        entropy = cross_entropy(labels, tf.cast(y_pred, tf.float32))
        weights = tf.cast(valid, tf.float32)
        if self.class_weights is not None:
            weights *= tf.gather(tf.constant(self.class_weights), labels)
        return tf.math.divide_no_nan(tf.reduce_sum(weights * entropy, [1, 2]), tf.reduce_sum(weights, [1, 2]))

    def get_config(self):
        return {
            **super().get_config(),
            "ignore_label": self.ignore_label,
            "class_weights": self.class_weights,
        }
