"""What a batch of a training holds."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.data import UNLABELLED, labels_of


@dataclass(frozen=True)
class Batch:
    """One batch, read.

    Shapes:
        images: (N, H, W, 3).
        masks: (N, H, W), int32; void where they are the ignore label, −1 where nobody has labelled.
        labels: (N, H, W), int32: the masks with unlabelled pixels made void, for the task.
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
        """The sum over the images, by their sample weights."""
        if self.weights is not None:
            values *= tf.cast(self.weights, values.dtype)
        return tf.reduce_sum(values)


def read_batch(data, ignore_label: int, num_classes: int) -> Batch:
    """Reads what Keras hands to a step: (images, masks[, sample_weight]).

    Masks may have an axis for one channel, or be one-hot; see `labels_of`. In place of the images, a batch
    that a recorded teacher goes with has {"images": …, "teacher": {layer: …}}.

    Raises:
        ValueError: for a dictionary without images, or masks that are none.
    """
    inputs, masks, weights = keras.utils.unpack_x_y_sample_weight(data)
    masks = labels_of(masks, num_classes, ignore_label)
    return Batch(
        images_of(inputs),
        masks,
        tf.where(masks == UNLABELLED, ignore_label, masks),
        tf.cast(masks != ignore_label, tf.float32),
        weights,
        inputs.get("teacher") if isinstance(inputs, Mapping) else None,
    )


def images_of(inputs) -> tf.Tensor:
    """The images of a batch, with or without what a recorded teacher shows of them."""
    if not isinstance(inputs, Mapping):
        return inputs
    if "images" not in inputs:
        raise ValueError(
            f"A batch of a dictionary must hold 'images'. Received: {sorted(inputs)}. Give images alone, or "
            f"{{'images': images, 'teacher': {{layer: tensor}}}}."
        )
    return inputs["images"]


def first_batches(count: int, args: tuple, kwargs: dict) -> tuple[Iterable, tuple, dict]:
    """The first batches that a `fit` with these arguments would see, arrays in their own order.

    Returns:
        The batches, and the arguments for `fit`, which has lost none of them: a generator is put together
        again.
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
        arrays = (x, bound.arguments.get("y"))
        if (weights := bound.arguments.get("sample_weight")) is not None:
            arrays += (weights,)
        batches = _slices(arrays, bound.arguments.get("batch_size") or 32, count)
    return batches, bound.args[1:], bound.kwargs


def _slices(arrays, size, count):
    """Batches of arrays, the last of which may be smaller."""
    length = len(tf.nest.flatten(arrays)[0])
    for start in range(0, min(length, count * size), size):
        part = slice(start, start + size)
        yield tf.nest.map_structure(lambda array, part=part: tf.convert_to_tensor(array[part]), arrays)


def devices() -> int:
    """How many devices share a batch."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def share_of_an_image(batch: Batch) -> tf.Tensor:
    """One over the images of the whole batch, those on other devices included."""
    count = tf.cast(tf.shape(batch.images)[0], tf.float32)
    if devices() > 1:
        count = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, count)
    return 1 / count
