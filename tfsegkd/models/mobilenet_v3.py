"""MobileNetV3, a backbone for phones."""

from typing import NamedTuple

from tfsegkd._keras import keras
from tfsegkd.layers import HardGate
from tfsegkd.models import blocks
from tfsegkd.models.dilation import Position, dilate
from tfsegkd.models.keras_weights import copy_block, download

layers = keras.layers
MEAN = STD = 127.5


class _Row(NamedTuple):
    """A block of the papers' tables."""

    kernel: int
    expansion: float
    filters: int
    attention: bool
    swish: bool
    stride: int


_ROWS = {
    "large": (
        _Row(3, 1, 16, False, False, 1),
        _Row(3, 4, 24, False, False, 2),
        _Row(3, 3, 24, False, False, 1),
        _Row(5, 3, 40, True, False, 2),
        _Row(5, 3, 40, True, False, 1),
        _Row(5, 3, 40, True, False, 1),
        _Row(3, 6, 80, False, True, 2),
        _Row(3, 2.5, 80, False, True, 1),
        _Row(3, 2.3, 80, False, True, 1),
        _Row(3, 2.3, 80, False, True, 1),
        _Row(3, 6, 112, True, True, 1),
        _Row(3, 6, 112, True, True, 1),
        _Row(5, 6, 160, True, True, 2),
        _Row(5, 6, 160, True, True, 1),
        _Row(5, 6, 160, True, True, 1),
    ),
    "small": (
        _Row(3, 1, 16, True, False, 2),
        _Row(3, 72 / 16, 24, False, False, 2),
        _Row(3, 88 / 24, 24, False, False, 1),
        _Row(5, 4, 40, True, True, 2),
        _Row(5, 6, 40, True, True, 1),
        _Row(5, 6, 40, True, True, 1),
        _Row(5, 3, 48, True, True, 1),
        _Row(5, 3, 48, True, True, 1),
        _Row(5, 6, 96, True, True, 2),
        _Row(5, 6, 96, True, True, 1),
        _Row(5, 6, 96, True, True, 1),
    ),
}


def mobilenet_v3(x, size: str, output_stride: int, width_multiplier: float = 1.0) -> dict:
    """Builds the backbone on normalised pixels.

    A hard swish is x · ReLU6(x + 3): six times the paper's. The convolution that follows has a kernel that
    is smaller by 6, so the network computes the same and spends no multiplication by 1/6.

    Args:
        x: The normalised image, (N, H, W, 3).
        size: 'large' or 'small'.
        output_stride: 8, 16 or 32; below 32 the last stages keep their resolution and dilate instead.
        width_multiplier: Scales the channels of every block, rounded to multiples of 8.

    Returns:
        The last feature at each stride: {2: …, 4: …, 8: …[, 16: …][, 32: …]}; at the last stride it is
        the output of the final 1×1 convolution.

    Reference:
        Howard et al., ICCV 2019, https://arxiv.org/abs/1905.02244, tables 1 and 2.
        Differs: hard swish and hard sigmoid without their factor 1/6.
    """
    x = _conv(x, 16, 3, "backbone_stem", stride=2, swish=True)
    features = {}
    scale = 6.0  # of the values that the next block reads, compared with the paper's
    for row, position in _plan(size, output_stride):
        x = _block(x, row, position, blocks.scaled(row.filters, width_multiplier), scale)
        features[position.reached] = x
        scale = 1.0
    features[output_stride] = _conv(x, blocks.scaled(6 * x.shape[-1], 1.0), 1, "backbone_last", swish=True)
    return features


def load_imagenet(model: keras.Model, size: str, output_stride: int, width_multiplier: float = 1.0) -> None:
    """Loads Keras' ImageNet weights, downloaded once, into the backbone of `model`.

    Raises:
        ConnectionError: if they cannot be downloaded.
        ValueError: for a width without weights.
    """
    source = download(f"MobileNetV3{size.title()}", alpha=width_multiplier, include_preprocessing=False)
    copy_block(model, "backbone_stem", source, "Conv", "Conv/BatchNorm")
    scale = 6.0  # the ratio of the values to those of Keras here
    for number, (row, position) in enumerate(_plan(size, output_stride)):
        prefix = f"expanded_conv_{number}/" if number else "expanded_conv/"
        scale = _copy(model, row, position, source, prefix, scale)
    copy_block(model, "backbone_last", source, "Conv_1", "Conv_1/BatchNorm", scale)


def _copy(model, row: _Row, position: Position, source, prefix, scale):
    """Copies one block whose input is `scale` times as large as in `source`; returns its output's scale."""
    entered = scale

    def conv(name, part, factor=1.0):
        copy_block(model, name, source, prefix + part, f"{prefix}{part}/BatchNorm", scale, factor)

    if row.expansion != 1:
        conv(f"{position.name}_expand", "expand")
        scale = 6.0 if row.swish else 1.0
    conv(f"{position.name}_depthwise", "depthwise")
    scale = 6.0 if row.swish else 1.0
    if row.attention:
        for name, part, divisor in (("squeeze", "Conv", scale), ("excite", "Conv_1", 1.0)):
            kernel, bias = source.get_layer(f"{prefix}squeeze_excite/{part}").get_weights()
            model.get_layer(f"{position.name}_{name}").set_weights([kernel / divisor, bias])
        scale *= 6.0
    added = any(layer.name == f"{position.name}_project" for layer in model.layers)
    conv(position.name, "project", entered if added else 1.0)
    return entered if added else 1.0


def _plan(size, output_stride):
    rows = _ROWS[size]
    return list(zip(rows, dilate([row.stride for row in rows], 2, output_stride), strict=True))


def _block(x, row: _Row, position: Position, filters: int, scale: float):
    shortcut, name = x, position.name
    inner = blocks.scaled(x.shape[-1] * row.expansion, 1.0)
    if row.expansion != 1:
        x = _conv(x, inner, 1, f"{name}_expand", swish=row.swish)
        scale = 6.0 if row.swish else 1.0
    x = blocks.depthwise(
        x,
        row.kernel,
        f"{name}_depthwise",
        position.stride,
        position.dilation,
        relu=None if row.swish else 0,
        initializer=_he_normal(scale),
    )
    scale = 1.0
    if row.swish:
        x, scale = _swish(x, f"{name}_depthwise"), 6.0
    if row.attention:
        x, scale = _attend(x, blocks.scaled(inner, 0.25), name, scale), 6.0 * scale
    if row.stride > 1 or shortcut.shape[-1] != filters:
        return blocks.conv(x, filters, 1, name, relu=None, initializer=_he_normal(scale))
    x = blocks.conv(x, filters, 1, f"{name}_project", relu=None, initializer=_he_normal(scale))
    return layers.Add(name=name)([shortcut, x])


def _he_normal(scale):
    """He's initial kernels for inputs that are `scale` times as large as usual."""
    return keras.initializers.VarianceScaling(2.0 / scale**2, "fan_in", "truncated_normal")


def _conv(x, filters, kernel, name, stride=1, swish=False):
    x = blocks.conv(x, filters, kernel, name, stride, relu=None if swish else 0)
    return _swish(x, name) if swish else x


def _swish(x, name):
    return layers.Multiply(name=f"{name}_swish")([x, HardGate(name=f"{name}_gate")(x)])


def _attend(x, filters, name, scale):
    """Squeeze and excitation: weights each channel by the global context."""
    y = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze_pool")(x)
    y = layers.Conv2D(filters, 1, kernel_initializer=_he_normal(scale), name=f"{name}_squeeze")(y)
    y = layers.ReLU(name=f"{name}_squeeze_relu")(y)
    y = layers.Conv2D(x.shape[-1], 1, name=f"{name}_excite")(y)
    y = HardGate(name=f"{name}_excite_gate")(y)
    return layers.Multiply(name=f"{name}_attention")([x, y])
