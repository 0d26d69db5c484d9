"""Tensors of PyTorch, copied layer by layer."""

from collections.abc import Iterable

import numpy as np

from tfsegkd._keras import keras
from tfsegkd.models import blocks

# For each convolution: the name of our block, of its convolution in PyTorch, and of its BatchNorm there; None
# for a convolution with a bias and without BatchNorm.
Names = Iterable[tuple[str, str, str | None]]


def tensor_names(conv: str, norm: str | None) -> tuple[list[str], list[str]]:
    """The tensors of a convolution and those of its BatchNorm, in the order of Keras' weights."""
    if norm is None:
        return [f"{conv}.weight", f"{conv}.bias"], []
    return [f"{conv}.weight"], [
        f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")
    ]


def copy_tensors(model: keras.Model, names: Names, tensors: dict[str, np.ndarray]) -> set[str]:
    """Copies convolutions and their BatchNorms into `model`; copies nothing if any does not fit.

    Args:
        names: The corresponding names.
        tensors: A state dict.

    Returns:
        The names of the layers with copied weights.

    Raises:
        ValueError: if tensors are missing or have other shapes; the message lists them.
    """
    planned, faults = [], []
    for name, conv, norm in names:
        ours = blocks.conv_and_norm(model, name) if norm else (model.get_layer(name), None)
        for layer, keys in zip(ours, tensor_names(conv, norm), strict=True):
            if not keys:
                continue
            values = [_layout(layer, tensors[key]) if key in tensors else None for key in keys]
            for key, value, weight in zip(keys, values, layer.weights, strict=True):
                if value is None:
                    faults.append(f"{key} is missing")
                elif value.shape != tuple(weight.shape):
                    faults.append(f"{key} becomes {value.shape} where {weight.name} is {tuple(weight.shape)}")
            planned.append((layer, values))
    if faults:
        raise ValueError(
            f"The tensors do not fit model {model.name!r}. Expected one of the right shape for each layer. "
            f"Received: {'; '.join(faults)}. Build the network that the file was made for."
        )
    for layer, values in planned:
        layer.set_weights(values)
    return {layer.name for layer, _ in planned}


def _layout(layer, tensor):
    if tensor.ndim != 4:
        return tensor
    kernel = tensor.transpose(2, 3, 1, 0)  # OIHW → HWIO
    return kernel.transpose(0, 1, 3, 2) if isinstance(layer, keras.layers.DepthwiseConv2D) else kernel
