"""A network of one logit as one of two, with equal outputs, and the way back for its weights."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.graph.layer_spec import inherited, is_linear, spec_of
from tfsegkd.graph.nodes import Graph, Node, Tensor

layers = keras.layers


def with_two_logits(graph: Graph) -> tuple[Graph, str, str | None]:
    """A graph that ends in −z/2 and z/2 in place of z, its only channel.

    The convolution that makes z gets a second channel. Where something else makes it, a frozen 1×1
    convolution follows.

    Returns:
        The graph; what was done; the name of the layer with the second channel, if there is one.
    """
    (output,) = tf.nest.flatten(graph.outputs)
    producers = {tensor.id: node for node in graph.nodes for tensor in node.outputs}
    consumers, node = graph.consumers, producers[output.id]
    later = []
    while inherited(node.layer).moves and len(consumers[node.inputs[0].id]) == 1:
        later.append(node.outputs[0].id)
        node = producers[node.inputs[0].id]
    calls = sum(other.name == node.name for other in graph.nodes)
    if _channels_entry(node.layer) and calls == 1 and len(consumers[node.outputs[0].id]) <= 1:
        graph = _widened(graph, {*later, node.outputs[0].id})
        graph = _replaced(graph, node.name, _two_channels(node))
        return graph, f"a second channel of {node.name!r}: the logits are those of two classes now", node.name
    layer = layers.Conv2D(2, 1, use_bias=False, trainable=False)
    layer.build((None, None, None, 1))
    layer.set_weights([np.array([[[[-0.5, 0.5]]]], np.float32)])
    name = free_name(graph, "two_logits")
    given = Tensor(next_id(graph), (*output.shape[:-1], 2))
    nodes = (*graph.nodes, Node(layer, name, (output,), {}, given))
    return (
        replace(graph, nodes=nodes, outputs=given),
        f"Conv2D {name!r}: the logits are those of two classes now",
        None,
    )


def with_one_logit(weights: Sequence[np.ndarray], layer) -> list[np.ndarray]:
    """The weights of a layer of two logits, for `layer`, which gives their difference."""
    narrow = []
    for values, like in zip(weights, layer.get_weights(), strict=True):
        doubled = [axis for axis, size in enumerate(values.shape) if size != like.shape[axis]]
        narrow.append(np.diff(values, axis=doubled[0]) if doubled else values)
    return narrow


def free_name(graph: Graph, candidate: str) -> str:
    """`candidate`, or with a number behind it where a layer has that name."""
    names = {node.name for node in graph.nodes}
    numbered = (f"{candidate}_{number}" for number in itertools.count(1))
    return next(name for name in itertools.chain([candidate], numbered) if name not in names)


def next_id(graph: Graph) -> int:
    """A number that no tensor of the graph has."""
    return 1 + max(tensor.id for node in graph.nodes for tensor in node.outputs)


def _channels_entry(layer) -> str | None:
    """The entry of a linear layer's configuration that says how many channels it gives."""
    if not spec_of(layer).has_activation or not is_linear(layer):
        return None
    return next((entry for entry in ("filters", "units") if entry in layer.get_config()), None)


def _two_channels(node: Node):
    layer = type(node.layer).from_config({**node.layer.get_config(), _channels_entry(node.layer): 2})
    layer.build(node.inputs[0].shape)
    layer.trainable = node.layer.trainable
    weights = []
    for like, values in zip(layer.weights, node.layer.get_weights(), strict=True):
        axes = [axis for axis, size in enumerate(values.shape) if size != like.shape[axis]]
        weights.append(np.concatenate([-0.5 * values, 0.5 * values], axes[0]) if axes else values)
    layer.set_weights(weights)
    return layer


def _replaced(graph: Graph, name: str, layer) -> Graph:
    nodes = tuple(replace(node, layer=layer) if node.name == name else node for node in graph.nodes)
    return replace(graph, nodes=nodes)


def _widened(graph: Graph, ids: set[int]) -> Graph:
    """The graph with the tensors of these ids noted as having two channels."""

    def wide(item):
        is_one = isinstance(item, Tensor) and item.id in ids
        return Tensor(item.id, (*item.shape[:-1], 2)) if is_one else item

    nodes = tuple(
        replace(
            node,
            args=tf.nest.map_structure(wide, node.args),
            kwargs=tf.nest.map_structure(wide, node.kwargs),
            output=tf.nest.map_structure(wide, node.output),
        )
        for node in graph.nodes
    )
    return replace(graph, nodes=nodes, outputs=tf.nest.map_structure(wide, graph.outputs))
