"""Building blocks of the networks.

Every function takes a tensor and a name and returns a tensor. The last layer of a block has the block's
name, which terms refer to.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.layers import CropLike, MaxUnpooling, PadToStride

layers = keras.layers


def pixels(input_shape: tuple[int, int, int], mean, std, stride: int):
    """Preprocessing: normalises raw pixels and pads them to a multiple of `stride`.

    (x − mean) / std is a frozen 1×1 depthwise convolution, which every int8 backend runs. It comes before
    the padding, so that the padding is the mean color.

    Args:
        input_shape: (H, W, 3).
        mean, std: In pixel units 0…255; a number, or one for each channel.
        stride: The largest stride of the network.

    Returns:
        The input tensor and the normalised one.
    """
    inputs = keras.Input(input_shape, name="pixels")
    channels = input_shape[-1]
    scale = 1.0 / np.broadcast_to(np.asarray(std, np.float32), channels)
    offset = -np.broadcast_to(np.asarray(mean, np.float32), channels) * scale
    normalization = layers.DepthwiseConv2D(1, name="normalization", trainable=False)
    x = normalization(inputs)
    normalization.set_weights([scale.reshape(1, 1, channels, 1), offset])
    return inputs, PadToStride(stride, name="padding")(x)


def scaled(channels: int, width_multiplier: float) -> int:
    """`channels` times `width_multiplier` as the nearest multiple of 8, but never 10 % below the product."""
    product = channels * width_multiplier
    rounded = max(8, int(product + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * product else rounded + 8


def widths(width_multiplier: float, least: float | None = None) -> Callable[[int], int]:
    """Checks the multiplier and returns a function that scales channels by it, as `scaled` does."""
    if least is None:
        checks.positive(width_multiplier, "width_multiplier")
    else:
        checks.in_range(width_multiplier, least, float("inf"), "width_multiplier")
    return partial(scaled, width_multiplier=width_multiplier)


def logits(x, inputs, num_classes: int, factor: int, kernel: int = 1):
    """The head of a network: a classifier, resized to the input's size."""
    x = layers.Conv2D(num_classes, kernel, padding="same", name="classifier")(x)
    if factor > 1:
        x = layers.UpSampling2D(factor, interpolation="bilinear", name="enlarge")(x)
    return CropLike(name="logits")([x, inputs])


def conv(
    x,
    filters: int,
    kernel: int | tuple[int, int],
    name: str,
    stride: int = 1,
    dilation: int = 1,
    relu: float | None = 6.0,
    groups: int = 1,
    bias: bool = False,
    epsilon: float = 1e-3,
    symmetric: bool = False,
    initializer="he_normal",
):
    """Convolution, BatchNorm, ReLU6; `relu=None` leaves it linear, `relu=0` gives plain ReLU.

    A convolution with a stride pads below and on the right, or with `symmetric` all around as PyTorch does.
    """
    padded = symmetric and stride > 1 and kernel > 1
    if padded:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_padding")(x)
    x = layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        dilation_rate=dilation,
        padding="valid" if padded else "same",
        groups=groups,
        use_bias=bias,
        kernel_initializer=initializer,
        name=f"{name}_conv",
    )(x)
    return norm_relu(x, name, relu, epsilon)


def depthwise(
    x,
    kernel: int,
    name: str,
    stride: int = 1,
    dilation: int = 1,
    relu: float | None = 6.0,
    depth_multiplier: int = 1,
    initializer="he_normal",
):
    """Depthwise convolution, BatchNorm, ReLU6; `relu` as in `conv`."""
    x = layers.DepthwiseConv2D(
        kernel,
        depth_multiplier=depth_multiplier,
        strides=stride,
        dilation_rate=dilation,
        padding="same",
        use_bias=False,
        depthwise_initializer=initializer,
        name=f"{name}_conv",
    )(x)
    return norm_relu(x, name, relu)


def separable(x, filters: int, name: str, dilation: int = 1):
    """Depthwise 3×3 then pointwise convolution, each with BatchNorm and ReLU6."""
    return conv(depthwise(x, 3, f"{name}_depthwise", dilation=dilation), filters, 1, name)


def unpool(x, before, pooled, name: str, unpooling: str):
    """Undoes a 2×2 max pooling.

    Args:
        before, pooled: What the pooling was given, and what it gave.
        unpooling: 'mask' puts values back at the positions of the maxima; 'upsample' enlarges bilinearly.

    Raises:
        ValueError: for an unknown unpooling.
    """
    if checks.one_of(unpooling, ("mask", "upsample"), "unpooling") == "mask":
        return MaxUnpooling(name=name)([x, before, pooled])
    return layers.UpSampling2D(2, interpolation="bilinear", name=name)(x)


def inverted_residual(
    x, filters: int, name: str, kernel: int = 3, stride: int = 1, expansion: int = 6, dilation: int = 1
):
    """MobileNetV2's block: expand, depthwise, project linearly, and add where the shapes agree.

    Reference:
        Sandler et al., CVPR 2018, https://arxiv.org/abs/1801.04381, table 1.
    """
    shortcut = x
    if expansion > 1:
        x = conv(x, expansion * x.shape[-1], 1, f"{name}_expand")
    x = depthwise(x, kernel, f"{name}_depthwise", stride=stride, dilation=dilation)
    if stride > 1 or shortcut.shape[-1] != filters:
        return conv(x, filters, 1, name, relu=None)
    x = conv(x, filters, 1, f"{name}_project", relu=None)
    return layers.Add(name=name)([shortcut, x])


def norm_relu(x, name: str, relu: float | None = 6.0, epsilon: float = 1e-3):
    """BatchNorm and ReLU6; `relu` as in `conv`."""
    norm = {"epsilon": epsilon, "momentum": 0.97}
    if relu is None:
        return layers.BatchNormalization(**norm, name=name)(x)
    x = layers.BatchNormalization(**norm, name=f"{name}_bn")(x)
    return layers.ReLU(relu or None, name=name)(x)


def conv_and_norm(model: keras.Model, name: str):
    """The convolution and the BatchNorm of the block `name`; their names depend on what follows them."""
    found = {layer.name: layer for layer in model.layers}
    if f"{name}_conv" not in found:  # the projection of a block with a shortcut
        name = f"{name}_project"
    return found[f"{name}_conv"], found.get(f"{name}_bn") or found[name]
