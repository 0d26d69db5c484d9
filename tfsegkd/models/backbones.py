"""Backbones by name."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.models import blocks, efficientnet_lite, mobilenet_v2, mobilenet_v3, resnet

_FROM_FILE = (
    "ImageNet weights of {name!r} come from a file: build the model with weights=None, then call "
    "tfsegkd.models.load_torch_weights(model, path) with torchvision's .pth."
)


class _Backbone(NamedTuple):
    """A backbone: its expected pixels, its builder, and its loader of ImageNet weights if it has one."""

    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]
    build: Callable
    load: Callable | None = None
    scalable: bool = True
    stages: int | None = None  # their number, if it can end after any of them


_BACKBONES = {
    **{
        f"efficientnet_lite{version}": _Backbone(
            efficientnet_lite.MEAN,
            efficientnet_lite.STD,
            partial(efficientnet_lite.efficientnet_lite, version=version),
            partial(efficientnet_lite.load_imagenet, version=version),
            scalable=False,
            stages=efficientnet_lite.STAGES,
        )
        for version in (0, 1, 2)
    },
    "mobilenet_v2": _Backbone(
        mobilenet_v2.MEAN, mobilenet_v2.STD, mobilenet_v2.mobilenet_v2, mobilenet_v2.load_imagenet
    ),
    **{
        f"mobilenet_v3_{size}": _Backbone(
            mobilenet_v3.MEAN,
            mobilenet_v3.STD,
            partial(mobilenet_v3.mobilenet_v3, size=size),
            partial(mobilenet_v3.load_imagenet, size=size),
        )
        for size in ("large", "small")
    },
    **{
        f"resnet{depth}": _Backbone(resnet.MEAN, resnet.STD, partial(resnet.resnet, depth=depth))
        for depth in (18, 50, 101)
    },
}
NAMES = tuple(_BACKBONES)


def backbone(
    name: str,
    input_shape: tuple[int, int, int],
    output_stride: int,
    weights: str | None,
    width_multiplier: float = 1.0,
    stages: int | None = None,
):
    """Builds the first part of a network, from raw pixels to features.

    Args:
        name: One of `NAMES`.
        input_shape: (H, W, 3).
        output_stride: 8, 16 or 32: the stride of the last feature, if all stages are built.
        weights: 'imagenet' if available, or None for random ones. They are only checked here, before anything
            is built; `load_weights` loads them.
        width_multiplier: Scales the channels of every layer, rounded to multiples of 8.
        stages: After how many stages it ends; None builds all.

    Returns:
        The input tensor, and the last feature at each stride: {4: …, 8: …[, 16: …][, 32: …]}.

    Raises:
        ValueError: for an unknown choice, one that this backbone does not offer, or images smaller than
            `output_stride`.
    """
    checks.one_of(name, NAMES, "backbone")
    checks.one_of(output_stride, (8, 16, 32), "output_stride")
    checks.one_of(weights, ("imagenet", None), "weights")
    checks.positive(width_multiplier, "width_multiplier")
    chosen = _BACKBONES[name]
    if weights and chosen.load is None:
        raise ValueError(_FROM_FILE.format(name=name))
    options = _options(name, width_multiplier, stages)
    if min(input_shape[:2]) < output_stride:
        raise ValueError(
            f"Images must be at least {output_stride}×{output_stride} pixels, the stride of {name!r}. "
            f"Received input_shape {tuple(input_shape)}. Use larger images, or a network without a backbone."
        )
    inputs, x = blocks.pixels(input_shape, chosen.mean, chosen.std, output_stride)
    return inputs, chosen.build(x, output_stride=output_stride, **options)


def _options(name: str, width_multiplier: float, stages: int | None) -> dict:
    """The arguments of a backbone's functions besides the output stride."""
    chosen = _BACKBONES[name]
    if width_multiplier != 1.0 and not chosen.scalable:
        raise ValueError(f"width_multiplier must be 1.0 for backbone {name!r}. Received: {width_multiplier}.")
    options = {"width_multiplier": width_multiplier} if chosen.scalable else {}
    if stages is not None:
        if chosen.stages is None:
            raise ValueError(f"Backbone {name!r} has no stages to end after. Received: stages={stages!r}.")
        options["stages"] = checks.one_of(stages, range(1, chosen.stages + 1), "stages")
    return options


def network(
    name: str,
    head: Callable,
    num_classes: int,
    input_shape: tuple[int, int, int],
    backbone_name: str,
    weights: str | None,
    output_stride: int,
    width_multiplier: float,
) -> keras.Model:
    """A network with a backbone and a head on its features.

    Args:
        name: Of the network.
        head: Makes the input of the classifier: ({stride: feature}) → (tensor, its stride).
        num_classes, input_shape: As for every builder.
        backbone_name, weights, output_stride, width_multiplier: As for `backbone`.

    Raises:
        ValueError: for an unknown choice, or one that this backbone does not offer.
        ImportError: if the weights' extra is not installed.
        ConnectionError: if the weights cannot be downloaded.
    """
    inputs, features = backbone(backbone_name, input_shape, output_stride, weights, width_multiplier)
    x, stride = head(features)
    model = keras.Model(inputs, blocks.logits(x, inputs, num_classes, factor=stride), name=name)
    load_weights(model, backbone_name, output_stride, weights, width_multiplier)
    return model


def load_weights(
    model: keras.Model,
    name: str,
    output_stride: int,
    weights: str | None,
    width_multiplier: float = 1.0,
    stages: int | None = None,
) -> None:
    """Loads the backbone's weights of `model`, built with the same arguments, if `weights` is 'imagenet'.

    Raises:
        ImportError: if the weights' extra is not installed.
        ConnectionError: if they cannot be downloaded.
    """
    if weights is None:
        return
    options = _options(name, width_multiplier, stages)
    _BACKBONES[name].load(model, output_stride=output_stride, **options)


def pretrained_but_random(model: keras.Model) -> bool:
    """Whether the backbone of `model` has available ImageNet weights but is still randomly initialized.

    Identifies the backbone by the names of its blocks, so a loaded network works, too.
    """
    names = ("backbone_", "stride")
    norms = [layer for layer in model.layers if layer.name.startswith(names)]
    norms = [layer for layer in norms if isinstance(layer, keras.layers.BatchNormalization)]
    has_backbone = any(layer.name.startswith("backbone_stem") for layer in norms)
    return has_backbone and all(
        np.all(norm.moving_mean == 0) and np.all(norm.moving_variance == 1) for norm in norms
    )
