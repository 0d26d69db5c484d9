"""Mathematics that several losses share. Everything here is float32 in and out."""

import tensorflow as tf


def masked_mean(values: tf.Tensor, valid: tf.Tensor | None) -> tf.Tensor:
    """The mean of `values` over the valid positions of each image; 0 where there is none.

    Shapes:
        values: (N, H, W). valid: (N, H, W), 0/1, or None for all.
        returns: (N,).
    """
    if valid is None:
        return tf.reduce_mean(values, axis=[1, 2])
    # `where` and not a product, because 0 · inf is NaN.
    kept = tf.where(valid > 0, values, tf.zeros_like(values))
    return tf.math.divide_no_nan(tf.reduce_sum(kept, [1, 2]), tf.reduce_sum(valid, [1, 2]))


def valid_at(valid: tf.Tensor | None, like: tf.Tensor) -> tf.Tensor | None:
    """Brings `valid` to the size of `like`: a position counts when at least half of its pixels do.

    Shapes:
        valid: (N, Y, X) or None. like: (N, H, W, C).
        returns: (N, H, W), float32 0/1, or None.
    """
    if valid is None:
        return None
    valid = tf.cast(valid, tf.float32)
    size = tf.shape(like)[1:3]
    share = tf.image.resize(valid[..., None], size, method="area")[..., 0]
    return tf.cast(share >= 0.5, tf.float32)


def labels_at(labels: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Brings `labels` to the size of `like` by nearest neighbour.

    Shapes:
        labels: (N, Y, X). like: (N, H, W, C).
        returns: (N, H, W), int32.
    """
    labels = tf.cast(labels, tf.int32)
    return tf.image.resize(labels[..., None], tf.shape(like)[1:3], method="nearest")[..., 0]
