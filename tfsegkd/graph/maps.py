"""Elementary maps of a tensor, which are merged with what comes next and then become a layer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfsegkd._keras import keras

layers = keras.layers


class UnsupportedLayerError(ValueError):
    """There is no Keras layer for an operation."""


@dataclass(frozen=True)
class Affine:
    """scale · x + offset, each a number or one for each channel."""

    scale: np.ndarray
    offset: np.ndarray

    @property
    def changes(self) -> bool:
        return bool(np.any(self.scale != 1) or np.any(self.offset != 0))

    def after(self, first: "Affine") -> "Affine":
        return Affine(self.scale * first.scale, self.scale * first.offset + self.offset)


@dataclass(frozen=True)
class Clip:
    """The values between low and high."""

    low: float
    high: float

    def after(self, first: "Clip") -> "Clip":
        return Clip(*(min(max(end, self.low), self.high) for end in (first.low, first.high)))


@dataclass(frozen=True)
class ChannelSelection:
    """One channel of an image, as in x[..., 2]."""

    channel: int


@dataclass(frozen=True)
class PoolPadding:
    """Padding by what is below every number, for a max pool.

    Args:
        amounts: (above, below), (left, right).
    """

    amounts: tuple[tuple[int, int], tuple[int, int]]


def permutation(order: Sequence[int], channels: int) -> keras.layers.Layer:
    """A frozen convolution that gives channel `order[i]` of its input, which has `channels`, as channel i."""
    kernel = np.zeros((1, 1, channels, len(order)), np.float32)
    kernel[0, 0, list(order), range(len(order))] = 1.0
    return filled(layers.Conv2D(len(order), 1, use_bias=False, trainable=False), channels, [kernel])


def convolution(
    kernel: np.ndarray, strides: tuple[int, int], padding: str, dilations: tuple[int, int]
) -> keras.layers.Layer:
    """A frozen convolution with a kernel that is the same for every image."""
    layer = layers.Conv2D(
        kernel.shape[3],
        kernel.shape[:2],
        strides=strides,
        padding=padding,
        dilation_rate=dilations,
        use_bias=False,
        trainable=False,
    )
    return filled(layer, kernel.shape[2], [kernel])


def scaling(affine: Affine, shape: Sequence[int | None]) -> keras.layers.Layer:
    """The layer for an affine map of a tensor: on images a frozen 1×1 depthwise convolution.

    That one is known to every int8 backend, to TF-MOT and to our pruning; a Rescaling is not.
    """
    if len(shape) != 4:
        to_list = lambda values: np.asarray(values, float).tolist()  # noqa: E731
        return layers.Rescaling(to_list(affine.scale), to_list(affine.offset))
    count = shape[-1]
    scale, offset = (np.broadcast_to(values, [count]) for values in (affine.scale, affine.offset))
    has_offset = bool(np.any(offset))
    weights = [scale.reshape(1, 1, count, 1), offset][: 1 + has_offset]
    return filled(layers.DepthwiseConv2D(1, use_bias=has_offset, trainable=False), count, weights)


def clipping(clip: Clip) -> keras.layers.Layer:
    """The layer for bounds on a tensor.

    Raises:
        UnsupportedLayerError: if the lower one is not zero.
    """
    if clip.low != 0:
        raise UnsupportedLayerError(
            f"it keeps values between {clip.low} and {clip.high}, and only ReLU is known"
        )
    return layers.ReLU(None if math.isinf(clip.high) else clip.high)


def filled(layer, channels, weights):
    """`layer`, built for so many channels and with these weights."""
    layer.build((None, None, None, channels))
    layer.set_weights([np.asarray(weight, np.float32) for weight in weights])
    return layer
