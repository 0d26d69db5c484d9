"""ResNet, the backbone of most published teachers."""

from functools import partial

from tfsegkd._keras import keras
from tfsegkd.models import blocks
from tfsegkd.models.dilation import dilate

layers = keras.layers
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
_REPEATS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_conv = partial(blocks.conv, relu=0, epsilon=1e-5, symmetric=True)


def resnet(x, depth: int, output_stride: int, width_multiplier: float = 1.0) -> dict:
    """Builds the backbone on normalised pixels.

    Args:
        x: The normalised image, (N, H, W, 3).
        depth: 18, 50 or 101 layers.
        output_stride: 8, 16 or 32; below 32 the last stages keep their resolution and dilate instead.
        width_multiplier: Scales the channels of every layer, rounded to multiples of 8.

    Returns:
        The last feature at each stride: {4: …, 8: …[, 16: …][, 32: …]}.

    Reference:
        He et al., CVPR 2016, https://arxiv.org/abs/1512.03385, table 1.
        Differs: as in torchvision, the 3×3 convolution of a block strides, padding is symmetric, and
        BatchNorm's epsilon is 1e-5.
    """
    x = _conv(x, blocks.scaled(64, width_multiplier), 7, "backbone_stem", stride=2)
    # After a ReLU, padding with zeros does not change the maximum.
    x = layers.ZeroPadding2D(1, name="backbone_pool_padding")(x)
    x = layers.MaxPooling2D(3, strides=2, name="backbone_pool")(x)
    block = _basic if depth == 18 else _bottleneck
    features = {}
    for (stage, _), position in zip(_blocks(depth), _positions(depth, output_stride), strict=True):
        x = block(x, blocks.scaled(64 * 2**stage, width_multiplier), position)
        features[position.reached] = x
    return features


def torch_names(depth: int, output_stride: int) -> list[tuple[str, str, str]]:
    """Names in torchvision: (the block of the convolution here, its convolution, its BatchNorm)."""
    names = [("backbone_stem", "conv1", "bn1")]
    for (stage, number), position in zip(_blocks(depth), _positions(depth, output_stride), strict=True):
        source = f"layer{stage + 1}.{number}"
        for conv in range(1, 3 if depth == 18 else 4):
            names.append((f"{position.name}_{conv}", f"{source}.conv{conv}", f"{source}.bn{conv}"))
        if number == 0 and (stage > 0 or depth > 18):
            names.append((f"{position.name}_shortcut", f"{source}.downsample.0", f"{source}.downsample.1"))
    return names


def _blocks(depth):
    return [(stage, number) for stage, repeats in enumerate(_REPEATS[depth]) for number in range(repeats)]


def _positions(depth, output_stride):
    strides = [2 if stage > 0 and number == 0 else 1 for stage, number in _blocks(depth)]
    return dilate(strides, 4, output_stride)


def _basic(x, filters, position):
    name = position.name
    y = _conv(x, filters, 3, f"{name}_1", position.stride, position.dilation)
    y = _conv(y, filters, 3, f"{name}_2", dilation=position.after, relu=None)
    return _join(x, y, filters, position)


def _bottleneck(x, filters, position):
    name = position.name
    y = _conv(x, filters, 1, f"{name}_1")
    y = _conv(y, filters, 3, f"{name}_2", position.stride, position.dilation)
    y = _conv(y, 4 * filters, 1, f"{name}_3", relu=None)
    return _join(x, y, 4 * filters, position)


def _join(x, y, filters, position):
    if position.stride > 1 or x.shape[-1] != filters:
        x = _conv(x, filters, 1, f"{position.name}_shortcut", position.stride, relu=None)
    return layers.ReLU(name=position.name)(layers.Add(name=f"{position.name}_add")([x, y]))
