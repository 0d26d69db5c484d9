"""The pieces that our networks share.

Every function takes a tensor and a name and returns a tensor. The last layer of a block bears the block's
name, so that a tap is a layer name.
"""

import numpy as np

from tfsegkd._keras import keras
from tfsegkd.layers import CropLike, PadToStride

layers = keras.layers


def pixels(input_shape: tuple[int, int, int], mean, std, stride: int):
    """The entrance of a network: raw pixels in, normalised and padded to a multiple of `stride` out.

    (x − mean) / std is a frozen 1×1 depthwise convolution, which every int8 backend runs. It comes before
    the padding, so that the padding is the mean colour.

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


def logits(x, inputs, num_classes: int, factor: int):
    """The exit of a network: a 1×1 classifier, enlarged to the input's size."""
    x = layers.Conv2D(num_classes, 1, name="classifier")(x)
    if factor > 1:
        x = layers.UpSampling2D(factor, interpolation="bilinear", name="enlarge")(x)
    return CropLike(name="logits")([x, inputs])


def conv(
    x, filters: int, kernel: int, name: str, stride: int = 1, dilation: int = 1, relu: float | None = 6.0
):
    """Convolution, BatchNorm, ReLU6; `relu=None` leaves it linear, `relu=0` gives plain ReLU."""
    x = layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        dilation_rate=dilation,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return _norm_relu(x, name, relu)


def depthwise(x, kernel: int, name: str, stride: int = 1, dilation: int = 1, relu: float | None = 6.0):
    """Depthwise convolution, BatchNorm, ReLU6; `relu` as in `conv`."""
    x = layers.DepthwiseConv2D(
        kernel,
        strides=stride,
        dilation_rate=dilation,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return _norm_relu(x, name, relu)


def separable(x, filters: int, name: str, dilation: int = 1):
    """Depthwise 3×3 then pointwise convolution, each with BatchNorm and ReLU6."""
    x = depthwise(x, 3, f"{name}_depthwise", dilation=dilation)
    return conv(x, filters, 1, name)


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


def _norm_relu(x, name, relu):
    norm = {"epsilon": 1e-3, "momentum": 0.97}
    if relu is None:
        return layers.BatchNormalization(**norm, name=name)(x)
    x = layers.BatchNormalization(**norm, name=f"{name}_bn")(x)
    return layers.ReLU(relu or None, name=name)(x)
