"""`tf.data` pipelines of a source."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import tensorflow as tf

from tfsegkd import checks
from tfsegkd.data.source import UNLABELLED, Source
from tfsegkd.data.transforms import (
    Augmentation,
    ColorJitter,
    look,
    look_at_map,
    random_view,
)

_FILL = 127.5  # mid-grey, for positions outside of an image


class Maps(Protocol):
    """Float maps of the images of a source, such as a teacher's logits, which get the same geometry.

    Attributes:
        map_shapes: The shape (h, w, C) of each map of a whole image, by name.
        names: Optional: the names of the images, against which a source is checked.
    """

    map_shapes: dict[str, tuple[int, int, int]]

    def read(self, index: int, mirrored: bool) -> dict[str, np.ndarray]:
        """Returns the maps of an image, float16, by name.

        `mirrored` returns those of the mirror image, mirrored back.
        """


def training_batches(
    source: Source,
    size: tuple[int, int],
    batch_size: int,
    *,
    crop_size: tuple[int, int] | None = None,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    start_epoch: int = 0,
    start_step: int = 0,
    maps: Maps | None = None,
) -> tf.data.Dataset:
    """Returns an infinite data set of shuffled and augmented batches, `len(source) // batch_size` per epoch.

    Order and augmentation depend only on (seed, epoch, index): from epoch k, the batches are the same as
    those of an uninterrupted run.

    Args:
        source: The examples.
        size: (height, width) to which images are resized before augmentation.
        batch_size: Images per batch. The last, incomplete batch of an epoch is dropped.
        crop_size: (height, width) of the training crops; `size` by default.
        augmentation: The augmentation.
        seed: The seed of order and augmentation.
        start_epoch: The first epoch.
        start_step: The number of batches to skip at the start.
        maps: Maps that get the images' geometry. With them a batch is
            `({"images": images, "teacher": {name: map}}, masks)` instead of `(images, masks)`.

    Returns:
        A dataset of (images, masks) without an end.

    Shapes:
        images: (batch_size, *crop_size, 3), float32, 0…255.
        masks: (batch_size, *crop_size), int32; positions outside of an image are void, positions in an
            unlabelled image are `UNLABELLED`.
        maps: (batch_size, h, w, C), float32; h and w are proportional to the crop.

    Raises:
        ValueError: if the source has fewer examples than a batch, or the maps are of other images.

    Example:
        batches = data.training_batches(source, (32, 48), batch_size=4, crop_size=(32, 32), seed=1)
        images, masks = next(iter(batches))
        tuple(images.shape)  # (4, 32, 32, 3)
    """
    checks.positive(batch_size, "batch_size")
    if len(source) < batch_size:
        raise ValueError(
            f"The training split has {len(source)} examples, fewer than one batch of {batch_size}. Lower "
            f"`batch_size` or add examples."
        )
    augmentation = augmentation or Augmentation()
    crop_size = tuple(crop_size or size)
    jitter = ColorJitter(augmentation)
    read = _reader(source, tuple(size))
    read_maps = _map_reader(maps, source) if maps else None

    def epoch_keys(epoch):
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(source)), [seed, tf.cast(epoch, tf.int32)]
        )
        keys = tf.stack(
            [tf.fill([len(source)], seed), tf.fill([len(source)], tf.cast(epoch, tf.int32)), order], 1
        )
        return tf.data.Dataset.from_tensor_slices(keys)

    def example(key):
        image, mask = read(key[2])
        view = random_view(key, size, crop_size, augmentation)
        image = look(tf.cast(image, tf.float32)[None], view[None], crop_size, _FILL, nearest=False)
        mask = look(mask[None, ..., None], view[None], crop_size, source.info.ignore_label, nearest=True)
        moved = {}
        for name, values in (read_maps(key[2], view[0] < 0) if maps else {}).items():
            moved[name] = look_at_map(values, view, size, crop_size)
        return image[0], mask[0, ..., 0], key, moved

    def finish(images, masks, keys, moved):
        images, masks = jitter(images, keys), _marked(masks, source)
        return ({"images": images, "teacher": moved} if maps else images), masks

    def epoch_batches(epoch):
        examples = epoch_keys(epoch).map(example, num_parallel_calls=tf.data.AUTOTUNE)
        return examples.batch(batch_size, drop_remainder=True)

    epochs = tf.data.Dataset.range(start_epoch, np.iinfo(np.int32).max)
    return _shared(epochs.flat_map(epoch_batches).skip(start_step).map(finish).prefetch(2))


def mixed_batches(first: tf.data.Dataset, second: tf.data.Dataset) -> tf.data.Dataset:
    """Combines batches of two `training_batches`: the first examples from one, the others from the other."""

    def join(one, other):
        return tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), one, other)

    return _shared(tf.data.Dataset.zip((first, second)).map(join).prefetch(2))


def _shared(batches):
    """Sets the sharding policy: workers divide each batch, because there are no files to divide."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.with_options(options)


def evaluation_batches(source: Source, size: tuple[int, int], batch_size: int) -> tf.data.Dataset:
    """Returns batches of all examples, in order, resized, without augmentation; the last may be smaller.

    Args:
        source: A split of a data set.
        size: (height, width) that images and masks are resized to.
        batch_size: Examples in a batch.

    Returns:
        A dataset of (images, masks) that ends after one pass.

    Shapes:
        images: (N, *size, 3), float32, 0…255.
        masks: (N, *size), int32; `UNLABELLED` for unlabelled images.

    Example:
        for images, masks in data.evaluation_batches(source, (32, 48), batch_size=4):
            images.shape, masks.shape  # (4, 32, 48, 3), (4, 32, 48)
    """
    read = _reader(source, tuple(size))
    indices = tf.data.Dataset.range(len(source)).map(read, num_parallel_calls=tf.data.AUTOTUNE)
    return (
        indices.batch(batch_size)
        .map(lambda images, masks: (tf.cast(images, tf.float32), _marked(masks, source)))
        .prefetch(2)
    )


def _marked(masks: tf.Tensor, source: Source) -> tf.Tensor:
    """Returns masks as int32, without labels where the source has none."""
    masks = tf.cast(masks, tf.int32)
    return masks if source.labelled else tf.where(masks == source.info.ignore_label, masks, UNLABELLED)


def _reader(source: Source, size: tuple[int, int]) -> Callable:
    height, width = size
    images = source.resized(size)

    def read(index):
        image, mask = tf.numpy_function(lambda n: images(int(n)), [index], [tf.uint8, tf.uint8])
        return tf.ensure_shape(image, (height, width, 3)), tf.ensure_shape(mask, (height, width))

    return read


def _map_reader(maps: Maps, source: Source) -> Callable:
    images = getattr(maps, "names", None)
    # A source may be the first part of what was recorded.
    if images is not None and list(images[: len(source)]) != list(source.names):
        raise ValueError(
            f"The maps are not of the images of {source.info.name!r}: {len(images)} were recorded, from "
            f"{images[0]!r} on, and these are {len(source)}, from {source.names[0]!r} on. Record the source "
            f"that is trained on."
        )
    names = sorted(maps.map_shapes)

    def arrays(index, mirrored):
        found = maps.read(int(index), bool(mirrored))
        return [found[name] for name in names]

    def read(index, mirrored):
        values = tf.numpy_function(arrays, [index, mirrored], [tf.float16] * len(names))
        return {
            name: tf.cast(tf.ensure_shape(value, maps.map_shapes[name]), tf.float32)
            for name, value in zip(names, values, strict=True)
        }

    return read
