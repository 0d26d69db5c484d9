"""Weights of torchvision's networks, read without PyTorch."""

import os
import re
from dataclasses import dataclass
from functools import partial

from tfsegkd._keras import keras
from tfsegkd.models import efficientnet_lite, resnet
from tfsegkd.models.torch_file import read_tensors
from tfsegkd.models.torch_tensors import copy_tensors, tensor_names

# Tensors of files that are not part of the network: an auxiliary head for training, a counter of batches, and
# the heads of classifiers.
_LEFT_OUT = re.compile(r"aux_classifier\.|.*\.num_batches_tracked$|fc\.|_conv_head\.|_bn1\.|_fc\.")
_LITE_BLOCK = re.compile(r"_blocks\.(\d+)\.")
# The names of every backbone's tensors, by output stride.
_RESNETS = [partial(resnet.torch_names, depth) for depth in (18, 50, 101)]
_LITES = [
    partial(efficientnet_lite.torch_names, version, stages=stages)
    for version in (0, 1, 2)
    for stages in range(1, efficientnet_lite.STAGES + 1)
]


@dataclass(frozen=True)
class WeightsReport:
    """The tensors of a file that were loaded or left out.

    Args:
        loaded: The number of loaded tensors.
        left_out: Names of tensors that the network does not use: auxiliary and classifier heads, counters.
        untouched: Names of layers with weights that are not in the file.

    Example:
        report = models.WeightsReport(loaded=3, left_out=("num_batches_tracked",), untouched=())
        report.loaded  # 3
    """

    loaded: int
    left_out: tuple[str, ...]
    untouched: tuple[str, ...]


def load_torch_weights(model: keras.Model, path: str | os.PathLike) -> WeightsReport:
    """Loads the weights of a PyTorch file into a network, without PyTorch and without running its pickle.

    torchvision's `deeplabv3_resnet50`, `deeplabv3_resnet101` and `fcn_resnet50` fill a `deeplab_v3` or `fcn`
    of the same backbone; at output stride 8, and for images whose sides are multiples of 8, the outputs are
    torchvision's. A classifier of torchvision (ResNet-18, 50, 101), or a file of EfficientNet-Lite0, 1 or 2,
    fills the backbone of any network of this package, also one with fewer stages.

    Args:
        model: A network of this package with a ResNet or EfficientNet-Lite backbone. It is changed in place,
            and only if the whole file fits.
        path: A `.pth` of `torch.save(model.state_dict())`.

    Returns:
        What was loaded, what was left out, and which layers keep their weights.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no state dict, the network has no such backbone, or a tensor is missing,
            left over or of another shape; the message lists them.

    Example:
        # model = models.deeplab_v3(21, (512, 512, 3), backbone="resnet101")
        # models.load_torch_weights(model, "deeplabv3_resnet101_coco.pth").loaded
    """
    tensors = read_tensors(path)
    names = _names(model, tensors, path)
    wanted = {key for _, conv, norm in names for keys in tensor_names(conv, norm) for key in keys}
    over = [name for name in tensors if name not in wanted and not _is_left_out(name, wanted)]
    if over:
        raise ValueError(
            f"{os.fspath(path)!r} holds tensors that {model.name!r} has no place for: {', '.join(over)}. "
            f"Expected those of the same network. Build the network that the file was made for."
        )
    filled = copy_tensors(model, names, tensors) | {"normalization"}
    return WeightsReport(
        loaded=len(wanted),
        left_out=tuple(name for name in tensors if name not in wanted),
        untouched=tuple(layer.name for layer in model.layers if layer.weights and layer.name not in filled),
    )


def _names(model, tensors, path):
    """The names for the kind of file that holds `tensors`."""
    if "_conv_stem.weight" in tensors:
        return _backbone(model, _LITES, path)
    if "conv1.weight" in tensors:
        return _backbone(model, _RESNETS, path)
    if "backbone.conv1.weight" in tensors and model.name in _HEADS:
        names = _backbone(model, _RESNETS, path)
        names = [(name, f"backbone.{conv}", f"backbone.{norm}") for name, conv, norm in names]
        return names + _HEADS[model.name](model)
    raise ValueError(
        f"{os.fspath(path)!r} cannot fill {model.name!r}. Expected a torchvision deeplabv3 or fcn for a "
        f"{' or '.join(_HEADS)}, or a ResNet or EfficientNet-Lite classifier for a network with that "
        f"backbone. Received tensors such as {', '.join(list(tensors)[:3])}."
    )


def _is_left_out(name, wanted):
    """Whether a tensor is not part of the backbone, but of a head or of a stage that is not built."""
    blocks = [int(found[1]) for found in map(_LITE_BLOCK.match, wanted) if found]
    block = _LITE_BLOCK.match(name)
    return bool(_LEFT_OUT.match(name)) or bool(block and blocks and int(block[1]) > max(blocks))


def _backbone(model, tables, path):
    """The names whose convolutions are those of the backbone of `model`."""
    present = {layer.name.removesuffix("_conv") for layer in model.layers if layer.name.endswith("_conv")}
    present = {name.removesuffix("_project") for name in present if name.startswith(("backbone_", "stride"))}
    for table in tables:
        for output_stride in (8, 16, 32):
            names = table(output_stride=output_stride)
            if {name for name, *_ in names} == present:
                return names
    raise ValueError(
        f"{os.fspath(path)!r} holds another backbone than model {model.name!r} has. Build the model with the "
        f"backbone that the file was made for."
    )


def _deeplab_v3(model):
    rates = [
        layer.name.removesuffix("_conv")
        for layer in model.layers
        if re.fullmatch(r"aspp_\d+_conv", layer.name)
    ]
    branches = ["aspp_1x1", *sorted(rates, key=lambda name: int(name.removeprefix("aspp_")))]
    names = [
        (name, f"classifier.0.convs.{n}.0", f"classifier.0.convs.{n}.1") for n, name in enumerate(branches)
    ]
    last = f"classifier.0.convs.{len(branches)}"
    return [
        *names,
        ("aspp_global", f"{last}.1", f"{last}.2"),
        ("aspp", "classifier.0.project.0", "classifier.0.project.1"),
        ("head", "classifier.1", "classifier.2"),
        ("classifier", "classifier.4", None),
    ]


def _fcn(model):
    return [("head", "classifier.0", "classifier.1"), ("classifier", "classifier.4", None)]


_HEADS = {"deeplab_v3": _deeplab_v3, "fcn": _fcn}
