"""Batches of training: reading them, and how devices share them."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.data import UNLABELLED, labels_of


@dataclass(frozen=True)
class Batch:
    """One batch of training.

    Shapes:
        images: (N, H, W, 3).
        masks: (N, H, W), int32; `ignore_label` is void, −1 is unlabelled.
        labels: (N, H, W), int32: the masks with unlabelled pixels set to void, for the task loss.
        valid: (N, H, W), float32: 1 where a pixel is not void.
        weights: (N,), the sample weights, or None.
    """

    images: tf.Tensor
    masks: tf.Tensor
    labels: tf.Tensor
    valid: tf.Tensor
    weights: tf.Tensor | None = None
    recorded: Mapping[str, tf.Tensor] | None = field(default=None)

    def sum(self, values: tf.Tensor) -> tf.Tensor:
        """Returns the sum over the images, weighted by the sample weights."""
        if self.weights is not None:
            values *= tf.cast(self.weights, values.dtype)
        return tf.reduce_sum(values)


def read_batch(data, ignore_label: int, num_classes: int, needs_masks: bool = True) -> Batch:
    """Reads the data of a Keras step: (images, masks[, sample_weight]).

    Masks may have a channel axis or be one-hot; see `labels_of`. With a recorded teacher the first element is
    {"images": …, "teacher": {layer: …}}.

    Args:
        data: The data.
        ignore_label: The label of void pixels.
        num_classes: The number of channels of one-hot masks.
        needs_masks: Whether images alone are refused; otherwise all their pixels are unlabelled.

    Raises:
        ValueError: for a dictionary without images, an array that is no mask, missing masks, or weights other
            than one for each image.
    """
    inputs, masks, weights = keras.utils.unpack_x_y_sample_weight(data)
    images = images_of(inputs)
    if masks is None and needs_masks:
        raise ValueError(
            f"A batch must be (images, masks). Received: images alone. Pass masks, where {UNLABELLED} marks "
            f"unlabelled pixels, or use `task_weight=0` to train on the teacher alone."
        )
    if masks is None:
        masks = tf.fill(tf.shape(images)[:3], UNLABELLED)
    masks = labels_of(masks, num_classes, ignore_label)
    return Batch(
        images,
        masks,
        tf.where(masks == UNLABELLED, ignore_label, masks),
        valid=tf.cast(masks != ignore_label, tf.float32),
        weights=None if weights is None else _weights_of_images(weights),
        recorded=inputs.get("teacher") if isinstance(inputs, Mapping) else None,
    )


def _weights_of_images(weights) -> tf.Tensor:
    """Returns sample weights as (N,)."""
    weights = tf.convert_to_tensor(weights)
    shape = weights.shape
    if shape.rank == 2 and shape[-1] == 1:
        return weights[:, 0]
    if shape.rank not in (1, None):
        raise ValueError(
            f"Sample weights must be one for each image, (N,). Received: shape {tuple(shape)}. Weigh classes "
            f"with `compile(loss=SegmentationLoss(class_weights=…))`, and leave pixels out as void."
        )
    return weights


def images_of(inputs) -> tf.Tensor:
    """Returns the images of a batch, which may also contain recorded teacher outputs."""
    if not isinstance(inputs, Mapping):
        return inputs
    if "images" not in inputs:
        raise ValueError(
            f"The inputs of a batch must contain 'images'. Received: {sorted(inputs)}. Pass images alone, or "
            f"{{'images': images, 'teacher': {{layer: tensor}}}}."
        )
    return inputs["images"]


def first_batches(count: int, args: tuple, kwargs: dict) -> tuple[Iterable, tuple, dict]:
    """Returns the first batches that `fit` would get with these arguments; arrays are not shuffled.

    Returns:
        The batches, and the arguments for `fit`. A generator among them yields these batches again.
    """
    bound = inspect.signature(keras.Model.fit).bind(None, *args, **kwargs)
    x = bound.arguments.get("x")
    if isinstance(x, keras.utils.Sequence):
        batches = (x[number] for number in range(min(count, len(x))))
    elif isinstance(x, Iterator):
        batches = list(islice(x, count))
        bound.arguments["x"] = chain(batches, x)
    elif isinstance(x, tf.data.Dataset | tf.distribute.DistributedDataset):
        batches = islice(x, count)
    else:
        masks = bound.arguments.get("y")
        arrays = (x,) if masks is None else (x, masks)
        if (weights := bound.arguments.get("sample_weight")) is not None:
            arrays += (weights,)
        batches = _slices(arrays, bound.arguments.get("batch_size") or 32, count)
    return batches, bound.args[1:], bound.kwargs


def _slices(arrays, size, count):
    """Yields batches of arrays, the last of which may be smaller."""
    length = len(tf.nest.flatten(arrays)[0])
    for start in range(0, min(length, count * size), size):
        part = slice(start, start + size)
        yield tf.nest.map_structure(lambda array, part=part: tf.convert_to_tensor(array[part]), arrays)


def devices() -> int:
    """Returns the number of devices that share a batch."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def share_of_an_image(batch: Batch) -> tf.Tensor:
    """Returns 1 / the number of images in the global batch, over all devices."""
    count = tf.cast(tf.shape(batch.images)[0], tf.float32)
    if devices() > 1:
        count = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, count)
    return 1 / count
