"""Operator fusion: which layers become part of the same int8 operation."""

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.graph import Graph, Node
from tfsegkd.graph.layer_spec import Scale, activation, is_linear, scale_of, spec_of

layers = keras.layers


class Fusion:
    """The nodes of a graph by the tensors that they give and read.

    Args:
        graph: Flat, each node with one output, as `decomposition.decompose` leaves it.
    """

    def __init__(self, graph: Graph):
        self.graph, self.producers = graph, graph.producers
        self.consumers: dict[int, list[Node]] = {key: [] for key in self.producers}
        for node in graph.nodes:
            for tensor in self.values(node):
                self.consumers[tensor].append(node)
        self._outputs = {tensor.id for tensor in tf.nest.flatten(graph.outputs)}

    def values(self, node: Node) -> list[int]:
        """The ids of the tensors whose values `node` reads, not their shapes alone."""
        inputs = node.inputs[:1] if spec_of(node.layer).sized_by_second else node.inputs
        return [tensor.id for tensor in inputs]

    def producer(self, node: Node) -> Node:
        """The node before `node`, on its first input."""
        return self.producers[node.inputs[0].id]

    def sole_consumer(self, node: Node) -> Node | None:
        """The one node that reads `node`; None if there are several or it is an output."""
        found = self.consumers[node.output.id]
        return found[0] if len(found) == 1 and node.output.id not in self._outputs else None

    def is_merged(self, node: Node) -> bool:
        """Whether the next node becomes part of the same int8 operation: nothing is rounded between."""
        consumer = self.sole_consumer(node)
        if consumer is None:
            return False
        if is_norm(consumer.layer):
            return takes_norm(node)
        return type(consumer.layer) is layers.ReLU and self.takes_relu(node)

    def takes_relu(self, node: Node) -> bool:
        """Whether a ReLU that alone reads `node` costs nothing: as part of it, or as the end of its range."""
        if self.sole_consumer(node) is None or not is_linear(node.layer):
            return False
        if type(node.layer) is layers.Concatenate:
            return all(self._reaches_alone(tensor) for tensor in self.values(node))
        return computes(node) and type(node.layer) not in (layers.ReLU, layers.LeakyReLU)

    def is_cut(self, relu: Node) -> bool:
        """Whether a ReLU is no operation but the end of a range: what lies beyond is cut off by rounding."""
        return not spec_of(self.producer(relu).layer).ends_in_relu or relu.layer.max_value not in (None, 6.0)

    def joins_later(self, node: Node) -> bool:
        """Whether the values of `node` are only moved about until a Concatenate rounds them with others."""
        consumer = self.sole_consumer(node)
        while consumer is not None and scale_of(consumer.layer) is Scale.SAME:
            consumer = self.sole_consumer(consumer)
        return consumer is not None and scale_of(consumer.layer) is Scale.SHARED

    def _reaches_alone(self, tensor: int) -> bool:
        """Whether nobody else reads a tensor, nor what it was before it was moved about."""
        node = self.producers[tensor]
        while scale_of(node.layer) is Scale.SAME:
            if self.sole_consumer(node) is None:
                return False
            node = self.producer(node)
        return computes(node) and self.sole_consumer(node) is not None and fixed_range(node, self) is None


def computes(node: Node) -> bool:
    """Whether `node` gives new values on a scale of its own."""
    return scale_of(node.layer) is Scale.OWN


def is_norm(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, layers.BatchNormalization)


def takes_norm(node: Node) -> bool:
    """Whether BatchNorm after `node` becomes part of it."""
    return spec_of(node.layer).folds_norm and is_linear(node.layer)


# TFLite prescribes these output ranges.
_PRESCRIBED = {"softmax": (0.0, 255 / 256), "sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}


def fixed_range(node: Node, fusion: Fusion) -> tuple[float, float] | None:
    """The (low, high) of the output of `node` where it is known beforehand, else None."""
    if is_normalization(node, fusion):
        kernel, *offset = (np.asarray(weight, float).ravel() for weight in fusion.graph.weights_of(node.name))
        ends = [pixel * kernel + (offset[0] if offset else 0.0) for pixel in (0.0, 255.0)]
        return min(0.0, *map(float, np.ravel(ends))), max(0.0, *map(float, np.ravel(ends)))
    return _PRESCRIBED.get(activation(node.layer))


def is_normalization(node: Node, fusion: Fusion) -> bool:
    """Whether `node` is the frozen 1×1 depthwise convolution that normalises raw pixels."""
    return (
        type(node.layer) is layers.DepthwiseConv2D
        and not node.layer.trainable
        and node.layer.kernel_size == (1, 1)
        and is_linear(node.layer)
        and isinstance(fusion.producer(node).layer, layers.InputLayer)
    )
