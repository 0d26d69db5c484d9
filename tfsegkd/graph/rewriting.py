"""Rewrites a graph node by node: the form of every pass."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.graph.naming import free_name
from tfsegkd.graph.nodes import Graph, Node, Tensor, map_tensors


class Builder:
    """Collects the nodes of a new graph.

    Args:
        graph: The one that it is made of.
    """

    def __init__(self, graph: Graph):
        self._graph = graph
        self._ids = itertools.count(1 + max(tensor.id for node in graph.nodes for tensor in node.outputs))
        self.nodes: list[Node] = []
        self.weights: dict[str, Any] = dict(graph.weights)

    def keep(
        self, node: Node, layer: keras.layers.Layer | None = None, weights: Any = None, **changes
    ) -> Any:
        """Takes a node over and returns its output.

        Args:
            layer: A layer in place of its own, which gets the same weights unless others are given.
            weights: Its weights, or a function that fills a layer.
            changes: What else of the node changes, such as its name.
        """
        if layer is not None:
            changes["layer"] = layer
            weights = self._graph.weights_of(node.name) if weights is None else weights
        if changes:
            node = dataclasses.replace(node, **changes)
        if weights is not None:
            self.weights[node.name] = weights
        self.nodes.append(node)
        return node.output

    def add(
        self,
        layer: keras.layers.Layer,
        inputs: Tensor | Sequence[Tensor],
        weights: Sequence[np.ndarray] | Callable | None = None,
        like: Tensor | None = None,
        name: str | None = None,
        **options,
    ) -> Tensor:
        """Adds a call of a layer.

        Args:
            weights: Its weights, or a function that fills a layer.
            like: A tensor of the shape of its output; computed unless given.
            name: The layer's own unless given.
            options: What else it is called with.
        """
        name = name or layer.name
        if weights is not None:
            self.weights[name] = weights
        output = self.fresh(_shape(layer, inputs) if like is None else like.shape)
        self.nodes.append(Node(layer, name, (inputs,), kwargs=options, output=output))
        return output

    def fresh(self, shape: Sequence[int | None]) -> Tensor:
        """A tensor that no node gives yet."""
        return Tensor(next(self._ids), tuple(shape))


def rewrite(graph: Graph, step: Callable[[Node, Node, Builder], Any]) -> Graph:
    """The graph of what `step` makes of each node.

    Args:
        step: (node of `graph`, the same with its new inputs, builder) → what takes the place of the node's
            output: of `builder.keep`, of `builder.add`, or one of the inputs where the node is left out.
    """
    build, moved = Builder(graph), {}

    def now(tensor):
        return moved.get(tensor.id, tensor)

    for node in graph.nodes:
        args, kwargs = map_tensors(now, (node.args, node.kwargs)) if moved else (node.args, node.kwargs)
        output = step(node, dataclasses.replace(node, args=args, kwargs=kwargs), build)
        for old, new in zip(node.outputs, tf.nest.flatten(output), strict=True):
            if new is not old:
                moved[old.id] = new
    outputs = map_tensors(now, graph.outputs)
    return dataclasses.replace(graph, nodes=tuple(build.nodes), outputs=outputs, weights=build.weights)


def append(
    graph: Graph, layer: keras.layers.Layer, inputs: Tensor | Sequence[Tensor], name: str, weights: Any = None
) -> tuple[Graph, str]:
    """The graph with one more layer, whose output becomes the graph's.

    Returns:
        The graph; what the layer is called, `name` unless another one has that.
    """
    build = Builder(graph)
    name = free_name(graph.layers(), [name])
    output = build.add(layer, inputs, weights, name=name)
    nodes = (*graph.nodes, *build.nodes)
    return dataclasses.replace(graph, nodes=nodes, outputs=output, weights=build.weights), name


def without(graph: Graph, node: Node) -> Graph:
    """The graph without a node; its first input takes the place of its output."""
    return rewrite(graph, lambda each, here, build: here.inputs[0] if each is node else build.keep(here))


def reading(node: Node, tensor: Tensor) -> Node:
    """`node` with `tensor` in place of each of its inputs."""
    args, kwargs = map_tensors(lambda _: tensor, (node.args, node.kwargs))
    return dataclasses.replace(node, args=args, kwargs=kwargs)


def _shape(layer, inputs):
    shapes = [tensor.shape for tensor in inputs] if isinstance(inputs, list | tuple) else inputs.shape
    return tuple(tf.TensorShape(layer.compute_output_shape(shapes)).as_list())
