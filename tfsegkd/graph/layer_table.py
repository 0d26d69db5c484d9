"""The layer table: how the channels of each layer type pass, what it costs, and what int8 does to it.

Whoever changes or converts a network asks this table and keeps no list of its own. A rule for channels is
called with the `Dependencies`, the node and the channels of its inputs, and returns those of the output, or a
`LayerChannels` where weights go along. Channels are numbered through the whole graph; those that are united
are kept or removed together.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.graph import geometry
from tfsegkd.graph.layer_spec import Cut, Kernel, LayerChannels, LayerSpec, Scale, activation, enter, spec_of
from tfsegkd.layers import (
    AdaptiveMean,
    ChannelShuffle,
    CropLike,
    FixedRange,
    GridGain,
    HardGate,
    MaxUnpooling,
    PadToStride,
    RepeatPixels,
    ResizeLike,
    StripMean,
)
from tfsegkd.layers.pooling import MOST_JOINED

layers = keras.layers

# Functions that treat every number alike. Others, such as softmax, look at all channels at once.
_ELEMENTWISE = frozenset(
    (
        *("elu", "exponential", "gelu", "hard_sigmoid", "leaky_relu", "linear", "mish", "relu", "relu6"),
        *("selu", "sigmoid", "silu", "softplus", "softsign", "swish", "tanh"),
    )
)

# How channels pass.


def mixes(function) -> bool:
    """Whether an activation, a function or a layer, looks at all channels at once as far as we know."""
    if isinstance(function, layers.Layer):
        if type(function) is layers.Activation:
            return mixes(function.activation)
        # Its weights would have to lose channels along with those of the layer that it is in.
        return not spec_of(function).elementwise or bool(function.weights)
    return function is not None and getattr(function, "__name__", None) not in _ELEMENTWISE


def _is_last(layer) -> bool:
    return getattr(layer, "data_format", None) != "channels_first"


def _input(dependencies, node, _):
    channels = dependencies.fresh(node.outputs[0].width)
    dependencies.freeze(channels, f"{node.name!r} is an input of the network")
    return channels


def _through(dependencies, node, inputs):
    if not _is_last(node.layer):
        return dependencies.stop(node, inputs, "its channels come first")
    return inputs[0]


def _activation(dependencies, node, inputs):
    if mixes(node.layer.activation):
        name = getattr(node.layer.activation, "__name__", repr(node.layer.activation))
        return dependencies.stop(
            node, inputs, f"the function {name!r} is not known to work channel by channel"
        )
    return inputs[0]


def _frozen(dependencies, node, inputs):
    return dependencies.stop(node, inputs, "it looks at all channels at once")


def _makes(dependencies, node, channels, cuts, sizes, kernels):
    """A layer that makes new channels; its weights end with a bias along them."""
    layer = node.layer
    if layer.use_bias:
        role = next(cut.role for cut in cuts if cut.channels is channels)
        cuts = [*cuts, Cut(len(kernels), 0, channels, role=role)]
    reads = next((cut.channels for cut in cuts if cut.role == "consumes"), channels)
    if mixes(layer.activation):
        dependencies.freeze(
            channels, f"the activation of {node.name!r} is not known to work channel by channel"
        )
    return LayerChannels(reads, channels, cuts, sizes=sizes, kernels=kernels)


def _conv(dependencies, node, inputs):
    layer, channels = node.layer, inputs[0]
    if not _is_last(layer):
        return None
    groups = layer.groups
    if groups == len(channels) and groups > 1:  # a depthwise convolution by another name
        outputs = np.repeat(channels, layer.filters // groups)
        found = _makes(
            dependencies, node, outputs, cuts=[Cut(0, 3, outputs, role="passes")], sizes={}, kernels=(0,)
        )
        found.inputs, found.sizes = channels, {"groups": channels, "filters": outputs}
        return found
    outputs = dependencies.fresh(layer.filters)
    for blocks in (channels.reshape(groups, -1), outputs.reshape(groups, -1)):
        for block in blocks[1:]:  # every block must lose as many
            dependencies.unite(blocks[0], block)
    cuts = [
        Cut(0, 2, channels[: len(channels) // groups], role="consumes"),
        Cut(0, 3, outputs, role="produces"),
    ]
    found = _makes(dependencies, node, outputs, cuts=cuts, sizes={"filters": outputs}, kernels=(0,))
    found.inputs = channels
    return found


def _transposed(dependencies, node, inputs):
    if not _is_last(node.layer):
        return None
    outputs = dependencies.fresh(node.layer.filters)
    cuts = [Cut(0, 2, outputs, role="produces"), Cut(0, 3, inputs[0], role="consumes")]
    return _makes(dependencies, node, outputs, cuts=cuts, sizes={"filters": outputs}, kernels=(0,))


def _dense(dependencies, node, inputs):
    outputs = dependencies.fresh(node.layer.units)
    cuts = [Cut(0, 0, inputs[0], role="consumes"), Cut(0, 1, outputs, role="produces")]
    return _makes(dependencies, node, outputs, cuts=cuts, sizes={"units": outputs}, kernels=(0,))


def _depthwise(dependencies, node, inputs):
    if not _is_last(node.layer):
        return None
    outputs = np.repeat(inputs[0], node.layer.depth_multiplier)
    found = LayerChannels(inputs[0], outputs, [Cut(0, 2, inputs[0], role="passes")], sizes={}, kernels=(0,))
    if node.layer.use_bias:
        found.cuts.append(Cut(1, 0, outputs, role="passes"))
    if mixes(node.layer.activation):
        dependencies.freeze(
            outputs, f"the activation of {node.name!r} is not known to work channel by channel"
        )
    return found


def _separable(dependencies, node, inputs):
    if not _is_last(node.layer):
        return None
    outputs, between = (
        dependencies.fresh(node.layer.filters),
        np.repeat(inputs[0], node.layer.depth_multiplier),
    )
    cuts = [
        Cut(0, 2, inputs[0], role="consumes"),
        Cut(1, 2, between, role="consumes"),
        Cut(1, 3, outputs, role="produces"),
    ]
    return _makes(dependencies, node, outputs, cuts=cuts, sizes={"filters": outputs}, kernels=(0, 1))


def _batch_norm(dependencies, node, inputs):
    if list(node.layer.axis) != [len(node.inputs[0].shape) - 1]:
        return dependencies.stop(node, inputs, "it does not normalise the last axis")
    count = len(node.layer.weights)
    return LayerChannels(inputs[0], inputs[0], [Cut(i, 0, inputs[0], role="passes") for i in range(count)])


def _group_norm(dependencies, node, inputs):
    layer, channels = node.layer, inputs[0]
    if layer.axis not in (-1, len(node.inputs[0].shape) - 1):
        return dependencies.stop(node, inputs, "it does not normalise the last axis")
    blocks = channels.reshape(len(channels) if layer.groups == -1 else layer.groups, -1)
    for column in blocks.T[1:]:  # a block has one mean: it goes as a whole
        dependencies.unite(blocks[:, 0], column)
    cuts = [Cut(i, 0, channels, role="passes") for i in range(len(layer.weights))]
    return LayerChannels(channels, channels, cuts, sizes={"groups": blocks[:, 0]})


def _prelu(dependencies, node, inputs):
    axis = len(node.layer.alpha.shape) - 1
    if node.layer.alpha.shape[-1] != len(inputs[0]):
        return inputs[0]
    return LayerChannels(inputs[0], inputs[0], [Cut(0, axis, inputs[0], role="passes")])


def _united(dependencies, node, inputs):
    widest = max(inputs, key=len)
    for channels in inputs:
        if len(channels) == len(widest):
            dependencies.unite(widest, channels)
        else:
            dependencies.freeze(channels, f"{node.name!r} spreads it over {len(widest)} channels")
    return widest


def _joined(dependencies, node, inputs):
    if node.layer.axis in (-1, len(node.inputs[0].shape) - 1):
        return np.concatenate(inputs)
    return _united(dependencies, node, inputs)


def _rescaling(dependencies, node, inputs):
    if np.ndim(node.layer.scale) or np.ndim(node.layer.offset):
        return dependencies.stop(node, inputs, "it has a scale of its own for each channel")
    return inputs[0]


def _flatten(dependencies, node, inputs):
    positions = node.inputs[0].positions
    if not _is_last(node.layer) or not positions:
        return dependencies.stop(node, inputs, "its input has no fixed size with channels last")
    return np.tile(inputs[0], positions)


def _reshape(dependencies, node, inputs):
    """Keeps the channels if the last axis keeps its length, or if each of its positions means one channel."""
    target, shape, width = node.layer.target_shape, node.outputs[0].shape, node.outputs[0].width
    given = inputs[0]
    if len(shape) == 2 and node.inputs[0].positions:  # a Flatten by another name
        given = np.tile(given, node.inputs[0].positions)
    if width != len(given):
        rows = given.reshape(-1, width) if width and len(given) % width == 0 else None
        if rows is None or (rows != rows[0]).any():
            return dependencies.stop(node, inputs, "it mixes channels with positions")
        given = rows[0]
    if target[-1] == -1:
        return given
    return LayerChannels(inputs[0], given, sizes={"target_shape": given})


def _permute(dependencies, node, inputs):
    if node.layer.dims[-1] != len(node.layer.dims):
        return dependencies.stop(node, inputs, "it moves the channels to another axis")
    return inputs[0]


def _shuffle(dependencies, node, inputs):
    groups = inputs[0].reshape(node.layer.groups, -1)
    for group in groups[1:]:  # what is dealt out together goes together, or the next places would shift
        dependencies.unite(groups[0], group)
    return groups.T.ravel()


def _repeated(dependencies, node, inputs):
    times, rest = divmod(node.outputs[0].width, len(inputs[0]) or 1)
    return None if rest else np.repeat(inputs[0], times)


# The ways that have a name; `Dependencies` looks them up here.
PASSAGES = {
    "through": _through,
    "united": _united,
    "joined": _joined,
    "repeated": _repeated,
    "frozen": _frozen,
}

# Multiply-accumulates of one image: (layer, input shapes, output shapes) → number, or None: nobody knows.


def _macs_of_dense(layer, inputs, outputs):
    return math.prod(inputs[0][1:]) * layer.units


def _macs_of_depthwise(layer, inputs, outputs):
    return _taps(layer, outputs[0]) * _grid(layer, outputs[0])[1]


def _macs_of_separable(layer, inputs, outputs):
    channels = _grid(layer, inputs[0])[1] * layer.depth_multiplier
    return _taps(layer, outputs[0]) * channels + _grid(layer, outputs[0])[0] * channels * layer.filters


def _macs_of_transposed(layer, inputs, outputs):
    return _taps(layer, inputs[0]) * _grid(layer, inputs[0])[1] * layer.filters


def _macs_of_conv(layer, inputs, outputs):
    return _taps(layer, outputs[0]) * _grid(layer, inputs[0])[1] // layer.groups * layer.filters


def _uncounted(layer, inputs, outputs):
    """A product without weights, which a look at the weights would miss."""
    return None


def _taps(layer, shape) -> int:
    """How often the window's positions are visited when the window goes over `shape`."""
    return math.prod(layer.kernel_size) * _grid(layer, shape)[0]


def _grid(layer, shape) -> tuple[int, int]:
    """The number of positions and of channels of `shape`."""
    if layer.data_format == "channels_first":
        return math.prod(shape[2:]), shape[1]
    return math.prod(shape[1:-1]), shape[-1]


def constant_response(layer: layers.Layer, kernels: Sequence[np.ndarray], inputs: np.ndarray) -> np.ndarray:
    """The output of a layer for an image that is `inputs` everywhere, borders and its bias left out.

    Args:
        kernels: Its kernels, or others of their shapes.
    """
    kernel = np.asarray(kernels[0], float)
    if isinstance(layer, layers.Dense):
        return inputs @ kernel
    taps = kernel.sum((0, 1))
    if isinstance(layer, layers.Conv2DTranspose):
        # Each output position sees one in strides² of the kernel's; on average:
        return taps @ inputs / np.prod(layer.strides)
    if isinstance(layer, layers.DepthwiseConv2D | layers.SeparableConv2D):
        made = (taps * inputs[:, None]).ravel()
        return made @ kernels[1][0, 0] if isinstance(layer, layers.SeparableConv2D) else made
    blocks, filters = inputs.reshape(layer.groups, -1), np.split(taps, layer.groups, axis=1)
    return np.concatenate([block @ part for block, part in zip(blocks, filters, strict=True)])


# What int8 makes of a layer: (layer, inputs, weights, build) → output, or None where it may stay. `layer` is
# new and not built. What it becomes computes the same, bears its name at the end, and goes on training its
# weights.


class NotDecomposable(ValueError):
    """Says what to do instead."""


def _is_half_linear(layer):
    return activation(layer) in ("linear", "relu")


def _by_interpolation(layer):
    return Scale.SAME if layer.interpolation == "nearest" else Scale.POOLED


def _resized(layer, x, weights, build):
    if layer.interpolation not in ("nearest", "bilinear"):
        raise NotDecomposable(
            f"TFLite has no interpolation {layer.interpolation!r} in int8. Use 'bilinear' or 'nearest'."
        )


def _repeated_pixels(layer, x, weights, build):
    """The delegate enlarges int8 images bilinearly only."""
    if layer.interpolation != "nearest":
        return _resized(layer, x, weights, build)
    return build.add(RepeatPixels(layer.size, name=layer.name), x)


def twin(layer: keras.layers.Layer, **changes: Any) -> keras.layers.Layer:
    """A layer of the same configuration but for `changes`; its weights are its own."""
    other = type(layer).from_config({**layer.get_config(), **changes})
    function = getattr(layer, "activation", None)
    if function and not isinstance(function, layers.Layer) and "activation" not in changes:
        # A configuration has the name only, and another function may have it, too.
        other.activation = function
    return other


def affine(build, x, scale, offset, name: str, trainable: bool = False):
    """x · scale + offset for each channel, as a 1×1 depthwise convolution.

    Args:
        scale: A number, or one for each channel.
        offset: The same; None for no offset.
    """
    if len(x.shape) != 4:
        raise NotDecomposable(f"It is given {len(x.shape)} axes. Expected images (N, H, W, C).")
    channels = x.shape[-1]

    def spread(values):
        return np.broadcast_to(np.asarray(values, np.float32).ravel(), channels)

    weights = [spread(scale).reshape(1, 1, channels, 1)] + ([] if offset is None else [spread(offset)])
    layer = layers.DepthwiseConv2D(1, use_bias=offset is not None, trainable=trainable, name=name)
    return build.add(layer, x, weights)


# The activations that are more than one operation, or another layer: (build, x, name) → output.


def _swish(build, x, name):
    gate = build.add(layers.Activation("sigmoid", name=f"{name}_gate"), x)
    return build.add(layers.Multiply(name=name), [x, gate])


def _hard_sigmoid(build, x, name, slope=0.2):
    return build.add(layers.ReLU(1.0, name=name), affine(build, x, slope, offset=0.5, name=f"{name}_slope"))


def _hard_swish(build, x, name):
    gate = _hard_sigmoid(build, x, f"{name}_gate", slope=1 / 6)
    return build.add(layers.Multiply(name=name), [x, gate])


_ACTIVATIONS = {
    "relu": lambda build, x, name: build.add(layers.ReLU(name=name), x),
    "relu6": lambda build, x, name: build.add(layers.ReLU(6.0, name=name), x),
    "swish": _swish,
    "silu": _swish,
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": _hard_swish,
}
# What they compute, because libraries have other functions of the same names.
_COMPUTED = {
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
    "swish": tf.nn.silu,
    "silu": tf.nn.silu,
    "hard_sigmoid": keras.activations.hard_sigmoid,
    "hard_swish": lambda x: x * tf.nn.relu6(x + 3) / 6,
}
# TFLite has these as they are.
_PLAIN = ("linear", "sigmoid", "tanh", "softmax")


def _decomposed_activation(layer, x, weights, build):
    name = activation(layer)
    if isinstance(layer.activation, layers.Layer):
        return build.decompose(twin(layer.activation, name=layer.name), x, weights)
    if name == "leaky_relu":
        # By name it has the slope that tf.nn.leaky_relu has.
        return build.add(layers.LeakyReLU(0.2, name=layer.name), x)
    if name in _PLAIN:
        return None
    if name not in _ACTIVATIONS:
        raise NotDecomposable(
            f"TFLite has no {name!r} in int8. Replace it by one of {sorted((*_ACTIVATIONS, *_PLAIN))}."
        )
    if name == "hard_sigmoid" and _computes(layer.activation, lambda x: tf.nn.relu6(x + 3) / 6):
        return _hard_sigmoid(build, x, layer.name, slope=1 / 6)
    if not _computes(layer.activation, _COMPUTED[name]):
        raise NotDecomposable(
            f"Its activation is called {name!r} and computes something else than TensorFlow's. Use one of "
            f"{sorted((*_ACTIVATIONS, *_PLAIN))} of tf_keras."
        )
    return _ACTIVATIONS[name](build, x, layer.name)


def _computes(function, expected):
    values = tf.linspace(-8.0, 8.0, 65)
    return np.allclose(function(values), expected(values), atol=1e-5)


def _without_activation(layer, x, weights, build):
    function = layer.activation
    if activation(layer) in ("linear", "relu", "relu6"):
        return None
    linear = twin(layer, name=f"{layer.name}_linear", activation=None)
    if isinstance(function, layers.Layer):
        after = twin(function, name=layer.name)
    else:
        after = layers.Activation(function, name=layer.name)
    count = 1 + bool(layer.use_bias)
    return build.decompose(after, build.add(linear, x, weights[:count]), weights[count:])


def _two_convolutions(layer, x, weights, build):
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
    return build.decompose(pointwise, build.add(depthwise, x, weights[:1]), weights[1:])


def _plain_relu(layer, x, weights, build):
    if layer.threshold or (layer.negative_slope and layer.max_value is not None):
        raise NotDecomposable("Expected a ReLU without threshold, and with a slope or a maximum, not both.")
    if layer.negative_slope:
        return build.add(layers.LeakyReLU(float(layer.negative_slope), name=layer.name), x)
    return None


def _line_and_bend(layer, x, weights, build):
    """slope · x + ReLU((1 − slope) · x): two depthwise convolutions and an Add."""
    slope = weights[0]
    if slope.size == 1:  # one for all channels
        slope = np.full(x.shape[-1], slope.item(), np.float32)
    if slope.size != x.shape[-1]:
        raise NotDecomposable(
            "It has a slope for each pixel. Expected one for each channel. Build it with shared_axes=[1, 2]."
        )
    if slope.max() > 1.0:
        raise NotDecomposable(
            f"Its slopes reach {slope.max():.3g}. Expected at most 1. Keep them there with an "
            f"alpha_constraint, or use LeakyReLU."
        )
    trainable, name = layer.trainable, layer.name
    line = affine(build, x, slope, offset=None, name=f"{name}_line", trainable=trainable)
    bend = affine(build, x, 1.0 - slope, offset=None, name=f"{name}_bend", trainable=trainable)
    return build.add(layers.Add(name=name), [line, build.add(layers.ReLU(name=f"{name}_relu"), bend)])


def _two_by_two(layer, inputs, weights, build):
    if len(inputs) == 2:
        return None
    x = inputs[0]
    for number, other in enumerate(inputs[1:], start=1):
        last = number == len(inputs) - 1
        step = type(layer)(name=layer.name if last else f"{layer.name}_{number}")
        x = build.add(step, [x, other])
    return x


def _sum_and_scale(layer, inputs, weights, build):
    total = build.decompose(layers.Add(name=f"{layer.name}_sum"), inputs)
    return affine(build, total, 1.0 / len(inputs), offset=None, name=layer.name)


def _few_at_once(layer, inputs, weights, build):
    if len(inputs) <= MOST_JOINED:
        return None
    rest = build.add(twin(layer, name=f"{layer.name}_{len(inputs)}"), inputs[MOST_JOINED - 1 :])
    return build.decompose(layer, [*inputs[: MOST_JOINED - 1], rest])


def _as_depthwise(layer, x, weights, build):
    return affine(build, x, layer.scale, offset=layer.offset, name=layer.name)


def _as_depthwise_from_statistics(layer, x, weights, build):
    layer.build(x.shape)
    if weights:  # else it was built with what others would adapt
        layer.set_weights(weights)
        layer.finalize_state()
    mean, deviation = np.asarray(layer.mean).ravel(), np.sqrt(np.asarray(layer.variance)).ravel()
    deviation = np.maximum(deviation, keras.backend.epsilon())
    if layer.invert:
        return affine(build, x, deviation, offset=mean, name=layer.name)
    return affine(build, x, 1.0 / deviation, offset=-mean / deviation, name=layer.name)


def _rows_then_columns(layer, x, weights, build):
    rows = build.add(StripMean(layer.bins, axis=1, name=f"{layer.name}_rows"), x)
    return build.add(StripMean(layer.bins, axis=2, name=layer.name), rows)


def _as_mean_kernel(layer, x, weights, build):
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
    x = build.add(mean, x, [kernel])
    return x if exact else build.add(GridGain(*gains, name=layer.name), x)


def _border_gains(side, size, stride):
    """Of each window along a side padded by 'same': its length divided by its pixels that lie inside."""
    windows = -(-side // stride)
    before = max((windows - 1) * stride + size - side, 0) // 2
    starts = [number * stride - before for number in range(windows)]
    return [size / (min(start + size, side) - max(start, 0)) for start in starts]


# The table.

_CONV = {"has_activation": True, "keras3": True}
_CONVOLUTIONS = {
    **_CONV,
    "decompose": _without_activation,
    "scale": Scale.OWN,
    "homogeneous": _is_half_linear,
}
_MOVED = {"channels": "through", "scale": Scale.SAME}
_NORM = {"macs": 0, "keras3": True}
_NO_NORM = "It divides by what it finds in each image, which int8 cannot. Use BatchNormalization."
_ADDED = {"channels": "united", "scale": Scale.OWN, "ends_in_relu": True, "decompose": _two_by_two}
_ENLARGED = {"channels": "through", "homogeneous": True, "moves": True, "grid": geometry.enlarged}

enter(LayerSpec(_input), layers.InputLayer)
# Layers that multiply by a kernel. TFLite's transposed convolution takes one scale in every delegate, as does
# its fully connected layer.
enter(
    LayerSpec(
        _conv,
        _macs_of_conv,
        kernel=Kernel("kernel", "channel", inputs=2, outputs=3),
        folds_norm=True,
        ends_in_relu=True,
        grid=geometry.window,
        thinned="kernel",
        **_CONVOLUTIONS,
    ),
    layers.Conv2D,
)
enter(
    LayerSpec(
        _depthwise,
        _macs_of_depthwise,
        grid=geometry.window,
        kernel=Kernel("depthwise_kernel", "depthwise", inputs=2, outputs=2),
        folds_norm=True,
        ends_in_relu=True,
        **_CONVOLUTIONS,
    ),
    layers.DepthwiseConv2D,
)
enter(
    LayerSpec(
        _transposed,
        _macs_of_transposed,
        grid=geometry.transposed,
        kernel=Kernel("kernel", "tensor", inputs=3, outputs=2),
        thinned="kernel",
        **_CONVOLUTIONS,
    ),
    layers.Conv2DTranspose,
)
enter(
    LayerSpec(
        _dense,
        _macs_of_dense,
        kernel=Kernel("kernel", "tensor", inputs=0, outputs=1),
        folds_norm=True,
        ends_in_relu=True,
        thinned="kernel",
        **_CONVOLUTIONS,
    ),
    layers.Dense,
)
enter(
    LayerSpec(
        _separable,
        _macs_of_separable,
        decompose=_two_convolutions,
        grid=geometry.window,
        thinned="pointwise_kernel",
        **_CONV,
    ),
    layers.SeparableConv2D,
)
# Normalisations.
enter(LayerSpec(_batch_norm, scale=Scale.OWN, ends_in_relu=True, **_NORM), layers.BatchNormalization)
enter(LayerSpec(_group_norm, fix=_NO_NORM, **_NORM), layers.GroupNormalization)
enter(LayerSpec("frozen", fix=_NO_NORM, **_NORM), layers.LayerNormalization, layers.UnitNormalization)
# Activations.
enter(
    LayerSpec(
        "through",
        scale=Scale.OWN,
        decompose=_plain_relu,
        homogeneous=lambda layer: layer.max_value is None and not layer.threshold,
        elementwise=True,
        keras3=True,
    ),
    layers.ReLU,
)
enter(
    LayerSpec(
        "through",
        scale=Scale.OWN,
        homogeneous=True,
        elementwise=True,
        keras3=True,
        keras3_names={"negative_slope": "alpha"},
    ),
    layers.LeakyReLU,
)
enter(
    LayerSpec(
        "through",
        elementwise=True,
        keras3=True,
        fix="TFLite has no 'elu' in int8. Replace it by ReLU or LeakyReLU.",
    ),
    layers.ELU,
)
enter(LayerSpec("through", elementwise=True), layers.ThresholdedReLU)
enter(
    LayerSpec(_prelu, macs=0, decompose=_line_and_bend, elementwise=True, keras3=True),
    layers.PReLU,
)
enter(
    LayerSpec(
        _activation,
        scale=lambda layer: Scale.SAME if activation(layer) == "linear" else Scale.OWN,
        decompose=_decomposed_activation,
        homogeneous=_is_half_linear,
        elementwise=True,
        keras3=True,
    ),
    layers.Activation,
)
enter(LayerSpec("frozen", scale=Scale.OWN, keras3=True), layers.Softmax)
enter(LayerSpec("through", scale=Scale.OWN), HardGate)
# Layers of several inputs.
enter(LayerSpec(keras3=True, **_ADDED), layers.Add, layers.Multiply)
enter(LayerSpec(keras3=True, **{**_ADDED, "decompose": None}), layers.Subtract)
enter(LayerSpec("united", decompose=_sum_and_scale, keras3=True), layers.Average)
enter(LayerSpec("united", scale=Scale.SHARED, keras3=True), layers.Maximum, layers.Minimum)
enter(LayerSpec("joined", scale=Scale.SHARED, decompose=_few_at_once, keras3=True), layers.Concatenate)
enter(LayerSpec("united", scale=Scale.SAME), MaxUnpooling)
# Layers that pool.
enter(
    LayerSpec(homogeneous=True, keeps_mean=True, grid=geometry.window, keras3=True, **_MOVED),
    layers.MaxPooling2D,
)
enter(LayerSpec(keeps_mean=True, keras3=True, **_MOVED), layers.GlobalMaxPooling2D)
enter(
    LayerSpec("through", decompose=_as_mean_kernel, keeps_mean=True, grid=geometry.window, keras3=True),
    layers.AveragePooling2D,
)
enter(LayerSpec("through", scale=Scale.OWN, keeps_mean=True, keras3=True), layers.GlobalAveragePooling2D)
enter(LayerSpec("through", decompose=_rows_then_columns), AdaptiveMean)
# Layers that move values about.
enter(
    LayerSpec(homogeneous=True, keeps_mean=True, grid=geometry.padded, keras3=True, **_MOVED),
    layers.ZeroPadding2D,
)
enter(
    LayerSpec(homogeneous=True, keeps_mean=True, keras3=True, **_MOVED),
    layers.Dropout,
    layers.SpatialDropout2D,
)
enter(
    LayerSpec(homogeneous=True, keeps_mean=True, moves=True, grid=geometry.cropped, keras3=True, **_MOVED),
    layers.Cropping2D,
)
enter(LayerSpec(homogeneous=True, grid=geometry.kept, **_MOVED), PadToStride)
enter(LayerSpec(sized_by_second=True, moves=True, grid=geometry.kept, **_MOVED), CropLike)
enter(LayerSpec("through", scale=Scale.POOLED, sized_by_second=True, moves=True), ResizeLike)
enter(
    LayerSpec(scale=_by_interpolation, decompose=_repeated_pixels, keeps_mean=True, keras3=True, **_ENLARGED),
    layers.UpSampling2D,
)
enter(LayerSpec(scale=_by_interpolation, decompose=_resized, opened=True, **_ENLARGED), layers.Resizing)
enter(LayerSpec(scale=Scale.SAME, keeps_mean=True, **_ENLARGED), RepeatPixels)
enter(LayerSpec(_flatten, scale=Scale.SAME, keras3=True), layers.Flatten)
enter(LayerSpec(_reshape, scale=Scale.SAME, keras3=True), layers.Reshape)
enter(LayerSpec(_permute, scale=Scale.SAME, keras3=True), layers.Permute)
enter(LayerSpec(_shuffle, scale=Scale.SAME), ChannelShuffle)
# Layers that scale or that only act in training.
enter(LayerSpec(_rescaling, decompose=_as_depthwise, opened=True), layers.Rescaling)
enter(LayerSpec(decompose=_as_depthwise_from_statistics, opened=True), layers.Normalization)
enter(LayerSpec("through"), FixedRange, layers.ActivityRegularization)
enter(LayerSpec("through", keras3=True), layers.AlphaDropout, layers.GaussianDropout, layers.GaussianNoise)
# Halves of layers that decompose.
enter(LayerSpec(scale=Scale.OWN), StripMean, GridGain)
# Products that nobody counts.
enter(LayerSpec(macs=_uncounted), layers.Attention, layers.Dot)
enter(
    LayerSpec(macs=_uncounted, fix="Nobody can see what it computes. Replace it by a layer."), layers.Lambda
)
