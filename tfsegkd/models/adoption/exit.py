"""The end of an adopted network: logits, at the size of the input."""

import itertools
from dataclasses import replace

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.graph.layer_spec import inherited
from tfsegkd.graph.nodes import Graph, Node, Tensor
from tfsegkd.graph.operations import enlarge

layers = keras.layers


def ending_in_logits(graph: Graph) -> tuple[Graph, tuple[str, ...], tuple[str, ...]]:
    """The graph without a softmax at its end and with an output of its input's size.

    Returns:
        The graph, the same if nothing had to be done; what was removed; what was added.
    """
    graph, removed = _without_softmax(graph)
    graph, added = _at_input_size(graph)
    return graph, removed, added


def _without_softmax(graph):
    (output,) = tf.nest.flatten(graph.outputs)
    makers = {tensor.id: node for node in graph.nodes for tensor in node.outputs}
    readers = graph.readers()
    node, later = makers[output.id], []
    # What only moves values leaves the classes alone.
    while inherited(node.layer).moves and len(readers[node.inputs[0].id]) == 1:
        later.append(node.name)
        node = makers[node.inputs[0].id]
    if not _is_softmax(node) or len(readers[node.outputs[0].id]) > 1:
        return graph, ()
    kept = {node.outputs[0].id: node.inputs[0]}

    def moved(item):
        return kept.get(item.id, item) if isinstance(item, Tensor) else item

    nodes = [
        replace(
            each,
            args=tf.nest.map_structure(moved, each.args),
            kwargs=tf.nest.map_structure(moved, each.kwargs),
        )
        for each in graph.nodes
        if each is not node
    ]
    what = f"softmax {node.name!r}"
    if later:
        what += f", before {', '.join(map(repr, reversed(later)))}: logits are resized now, not probabilities"
    return replace(graph, nodes=tuple(nodes), outputs=tf.nest.map_structure(moved, graph.outputs)), (what,)


def _is_softmax(node: Node) -> bool:
    layer = node.layer
    if isinstance(layer, layers.Softmax):
        return layer.axis in (-1, len(node.outputs[0].shape) - 1)
    return isinstance(layer, layers.Activation) and layer.activation is keras.activations.softmax


def _at_input_size(graph):
    (output,), (images,) = tf.nest.flatten(graph.outputs), tf.nest.flatten(graph.inputs)
    size = images.shape[1:3]
    if output.shape[1:3] == size:
        return graph, ()
    layer, taken = enlarge(output, size, images)
    names = {node.name for node in graph.nodes}
    numbered = (f"enlarge_{number}" for number in itertools.count(1))
    name = next(name for name in itertools.chain(["enlarge"], numbered) if name not in names)
    last = 1 + max(tensor.id for node in graph.nodes for tensor in node.outputs)
    given = Tensor(last, (None, *size, output.shape[-1]))
    node = Node(layer, name, (taken,), {}, given)
    added = f"{type(layer).__name__} {name!r} from {output.shape[1:3]} to {size}"
    return replace(graph, nodes=(*graph.nodes, node), outputs=given), (added,)
