"""MobileNetV2, a backbone for phones."""

from tfsegkd._keras import keras
from tfsegkd.models import blocks
from tfsegkd.models.dilation import dilate
from tfsegkd.models.keras_weights import copy_block, download

MEAN = STD = 127.5

# expansion, filters, repeats, stride of the seven stages
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(x, output_stride: int, width_multiplier: float = 1.0) -> dict:
    """Builds the backbone on normalised pixels.

    Args:
        x: The normalised image, (N, H, W, 3).
        output_stride: 8, 16 or 32; below 32 the last stages keep their resolution and dilate instead.
        width_multiplier: Scales the channels of every layer, rounded to multiples of 8.

    Returns:
        The last feature at each stride: {2: …, 4: …, 8: …[, 16: …][, 32: …]}.

    Reference:
        Sandler et al., CVPR 2018, https://arxiv.org/abs/1801.04381, table 2, without its last convolution.
    """
    x = blocks.conv(x, blocks.scaled(32, width_multiplier), 3, "backbone_stem", stride=2)
    features = {}
    for (expansion, filters, _), position in _plan(output_stride):
        filters = blocks.scaled(filters, width_multiplier)
        x = blocks.inverted_residual(
            x, filters, position.name, stride=position.stride, expansion=expansion, dilation=position.dilation
        )
        features[position.reached] = x
    return features


def load_imagenet(model: keras.Model, output_stride: int, width_multiplier: float = 1.0) -> None:
    """Loads Keras' ImageNet weights, downloaded once, into the backbone of `model`.

    Raises:
        ConnectionError: if they cannot be downloaded.
        ValueError: for a width without weights.
    """
    source = download("MobileNetV2", alpha=width_multiplier)
    copy_block(model, "backbone_stem", source, "Conv1", "bn_Conv1")
    for number, ((expansion, *_), position) in enumerate(_plan(output_stride)):
        prefix = f"block_{number}_" if number else "expanded_conv_"
        parts = {"expand": f"{position.name}_expand"} if expansion > 1 else {}
        parts |= {"depthwise": f"{position.name}_depthwise", "project": position.name}
        for part, name in parts.items():
            copy_block(model, name, source, prefix + part, f"{prefix}{part}_BN")


def _plan(output_stride):
    rows = [
        (expansion, filters, stride if repeat == 0 else 1)
        for expansion, filters, repeats, stride in _STAGES
        for repeat in range(repeats)
    ]
    return list(zip(rows, dilate([row[-1] for row in rows], 2, output_stride), strict=True))
