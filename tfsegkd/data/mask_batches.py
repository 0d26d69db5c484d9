"""Labels from batches of masks of any shape."""

import tensorflow as tf


def labels_of(masks: tf.Tensor, num_classes: int, ignore_label: int) -> tf.Tensor:
    """Returns the labels of a batch of masks.

    Args:
        masks: Labels, or one-hot: 1 in the channel of the class and 0 elsewhere. A pixel of zeros is void.
        num_classes: The number of channels of one-hot masks.
        ignore_label: The label of void pixels.

    Shapes:
        masks: (N, H, W), (N, H, W, 1) or (N, H, W, num_classes).
        result: (N, H, W), int32.

    Raises:
        ValueError: for masks of another shape.
        tf.errors.InvalidArgumentError: if masks of several channels are not one-hot.
    """
    masks = tf.convert_to_tensor(masks)
    shape = masks.shape
    if shape.rank in (3, None):
        # Not in the type of the masks, where −1 may be 255.
        return tf.cast(masks, tf.int32)
    if shape.rank == 4 and shape[-1] == 1:
        return tf.cast(masks[..., 0], tf.int32)
    if shape.rank != 4 or shape[-1] != num_classes:
        raise ValueError(
            f"The masks of a batch must be labels (N, H, W) or (N, H, W, 1), or one-hot (N, H, W, "
            f"{num_classes}) with a channel for each class. Received: masks of shape {tuple(shape)}. Colors "
            f"are no labels: read such masks with `dataset=folder` and a colors.txt."
        )
    whole = tf.cast(masks, tf.int32)
    is_binary = tf.cast(whole, masks.dtype) == masks if masks.dtype != tf.bool else tf.constant(True)
    is_one_hot = (
        tf.reduce_all(is_binary)
        & tf.reduce_all((whole == 0) | (whole == 1))
        & tf.reduce_all(tf.reduce_sum(whole, -1) <= 1)
    )
    check = tf.debugging.Assert(
        is_one_hot,
        [f"Masks (N, H, W, {num_classes}) must be one-hot: one 1 a pixel, or zeros for void. Give labels "
         "(N, H, W) where they are something else, such as colors or probabilities."],
    )  # fmt: skip
    with tf.control_dependencies([check] if check is not None else []):
        labels = tf.argmax(whole, -1, tf.int32)
    return tf.where(tf.reduce_sum(whole, -1) == 0, ignore_label, labels)
