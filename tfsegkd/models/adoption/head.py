"""The head of an adopted network: logits of two or more classes, at the size of the input."""

from dataclasses import dataclass
from fractions import Fraction

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.graph.geometry import Grid, output_grids
from tfsegkd.graph.layer_spec import inherited
from tfsegkd.graph.nodes import Graph, Node, Tensor
from tfsegkd.graph.operations import enlarge
from tfsegkd.graph.rewriting import append, without
from tfsegkd.models.adoption.binary import with_two_logits

layers = keras.layers


@dataclass(frozen=True)
class Head:
    """A graph that ends as ours do, and what it took.

    Args:
        graph: The graph, the same object if nothing had to be done.
        removed, added: Sentences for the report.
        two_logits: The name of the layer that gives two channels where the original's gives one.
    """

    graph: Graph
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    two_logits: str | None = None


def with_logits_head(graph: Graph) -> Head:
    """The graph without a softmax or sigmoid at its end, with two or more classes, of its input's size.

    Raises:
        ValueError: for a softmax over one channel; for an output that lies between the pixels' places, or
            outside of the image.
    """
    graph, removed = without_activation(graph)
    graph, flat = with_rows_and_columns(graph)
    if flat and not removed:
        graph, removed = without_activation(graph)
    removed = (*removed, *flat)
    added, doubled = (), None
    if tf.nest.flatten(graph.outputs)[0].shape[-1] == 1:
        graph, what, doubled = with_two_logits(graph, *head_node(graph))
        added = (what,)
    graph, more = _at_input_size(graph)
    return Head(graph, removed, (*added, *more), two_logits=doubled)


def without_activation(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """The graph without a softmax or sigmoid at its end; the same if there is none.

    Returns:
        The graph; what was removed.

    Raises:
        ValueError: for a softmax over one channel.
    """
    node, later = head_node(graph)
    kind = activation_of(node)
    if kind is None or len(graph.consumers[node.outputs[0].id]) > 1:
        return graph, ()
    channels = node.outputs[0].shape[-1]
    if kind == "softmax" and channels == 1:
        raise ValueError(
            f"Softmax {node.name!r} of model {graph.name!r} has one channel, which makes it 1 everywhere. "
            f"Expected a sigmoid over one channel, or a softmax over two or more. Change the last activation."
        )
    what = f"{kind} {node.name!r}"
    if later:
        names = ", ".join(repr(one.name) for one in reversed(later))
        what += f", before {names}: logits are resized now, not probabilities"
    if kind == "sigmoid" and channels > 1:
        what += ": classes that were found each by itself now exclude each other"
    return without(graph, node), (what,)


def with_rows_and_columns(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """The graph without what lays an image's pixels in a row, (N, H·W, C), at its end.

    Returns:
        The graph, the same if there is no such layer; what was removed.
    """
    (output,) = tf.nest.flatten(graph.outputs)
    node = graph.producers[output.id]
    if len(output.shape) != 3 or not isinstance(node.layer, layers.Reshape):
        return graph, ()
    (image,) = node.inputs
    if len(image.shape) != 4 or (None, image.shape[1] * image.shape[2], image.shape[3]) != output.shape:
        return graph, ()
    return without(graph, node), (f"Reshape {node.name!r}: logits are (N, H, W, C) now, not (N, H·W, C)",)


def head_node(graph: Graph) -> tuple[Node, list[Node]]:
    """The node that makes the output, before what only resizes or crops it; and these nodes, last first."""
    (output,) = tf.nest.flatten(graph.outputs)
    node, later = graph.producers[output.id], []
    while inherited(node.layer).moves and len(graph.consumers[node.inputs[0].id]) == 1:
        later.append(node)
        node = graph.producers[node.inputs[0].id]
    return node, later


def activation_of(node: Node) -> str | None:
    """'softmax' over the classes or 'sigmoid', if the node is one of them alone."""
    layer = node.layer
    if isinstance(layer, layers.Softmax):
        return "softmax" if layer.axis in (-1, len(node.outputs[0].shape) - 1) else None
    if isinstance(layer, layers.Activation):
        known = {keras.activations.softmax: "softmax", keras.activations.sigmoid: "sigmoid"}
        return known.get(layer.activation)
    return None


def _at_input_size(graph):
    (output,), (images,) = tf.nest.flatten(graph.outputs), tf.nest.flatten(graph.inputs)
    size = images.shape[1:3]
    if output.shape[1:3] == size:
        return graph, ()
    grids = output_grids(graph)
    if grids is not None and _is_cropped(grids, output, size):
        return _padded_to_input(graph, grids)
    layer, taken = enlarge(output, size, images)
    return _with_layer(graph, layer, "enlarge", taken=taken, size=size)


def _is_cropped(grids: tuple[Grid, Grid], output: Tensor, size) -> bool:
    """Whether the output shows a part of the image only, as after convolutions without padding."""
    covered = [grid.stride * count for grid, count in zip(grids, output.shape[1:3], strict=True)]
    # A coarse grid that is a row short is stretched, as ever: its positions are not known so exactly.
    return any(
        side - length >= (1 if grid.stride <= 1 else 2 * grid.stride)
        for side, length, grid in zip(size, covered, grids, strict=True)
    )


def _padded_to_input(graph, grids):
    """The output enlarged to pixels, with logits of 0 where it does not reach."""
    (output,), (images,) = tf.nest.flatten(graph.outputs), tf.nest.flatten(graph.inputs)
    size, added = images.shape[1:3], ()
    sides = tuple(int(grid.stride * count) for grid, count in zip(grids, output.shape[1:3], strict=True))
    if sides != output.shape[1:3]:
        layer, taken = enlarge(output, sides, None)
        graph, added = _with_layer(graph, layer, "enlarge", taken=taken, size=sides)
        (output,) = tf.nest.flatten(graph.outputs)
    margins = []
    for grid, count, side in zip(grids, sides, size, strict=True):
        before = round(grid.first - (grid.stride - Fraction(1)) / 2)
        margins.append((before, side - count - before))
    if min(min(pair) for pair in margins) < 0:
        raise ValueError(
            f"The output of model {graph.name!r} lies outside of its image: of {sides} pixels, {margins} "
            f"away "
            f"from the borders of {size}. Expected an output within the image. Choose another input_shape."
        )
    layer = layers.ZeroPadding2D(tuple(margins))
    graph, more = _with_layer(graph, layer, "place", taken=output, size=size)
    note = f"{more[0]}: it sees only the middle, and the margin has logits of 0"
    return graph, (*added, note)


def _with_layer(graph, layer, candidate, taken, size):
    """The graph with one more layer at its end, and what to report."""
    (output,) = tf.nest.flatten(graph.outputs)
    graph, name = append(graph, layer, taken, candidate)
    return graph, (f"{type(layer).__name__} {name!r} from {output.shape[1:3]} to {tuple(size)}",)
