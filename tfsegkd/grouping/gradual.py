"""Convolutions that begin dense and end grouped."""

import fnmatch
import math
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.graph import ChannelGraph, Graph, read, rebuild, rewrite
from tfsegkd.graph.layer_table import twin
from tfsegkd.graph.rewriting import reading
from tfsegkd.layers import ChannelShuffle
from tfsegkd.runtime import is_quantization_aware

DEPTHWISE = "depthwise"


@keras.utils.register_keras_serializable("tfsegkd")
class GradualConv2D(keras.layers.Conv2D):
    """A convolution of which the weights between different groups of channels are scaled by `alpha`.

    At 1 it is dense, at 0 it is grouped. It always runs as one dense convolution, because TensorFlow trains
    grouped ones slowly.

    Args:
        filters, kernel_size: As of Conv2D, like all further arguments.
        blocks: The number of groups that it has in the end. It divides the input channels and `filters`.

    Attributes:
        alpha: The factor, a variable that is not trained.
        input_slots, output_slots: The place that each channel has once those of a group stand together:
            channel c belongs to group slots[c] // (channels / blocks).

    Example:
        layer = grouping.GradualConv2D(8, 3, blocks=4)
        layer(tf.zeros((1, 8, 8, 8))).shape  # (1, 6, 6, 8)

    Reference:
        Vallurupalli et al. 2018, https://arxiv.org/abs/1806.08522, section III.
    """

    def __init__(self, filters: int, kernel_size: int | tuple[int, int], blocks: int = 1, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        self.blocks = blocks

    def build(self, input_shape):
        super().build(input_shape)
        self.alpha = self.add_weight(name="alpha", shape=(), initializer="ones", trainable=False)
        self.input_slots, self.output_slots = (
            self.add_weight(name=name, shape=(count,), dtype=tf.int32, initializer=_in_order, trainable=False)
            for name, count in zip(("input_slots", "output_slots"), self.kernel.shape[2:], strict=True)
        )

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel * self._factor(kernel.dtype))

    def _factor(self, dtype):
        """1 within a group, alpha between groups; (Cin, Cout)."""
        inputs, outputs = (
            slots // (slots.shape[0] // self.blocks)
            for slots in map(tf.convert_to_tensor, (self.input_slots, self.output_slots))
        )
        within = tf.cast(tf.equal(inputs[:, None], outputs[None, :]), dtype)
        alpha = tf.cast(self.alpha, dtype)
        return alpha + (1 - alpha) * within

    def get_config(self):
        return {**super().get_config(), "blocks": self.blocks}


def _in_order(shape, dtype=None, **_):
    return tf.range(shape[0], dtype=dtype)


@keras.utils.register_keras_serializable("tfsegkd")
class ChannelOrder(keras.layers.Layer):
    """Puts the channels into another order.

    Args:
        order: The channel to take at each place.

    Shapes:
        inputs, returns: (N, H, W, C), equal.

    Example:
        pixel = tf.constant([[[[10, 11, 12]]]])
        grouping.ChannelOrder([2, 0, 1])(pixel).numpy().tolist()  # [[[[12, 10, 11]]]]
    """

    def __init__(self, order: Iterable[int], **kwargs):
        super().__init__(**kwargs)
        self.order = [int(channel) for channel in order]

    def call(self, inputs):
        return tf.gather(inputs, self.order, axis=-1)

    def get_config(self):
        return {**super().get_config(), "order": self.order}


def make_gradual(
    model: keras.Model,
    groups: int | str,
    layers: Iterable[str] | None = None,
    shuffle: bool = False,
) -> keras.Model:
    """Makes convolutions ready to become grouped in the course of a training.

    The new network computes what `model` does; `model` stays as it is. While it trains,
    `GradualGroupingSchedule` takes the weights between groups to 0, and `regroup` then leaves them out.

    Args:
        model: A functional float network. Models inside it are opened.
        groups: Into how many groups the channels of a layer are divided; or 'depthwise', as many as it has
            channels. A depthwise layer is followed by a 1×1 convolution, which starts as the identity and
            bears the layer's name, so it applies to larger kernels only.
        layers: Names of convolutions, or patterns such as 'stride8_*'. None for every convolution that the
            groups divide.
        shuffle: Whether channels are shuffled where one grouped layer feeds another, so that the groups
            exchange what they know.

    Returns:
        A network that computes the same until `set_alpha` lowers alpha.

    Raises:
        TypeError: if `model` is not functional, or `layers` is a single string.
        ValueError: for a quantization-aware network; groups that divide no layer, or not one of `layers`; a
            name that no layer has, or that of a layer that is not a plain convolution or is grouped already.

    Example:
        gradual = grouping.make_gradual(student, groups=4)
        grouping.set_alpha(gradual, 0)
        grouped = grouping.regroup(gradual)
        graph.cost(grouped).parameters < graph.cost(student).parameters  # True

    Reference:
        Vallurupalli et al. 2018, https://arxiv.org/abs/1806.08522, section III, tables 1 and 2.
        Differs: any convolution can be chosen, not the 1×1 ones of ERFNet's encoder alone. The shuffle stands
        before the second layer instead of after the first, which is the same as BatchNorm, activation and
        depthwise convolution go channel by channel.
        Reconstruction: the paper gets its depthwise layers from ImageNet; here they come from dense ones.
    """
    _check_groups(groups, shuffle)
    graph = read(model)
    if is_quantization_aware(model):
        raise ValueError(
            f"Model {model.name!r} is quantization-aware, and its ranges belong to the layers it has. Group "
            f"the float network first, then quantize."
        )
    chosen = _choose(graph, groups, layers)
    shuffled = _second_layers(model, chosen) if shuffle else ()

    def step(node, here, build):
        if node.name not in chosen:
            return build.keep(here)
        weights = node.layer.get_weights()
        if groups == DEPTHWISE:
            return _depthwise_pair(here, weights, graph, build=build)
        if node.name in shuffled:
            here, weights = _with_shuffle(here, weights, groups, build=build)
        layer = _gradual(node.layer, node.name, groups)
        return build.keep(here, layer=layer, weights=_with_alpha(weights))

    return rebuild(rewrite(graph, step))


def gradual_layers(model: keras.Model) -> list[GradualConv2D]:
    """The gradual layers of `model`.

    Raises:
        ValueError: if there is none.
    """
    found = [layer for layer in model._flatten_layers() if isinstance(layer, GradualConv2D)]
    if not found:
        raise ValueError(f"Model {model.name!r} has no gradual layer. Make some with make_gradual first.")
    return found


def set_alpha(model: keras.Model, value: float) -> None:
    """Sets the factor of the weights between groups in every gradual layer: 1 is dense, 0 is grouped.

    Args:
        model: A network of `make_gradual`, changed in place.
        value: From 0 to 1.

    Raises:
        ValueError: if `model` has no gradual layer, or `value` does not lie in 0…1.

    Example:
        gradual = grouping.make_gradual(student, groups=4)
        grouping.set_alpha(gradual, 0.5)
        grouping.alpha(gradual)  # 0.5
    """
    checks.in_range(value, 0.0, 1.0, what="alpha")
    for layer in gradual_layers(model):
        layer.alpha.assign(value)


def alpha(model: keras.Model) -> float:
    """The largest factor of the weights between groups in a network.

    Args:
        model: A network of `make_gradual`.

    Returns:
        1 for dense, 0 for grouped.

    Raises:
        ValueError: if `model` has no gradual layer.

    Example:
        grouping.alpha(grouping.make_gradual(student, groups=4))  # 1.0
    """
    return max(float(layer.alpha) for layer in gradual_layers(model))


def _check_groups(groups, shuffle):
    if groups == DEPTHWISE:
        if shuffle:
            raise ValueError(
                "shuffle is for groups of several channels. Received: groups='depthwise', whose 1×1 "
                "convolutions mix all channels. Leave shuffle out."
            )
    elif isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
        raise ValueError(f"groups must be a whole number from 1 up or 'depthwise'. Received: {groups!r}.")


def _choose(graph: Graph, groups, patterns) -> Mapping[str, keras.layers.Layer]:
    """Name → layer of what becomes gradual."""
    layers = graph.layers()
    convolutions = {name: layer for name, layer in layers.items() if type(layer) is keras.layers.Conv2D}
    if patterns is None:
        chosen = {name: layer for name, layer in convolutions.items() if not _obstacle(layer, groups)}
        if not chosen:
            raise ValueError(
                f"groups={groups!r} divides the channels of no convolution of {graph.name!r} that is not "
                f"grouped yet. Its convolutions have (in, out) channels "
                f"{sorted({_channels(layer) for layer in convolutions.values()})}. Choose another number."
            )
        return chosen
    if isinstance(patterns, str):
        raise TypeError(
            f"layers must be a list of names. Received the string {patterns!r}. Put it in a list."
        )
    names = []
    for pattern in patterns:
        found = [name for name in convolutions if fnmatch.fnmatchcase(name, pattern)]
        if not found:
            _raise_for_name(pattern, layers, convolutions)
        names += found
    for name in names:
        obstacle = _obstacle(layers[name], groups)
        if obstacle:
            raise ValueError(f"Layer {name!r} cannot be grouped: {obstacle}")
    return {name: layers[name] for name in convolutions if name in names}


def _raise_for_name(pattern, layers, convolutions):
    if pattern in layers:
        kind = (
            "a GradualConv2D already" if isinstance(layers[pattern], GradualConv2D) else type(layers[pattern])
        )
        kind = kind if isinstance(kind, str) else f"a {kind.__name__}"
        raise ValueError(f"Layer {pattern!r} cannot be grouped: expected a Conv2D. Received: {kind}.")
    raise ValueError(
        f"No convolution is called {pattern!r}. Expected one of {list(convolutions)}, or a pattern."
    )


def _channels(layer) -> tuple[int, int]:
    """The input and output channels of an ungrouped convolution."""
    return tuple(layer.kernel.shape[2:])


def _obstacle(layer, groups) -> str | None:
    """Why a convolution cannot have so many groups."""
    if layer.groups != 1:
        return f"it is in {layer.groups} groups already. Leave it out."
    inputs, outputs = _channels(layer)
    counts = f"{inputs} input and {outputs} output channels"
    if groups == DEPTHWISE:
        if layer.kernel_size == (1, 1):
            return "it is 1×1, and a depthwise 1×1 convolution only scales channels. Leave it out."
        if inputs < 2 or outputs % inputs:
            return f"'depthwise' needs a multiple of the input channels as output channels; it has {counts}."
        return None
    if inputs % groups or outputs % groups:
        common = math.gcd(inputs, outputs)
        divisors = [number for number in range(1, common + 1) if common % number == 0]
        nearest = min(abs(number - groups) for number in divisors)
        offered = " or ".join(str(number) for number in divisors if abs(number - groups) == nearest)
        return f"groups={groups} does not divide its {counts}. The nearest that does is {offered}."
    return None


def _second_layers(model, chosen) -> set[str]:
    """The chosen layers that are fed by another one channel by channel."""
    channels = ChannelGraph(model)
    nodes = channels.graph.nodes
    producers = channels.graph.producers
    calls = [node.name for node in nodes]
    found = set()
    for node in nodes:
        if node.name not in chosen or calls.count(node.name) > 1:
            continue
        (read_here,) = node.inputs
        producer = producers[read_here.id]
        while producer.name not in chosen and len(producer.inputs) == 1:
            producer = producers[producer.inputs[0].id]
        if producer.name in chosen:
            given, taken = channels.layers[producer.name].outputs, channels.units_of(read_here.id)
            if np.array_equal(given, taken):
                found.add(node.name)
    return found


def _with_shuffle(node, weights, groups, build):
    """`node` with a shuffle before it, and its weights in the order in which it computes what it did."""
    (read_here,) = node.inputs
    layer = ChannelShuffle(groups, name=f"{node.name}_shuffle", dtype=node.layer.dtype)
    kernel, *bias = weights
    order = np.arange(kernel.shape[2]).reshape(groups, -1).T.ravel()
    return reading(node, build.add(layer, read_here, like=read_here)), [kernel[:, :, order], *bias]


def _gradual(layer, name, blocks, **changes):
    new = GradualConv2D.from_config({**layer.get_config(), "name": name, "blocks": blocks, **changes})
    new.trainable = layer.trainable
    return new


def _with_alpha(weights):
    """The weights of a convolution as those of a gradual layer that is dense."""
    in_order = (np.arange(count, dtype=np.int32) for count in weights[0].shape[2:])
    return [*weights, np.float32(1.0), *in_order]


def _depthwise_pair(node, weights, graph, build):
    """Puts two nodes in the place of a convolution: what becomes depthwise, and its 1×1 partner."""
    name = f"{node.name}_depthwise"
    if name in graph.layers():
        raise ValueError(f"The name {name!r} for the depthwise part of {node.name!r} is taken. Rename it.")
    kernel, *bias = weights
    layer = _gradual(node.layer, name, kernel.shape[2], use_bias=False, activation=None)
    partner = twin(node.layer, name=node.name, kernel_size=1, strides=1, dilation_rate=1, padding="valid")
    partner.trainable = node.layer.trainable
    between = build.fresh(node.output.shape)
    build.keep(node, layer=layer, weights=_with_alpha([kernel]), name=name, output=between)
    identity = np.eye(kernel.shape[3], dtype=kernel.dtype)[None, None]
    return build.add(partner, between, [identity, *bias], like=node.output)
