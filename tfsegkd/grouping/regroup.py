"""Replaces gradual layers by grouped convolutions, without the weights between groups."""

import numpy as np

from tfsegkd._keras import keras
from tfsegkd.graph import Edits, Graph, read, rebuild, rewrite
from tfsegkd.graph.rewriting import reading
from tfsegkd.grouping.dense_form import block_mask, compact, written_dense
from tfsegkd.grouping.gradual import ChannelOrder, GradualConv2D
from tfsegkd.grouping.permutation import (
    Partition,
    dense_channels,
    gradual,
    is_satisfied,
    partitions,
    plain_config,
    reordered,
    resolve,
    resolved_positions,
)

layers = keras.layers


def regroup(model: keras.Model) -> keras.Model:
    """Makes true grouped convolutions of those that are grouped only by their weights.

    The new network computes what `model` does, with fewer weights and MACs. It takes gradual layers at
    alpha = 0 and the dense form that `as_dense` gives, also in a quantization-aware network. What is grouped
    by single channels becomes depthwise. Where channels have to be reordered, so are the weights of the
    layers around; a `ChannelOrder` layer does it where those cannot.

    Args:
        model: A functional network.

    Returns:
        A network that computes the same.

    Raises:
        TypeError: if `model` is not functional.
        ValueError: while alpha is above 0 or weights between groups are not 0; if nothing is to regroup.

    Example:
        gradual = grouping.make_gradual(student, groups=4)
        grouping.set_alpha(gradual, 0)
        grouped = grouping.regroup(gradual)
    """
    graph = read(model)
    dense_forms, moving = written_dense(model), gradual(graph)
    if not moving and not dense_forms:
        raise ValueError(
            f"Model {model.name!r} has no layer to regroup. Expected gradual layers at alpha = 0 (from "
            f"make_gradual) or grouped convolutions in their dense form (from as_dense)."
        )
    for name, layer in moving.items():
        if float(layer.alpha) != 0:
            raise ValueError(
                f"Layer {name!r} is not grouped yet: its alpha is {float(layer.alpha):.4g}. Expected 0. "
                f"Train to the end of GradualGroupingSchedule, or drop the weights between groups with "
                f"set_alpha(model, 0)."
            )
    if moving:
        graph, edits = _without_gradual(graph, moving)
    else:
        edits = Edits({}, {})
    for name, groups in dense_forms.items():
        config, weights = _grouped(name, graph.layers()[name], groups, weights=edits.weights.get(name))
        edits.configs[name], edits.weights[name] = config, weights
    return rebuild(graph, edits.configs, edits.weights)


def _without_gradual(graph: Graph, moving: dict[str, GradualConv2D]) -> tuple[Graph, Edits]:
    """The graph with grouped convolutions for gradual layers, and what changes of the others."""
    channels = dense_channels(graph)
    found = partitions(channels, moving)
    moved = resolve(channels, found)
    edits = reordered(channels, moved)
    layer_of, orders = {}, {}
    for inputs, outputs in zip(found[::2], found[1::2], strict=True):
        name, layer = inputs.layer, moving[inputs.layer]
        orders[name] = [_order(partition, moved) for partition in (inputs, outputs)]
        kernel, *bias = edits.weights.get(name, layer.get_weights()[: 1 + layer.use_bias])
        into, out_of = orders[name]
        if into is not None:
            kernel = kernel[:, :, into]
        if out_of is not None:
            back = np.argsort(out_of)
            kernel, bias = kernel[..., back], [values[back] for values in bias]
        layer_of[name], kernel = _true_layer(layer, name, kernel)
        edits.weights[name] = [kernel, *bias]

    def step(node, here, build):
        if node.name not in layer_of:
            return build.keep(here)
        into, out_of = orders[node.name]
        if into is not None:
            layer = ChannelOrder(into, name=f"{node.name}_inputs", dtype=node.layer.dtype)
            here = reading(here, build.add(layer, here.inputs[0], like=here.inputs[0]))
        output = build.keep(here, layer=layer_of[node.name])
        if out_of is None:
            return output
        layer = ChannelOrder(out_of, name=f"{node.name}_outputs", dtype=node.layer.dtype)
        return build.add(layer, output, like=output)

    return rewrite(graph, step), edits


def _order(partition: Partition, moved: np.ndarray) -> np.ndarray | None:
    """The channel to take at each place, for a layer that reorders `partition`; None if none is needed."""
    if is_satisfied(partition, moved):
        return None
    here = resolved_positions(partition, moved)
    order = np.empty(len(here), int)
    taken, given = (here, partition.slots) if partition.axis == 0 else (partition.slots, here)
    order[given] = taken
    return order


def _true_layer(layer: GradualConv2D, name: str, kernel: np.ndarray):
    """A grouped convolution, not built yet, and its kernel."""
    height, width, inputs, outputs = kernel.shape
    # TensorFlow's depthwise convolution has one stride and channels last.
    is_plain = layer.strides[0] == layer.strides[1] and layer.data_format == "channels_last"
    if layer.blocks == inputs > 1 and is_plain:
        new = layers.DepthwiseConv2D(
            layer.kernel_size,
            strides=layer.strides,
            padding=layer.padding,
            depth_multiplier=outputs // inputs,
            dilation_rate=layer.dilation_rate,
            activation=layer.activation,
            use_bias=layer.use_bias,
            depthwise_initializer=layer.kernel_initializer,
            bias_initializer=layer.bias_initializer,
            depthwise_regularizer=layer.kernel_regularizer,
            bias_regularizer=layer.bias_regularizer,
            name=name,
            dtype=layer.dtype_policy,
        )
        kernel = compact(kernel, inputs).reshape(height, width, inputs, outputs // inputs)
    else:
        new = layers.Conv2D.from_config({**plain_config(layer), "name": name, "groups": layer.blocks})
        kernel = compact(kernel, layer.blocks)
    new.trainable = layer.trainable
    return new, kernel


def _grouped(name, layer, groups, weights):
    """What changes of a convolution in the dense form, and its new weights."""
    changes = {"groups": groups, "kernel_constraint": None}
    values = list(layer.get_weights() if weights is None else weights)
    number = next(n for n, weight in enumerate(layer.weights) if _is_kernel(weight, groups))
    kernel = values[number]
    if kernel[:, :, ~block_mask(*kernel.shape[2:], groups)].any():
        raise ValueError(
            f"The convolution {name!r} has weights between its {groups} groups, though its constraint "
            f"forbids them. Train it with an optimizer that heeds constraints, or set them to 0."
        )
    values[number] = compact(kernel, groups)
    if isinstance(layer, layers.Wrapper):
        inner = layer.get_config()["layer"]
        changes = {"layer": {**inner, "config": {**inner["config"], **changes}}}
    return changes, values


def _is_kernel(weight, groups):
    # Quantizers have weights of rank four, too, with one scale for all inputs.
    return len(weight.shape) == 4 and weight.shape[2] >= groups > 1
