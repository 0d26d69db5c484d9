"""Augmentation: geometry and color, each a pure function of (seed, epoch, index).

There is no state, so that a resumed run gets the same images as an uninterrupted one, and image, mask and
maps get the same geometry.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tfsegkd import checks

# Separate random streams, so that a new one does not change the others.
_GEOMETRY, _COLOR = 1, 2


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The augmentation of training images.

    Args:
        min_scale, max_scale: The range of the random scale, log-uniform.
        flip: Whether half of the images are flipped horizontally.
        brightness, contrast, saturation, hue: The strength of the color jitter, 0…1; 0 for none.

    Raises:
        ValueError: for a value out of its range.

    Example:
        augmentation = data.Augmentation(min_scale=1.0, max_scale=2.0, hue=0.0)
        batches = data.training_batches(source, (32, 48), batch_size=2, augmentation=augmentation)
    """

    min_scale: float = 0.75
    max_scale: float = 1.5
    flip: bool = True
    brightness: float = 0.15
    contrast: float = 0.25
    saturation: float = 0.25
    hue: float = 0.02

    def __post_init__(self):
        checks.in_range(self.min_scale, 0.1, 10, "min_scale")
        checks.in_range(self.max_scale, self.min_scale, 10, "max_scale")
        for name in ("brightness", "contrast", "saturation", "hue"):
            checks.in_range(getattr(self, name), 0, 1, name)


NO_AUGMENTATION = Augmentation(1, 1, False, 0, 0, 0, 0)


def random_view(
    key: tf.Tensor, frame_size: tuple[int, int], crop_size: tuple[int, int], augmentation: Augmentation
) -> tf.Tensor:
    """Draws a random crop of an image.

    Args:
        key: (3,) int32: seed, epoch, index.
        frame_size: (height, width) of the image.
        crop_size: (height, width) of the crop.

    Returns:
        (8,) float32, the projective transform from crop to image coordinates in TensorFlow's form.
    """
    draws = tf.random.stateless_uniform([4], _stream(key, _GEOMETRY))
    low, high = np.log(augmentation.min_scale), np.log(augmentation.max_scale)
    scale = tf.exp(low + draws[0] * (high - low))
    # The margin is negative if the scaled image is smaller than the crop: then the image is at a random
    # position inside of the crop, surrounded by void.
    slack = scale * tf.constant(frame_size, tf.float32) - tf.constant(crop_size, tf.float32)
    top, left = draws[1] * slack[0], draws[2] * slack[1]
    mirrored = tf.logical_and(augmentation.flip, draws[3] < 0.5)
    # Pixel centers: x_frame + ½ = (x_crop + ½ + left) / scale.
    step = 1 / scale
    shift_x = (0.5 + left) * step - 0.5
    shift_y = (0.5 + top) * step - 0.5
    step_x = tf.where(mirrored, -step, step)
    shift_x = tf.where(mirrored, (crop_size[1] - 0.5 + left) * step - 0.5, shift_x)
    zero = tf.zeros([])
    return tf.stack([step_x, zero, shift_x, zero, step, shift_y, zero, zero])


def look(images: tf.Tensor, view: tf.Tensor, size: tuple[int, int], fill: float, nearest: bool) -> tf.Tensor:
    """Samples images through views; positions outside of an image are `fill`.

    Shapes:
        images: (N, H, W, C). view: (N, 8). returns: (N, *size, C), of the images' type.
    """
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=view,
        output_shape=size,
        fill_value=fill,
        interpolation="NEAREST" if nearest else "BILINEAR",
        fill_mode="CONSTANT",
    )


def crop_of_map(
    map_size: tuple[int, int], frame_size: tuple[int, int], crop_size: tuple[int, int]
) -> tuple[int, int]:
    """Returns the size of the part of a map that belongs to a crop of the image."""
    sides = zip(map_size, frame_size, crop_size, strict=True)
    return tuple(max(1, round(side * crop / frame)) for side, frame, crop in sides)


def look_at_map(
    values: tf.Tensor, view: tf.Tensor, frame_size: tuple[int, int], crop_size: tuple[int, int]
) -> tf.Tensor:
    """Samples a map of another resolution than its image through the image's view.

    Positions outside of the map repeat the nearest one; the mask is void there. Views turn no axis, so that
    each can be sampled by itself, which is faster than `look`.

    Shapes:
        values: (h, w, C). view: (8,), of `random_view` for these sizes.
        returns: (h', w', C), where h' and w' are to the crop as h and w are to the image.
    """
    out = crop_of_map(values.shape[:2], frame_size, crop_size)
    for axis, (step, shift) in enumerate(((view[4], view[5]), (view[0], view[2]))):
        # With u = x + ½, an image position is u_frame = step · u_crop + offset; both sides are rescaled.
        crop = (tf.range(out[axis], dtype=tf.float32) + 0.5) * (crop_size[axis] / out[axis])
        frame = step * crop + shift + 0.5 - 0.5 * step
        values = _interpolated(values, frame * (values.shape[axis] / frame_size[axis]) - 0.5, axis)
    return values


def _interpolated(values, positions, axis):
    """Interpolates linearly along an axis of (h, w, C); positions outside repeat the nearest value."""
    last = values.shape[axis] - 1
    positions = tf.clip_by_value(positions, 0, last)
    first = tf.cast(positions, tf.int32)
    share = tf.reshape(positions - tf.cast(first, tf.float32), (-1, 1) if axis else (-1, 1, 1))
    low, high = (tf.gather(values, tf.minimum(index, last), axis=axis) for index in (first, first + 1))
    return low + share * (high - low)


def _stream(key, number):
    """Hashes (seed, epoch, index) and the number of a stream into a stateless seed."""
    return tf.random.experimental.stateless_fold_in(
        tf.random.experimental.stateless_fold_in(tf.stack([key[0], tf.constant(number)]), key[1]), key[2]
    )


class ColorJitter:
    """Color jitter with keras-cv's operations and stateless random numbers.

    keras-cv's layers have random state; here they get the strengths as arguments, so that the colors of an
    example depend only on (seed, epoch, index).

    Args:
        augmentation: The strengths.
    """

    def __init__(self, augmentation: Augmentation):
        from keras_cv import layers  # slow to import, and only needed for training

        # The layers need the global generator, although they get their strengths.
        try:
            tf.random.get_global_generator()
        except RuntimeError:  # there is none with deterministic operations
            tf.random.set_global_generator(tf.random.Generator.from_seed(0))
        pixel_range = (0, 255)
        factors = [
            (
                augmentation.brightness,
                lambda f: layers.RandomBrightness(f, pixel_range),
                lambda d, f: 255 * f * d,
            ),
            (augmentation.contrast, lambda f: layers.RandomContrast(pixel_range, f), lambda d, f: 1 + f * d),
            (augmentation.saturation, lambda f: layers.RandomSaturation(f), lambda d, f: 0.5 + 0.5 * f * d),
            (augmentation.hue, lambda f: layers.RandomHue(f, pixel_range), lambda d, f: 0.5 * f * d),
        ]
        self._steps = [
            (number, make(factor), factor, strength)
            for number, (factor, make, strength) in enumerate(factors)
            if factor > 0
        ]

    def __call__(self, images: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """Applies color jitter to a batch.

        Shapes:
            images: (N, H, W, 3) float32, 0…255. keys: (N, 3) int32: seed, epoch, index.
            returns: as images.
        """
        draws = tf.map_fn(
            lambda key: tf.random.stateless_uniform([4], _stream(key, _COLOR), -1, 1),
            keys,
            fn_output_signature=tf.float32,
        )
        for number, layer, factor, strength in self._steps:
            strengths = strength(draws[:, number], factor)
            # Brightness and contrast broadcast over pixels; saturation and hue expand dimensions.
            if number < 2:
                strengths = strengths[:, None, None, None]
            images = layer.augment_images(images, strengths)
        return images
