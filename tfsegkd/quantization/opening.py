"""Layers taken apart until each is one operation that TFLite has in int8.

What a layer becomes computes what the layer did, bears its name at the end, and goes on training its weights.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tfsegkd._keras import keras
from tfsegkd.graph import Node, canonical, read
from tfsegkd.layers import AdaptiveMean
from tfsegkd.quantization import kinds
from tfsegkd.quantization.rewiring import rewire, twin
from tfsegkd.quantization.substitutes import GridGain, StripMean

layers = keras.layers
_MOST_JOINED = 5  # tensors that the int8 delegate concatenates at once

_RULES: dict[type, Callable] = {}
# What none of the rules below can help.
_CURES = {
    **dict.fromkeys(
        ("GroupNormalization", "LayerNormalization", "UnitNormalization"),
        "It divides by what it finds in each image, which int8 cannot. Use BatchNormalization.",
    ),
    "ELU": "TFLite has no 'elu' in int8. Replace it by ReLU or LeakyReLU.",
    "Lambda": "Nobody can see what it computes. Replace it by a layer.",
}


def open_layers(model: keras.Model) -> keras.Model:
    """Rebuilds `model` flat, of layers that are one int8 operation each; it stays as it is.

    Raises:
        ValueError: for a layer that int8 cannot compute, with its name and the cure.
    """
    graph = read(model) if all(map(_is_plain, model.layers)) else canonical(model).graph
    called = dict.fromkeys(graph.layers(), 0)

    def call(node, inputs, **options):
        called[node.name] += 1
        name = node.name
        if called[name] > 1:
            # Without weights each place may have a layer of its own; shared weights would be untied.
            if node.layer.weights:
                refuse(
                    node,
                    model,
                    "It is called more than once: use one layer for each place, with its own name.",
                )
            name = f"{name}_{called[name]}"
        try:
            return _open(twin(node.layer, name=name), inputs, node.layer.get_weights(), **options)
        except CannotBeOpened as error:
            refuse(node, model, str(error))

    return rewire(graph, call)


def _is_plain(layer):
    return isinstance(layer, layers.InputLayer) or type(layer) in _RULES or kinds.is_known(layer)


class CannotBeOpened(ValueError):
    """Says what to do instead."""


def refuse(node: Node, model: keras.Model, cure: str):
    """Raises a ValueError that names the layer of `node` and says what to do."""
    raise ValueError(
        f"Layer {node.name!r} ({type(node.layer).__name__}) of model {model.name!r} cannot be quantized to "
        f"int8. {cure}"
    ) from None


def _opens(*types: type) -> Callable:
    """Files a rule for layers: (layer, inputs, weights) → output, or None where the layer may stay."""

    def add(rule):
        _RULES.update(dict.fromkeys(types, rule))
        return rule

    return add


def _open(layer: keras.layers.Layer, inputs: Any, weights: list = (), **options) -> Any:
    """Calls `layer`, which is new and not built, or what its rule makes of it."""
    rule = _RULES.get(type(layer))
    output = rule(layer, inputs, list(weights)) if rule else None
    return _call(layer, inputs, weights, **options) if output is None else output


def _call(layer, inputs, weights=(), **options):
    if not kinds.is_known(layer):
        others = (
            f"Replace it by layers out of {kinds.known()}, or file it with tfsegkd.quantization.register."
        )
        raise CannotBeOpened(_CURES.get(type(layer).__name__, others))
    output = layer(inputs, **options)
    layer.set_weights(list(weights))
    return output


def affine(x, scale, offset, name: str, trainable: bool = False):
    """x · scale + offset for each channel, as a 1×1 depthwise convolution.

    Args:
        scale: A number, or one for each channel.
        offset: The same; None for no offset.
    """
    if len(x.shape) != 4:
        raise CannotBeOpened(f"It is given {len(x.shape)} axes. Expected images (N, H, W, C).")
    channels = x.shape[-1]

    def spread(values):
        return np.broadcast_to(np.asarray(values, np.float32).ravel(), channels)

    weights = [spread(scale).reshape(1, 1, channels, 1)] + ([] if offset is None else [spread(offset)])
    layer = layers.DepthwiseConv2D(1, use_bias=offset is not None, trainable=trainable, name=name)
    return _call(layer, x, weights)


# The activations that are more than one operation, or another layer: (x, name) → output.


def _swish(x, name):
    return layers.Multiply(name=name)([x, layers.Activation("sigmoid", name=f"{name}_gate")(x)])


def _hard_sigmoid(x, name, slope=0.2):
    return layers.ReLU(1.0, name=name)(affine(x, slope, 0.5, f"{name}_slope"))


def _hard_swish(x, name):
    return layers.Multiply(name=name)([x, _hard_sigmoid(x, f"{name}_gate", slope=1 / 6)])


_ACTIVATIONS = {
    "relu": lambda x, name: layers.ReLU(name=name)(x),
    "relu6": lambda x, name: layers.ReLU(6.0, name=name)(x),
    "swish": _swish,
    "silu": _swish,
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": _hard_swish,
}
# TFLite has these as they are.
_PLAIN = ("linear", "sigmoid", "tanh", "softmax")


@_opens(layers.Activation)
def _activation(layer, x, weights):
    name = kinds.activation(layer)
    if name in _PLAIN:
        return None
    if name not in _ACTIVATIONS:
        raise CannotBeOpened(
            f"TFLite has no {name!r} in int8. Replace it by one of {sorted((*_ACTIVATIONS, *_PLAIN))}."
        )
    return _ACTIVATIONS[name](x, layer.name)


@_opens(*kinds.KERNELS)
def _inline_activation(layer, x, weights):
    if kinds.activation(layer) in ("linear", "relu", "relu6"):
        return None
    linear = twin(layer, name=f"{layer.name}_linear", activation=None)
    return _open(layers.Activation(layer.activation, name=layer.name), _call(linear, x, weights))


@_opens(layers.SeparableConv2D)
def _separable(layer, x, weights):
    config = layer.get_config()
    shared = ("strides", "padding", "data_format", "dilation_rate", "trainable")
    depthwise = layers.DepthwiseConv2D(
        layer.kernel_size,
        depth_multiplier=layer.depth_multiplier,
        use_bias=False,
        name=f"{layer.name}_depthwise",
        **{key: config[key] for key in shared},
    )
    pointwise = layers.Conv2D(
        layer.filters,
        1,
        use_bias=layer.use_bias,
        activation=layer.activation,
        trainable=layer.trainable,
        name=layer.name,
    )
    return _open(pointwise, _call(depthwise, x, weights[:1]), weights[1:])


@_opens(layers.ReLU)
def _relu(layer, x, weights):
    if layer.threshold or (layer.negative_slope and layer.max_value is not None):
        raise CannotBeOpened("Expected a ReLU without threshold, and with a slope or a maximum, not both.")
    if layer.negative_slope:
        return layers.LeakyReLU(float(layer.negative_slope), name=layer.name)(x)
    return None


@_opens(layers.PReLU)
def _prelu(layer, x, weights):
    """slope · x + ReLU((1 − slope) · x): two depthwise convolutions and an Add."""
    slope = weights[0]
    if slope.size != x.shape[-1]:
        raise CannotBeOpened(
            "It has a slope for each pixel. Expected one for each channel. Build it with shared_axes=[1, 2]."
        )
    if slope.max() > 1.0:
        raise CannotBeOpened(
            f"Its slopes reach {slope.max():.3g}. Expected at most 1. Keep them there with an "
            f"alpha_constraint, or use LeakyReLU."
        )
    trainable, name = layer.trainable, layer.name
    line = affine(x, slope, None, f"{name}_line", trainable)
    bend = affine(x, 1.0 - slope, None, f"{name}_bend", trainable)
    return layers.Add(name=name)([line, layers.ReLU(name=f"{name}_relu")(bend)])


@_opens(layers.Add, layers.Multiply)
def _pairwise(layer, inputs, weights):
    if len(inputs) == 2:
        return None
    x = inputs[0]
    for number, other in enumerate(inputs[1:], start=1):
        last = number == len(inputs) - 1
        x = type(layer)(name=layer.name if last else f"{layer.name}_{number}")([x, other])
    return x


@_opens(layers.Average)
def _average(layer, inputs, weights):
    total = _open(layers.Add(name=f"{layer.name}_sum"), inputs)
    return affine(total, 1.0 / len(inputs), None, layer.name)


@_opens(layers.Concatenate)
def _concatenate(layer, inputs, weights):
    if len(inputs) <= _MOST_JOINED:
        return None
    rest = twin(layer, name=f"{layer.name}_{len(inputs)}")(inputs[_MOST_JOINED - 1 :])
    return _open(layer, [*inputs[: _MOST_JOINED - 1], rest])


@_opens(layers.Rescaling)
def _rescaling(layer, x, weights):
    return affine(x, layer.scale, layer.offset, layer.name)


@_opens(layers.Normalization)
def _normalization(layer, x, weights):
    layer.build(x.shape)
    if weights:  # else it was built with what others would adapt
        layer.set_weights(weights)
        layer.finalize_state()
    mean, deviation = np.asarray(layer.mean).ravel(), np.sqrt(np.asarray(layer.variance)).ravel()
    deviation = np.maximum(deviation, keras.backend.epsilon())
    if layer.invert:
        return affine(x, deviation, mean, layer.name)
    return affine(x, 1.0 / deviation, -mean / deviation, layer.name)


@_opens(AdaptiveMean)
def _adaptive_mean(layer, x, weights):
    rows = StripMean(layer.bins, axis=1, name=f"{layer.name}_rows")(x)
    return StripMean(layer.bins, axis=2, name=layer.name)(rows)


@_opens(layers.AveragePooling2D)
def _average_pooling(layer, x, weights):
    """A depthwise convolution, for the delegate has no average pooling.

    It counts the zeros around the image in; the factors that undo this differ by row and column.
    """
    (rows, columns), area = layer.pool_size, layer.pool_size[0] * layer.pool_size[1]
    gains = [
        _border_gains(side, size, stride)
        for side, size, stride in zip(x.shape[1:3], layer.pool_size, layer.strides, strict=True)
    ]
    exact = layer.padding == "valid" or all(gain == 1.0 for gain in (*gains[0], *gains[1]))
    kernel = np.full((rows, columns, x.shape[-1], 1), 1.0 / area, np.float32)
    mean = layers.DepthwiseConv2D(
        layer.pool_size,
        strides=layer.strides,
        padding=layer.padding,
        use_bias=False,
        trainable=False,
        name=layer.name if exact else f"{layer.name}_mean",
    )
    x = _call(mean, x, [kernel])
    return x if exact else GridGain(*gains, name=layer.name)(x)


def _border_gains(side, size, stride):
    """Of each window along a side padded by 'same': its length divided by its pixels that lie inside."""
    windows = -(-side // stride)
    before = max((windows - 1) * stride + size - side, 0) // 2
    starts = [number * stride - before for number in range(windows)]
    return [size / (min(start + size, side) - max(start, 0)) for start in starts]
