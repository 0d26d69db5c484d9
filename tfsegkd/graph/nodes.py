"""A functional model as a flat list of nodes: which layer is called on which tensors."""

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.graph import keras_graph
from tfsegkd.graph.naming import Names
from tfsegkd.graph.requirements import check_functional, refuse_not_functional


@dataclass(frozen=True)
class Tensor:
    """What flows between two nodes.

    Args:
        id: Its number in the graph.
        shape: Its shape with the batch.
    """

    id: int
    shape: tuple[int | None, ...]

    @property
    def width(self) -> int:
        """How many channels it has; 0 if it has no axis of channels, or an open one."""
        return self.shape[-1] or 0 if len(self.shape) > 1 else 0

    @property
    def positions(self) -> int:
        """How many positions it has for one image, 0 if its size is not fixed."""
        return 0 if None in self.shape[1:-1] else math.prod(self.shape[1:-1])


@dataclass(frozen=True, eq=False)
class Node:
    """One call of a layer.

    Args:
        layer: The layer called. Several nodes share one.
        name: The layer's name, which is unique among the layers of the graph.
        args, kwargs: What it is called with; a `Tensor` stands wherever a tensor of the model does.
        output: The output, a tensor or a structure of tensors.

    Example:
        graph.read(student).nodes[-1].layer is student.get_layer("logits")  # True
    """

    layer: keras.layers.Layer
    name: str
    args: tuple
    kwargs: dict[str, Any]
    output: Any

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        flat = tf.nest.flatten((self.args, list(self.kwargs.values())))
        return tuple(item for item in flat if isinstance(item, Tensor))

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return tuple(tf.nest.flatten(self.output))


@dataclass(frozen=True, eq=False)
class Graph:
    """A network as a list of nodes.

    Args:
        name: The model's.
        nodes: In an order in which they can run.
        inputs, outputs: The model's tensors, structured as the model has them.
        trainable: Whether the model as a whole is.
        weights: Layer name → weights in place of the layer's own, or a function that fills a new layer.

    Example:
        [node.name for node in graph.read(student).nodes][-1]  # 'logits'
    """

    name: str
    nodes: tuple[Node, ...]
    inputs: Any
    outputs: Any
    trainable: bool = True
    weights: Mapping[str, Sequence[np.ndarray] | Callable] = field(default_factory=dict)

    @cached_property
    def producers(self) -> dict[int, Node]:
        """The id of each tensor → the node that gives it."""
        return {tensor.id: node for node in self.nodes for tensor in node.outputs}

    def weights_of(self, name: str) -> list[np.ndarray]:
        """The weights of a layer."""
        return list(self.weights[name] if name in self.weights else self.layers()[name].get_weights())

    def layers(self) -> dict[str, keras.layers.Layer]:
        """The layers by their name in the graph, each once."""
        return {node.name: node.layer for node in self.nodes}

    @cached_property
    def consumers(self) -> dict[int, list[Node]]:
        """The id of each tensor → the nodes that it goes into, as often as it does."""
        found = {tensor.id: [] for node in self.nodes for tensor in node.outputs}
        for node in self.nodes:
            for tensor in node.inputs:
                found[tensor.id].append(node)
        return found


def read(model: keras.Model) -> Graph:
    """Reads the graph of `model`; models inside it are opened, so that the list is flat.

    A layer called several times has several nodes. A layer of an inner model keeps its name if nothing else
    has it, and gets the inner model's in front otherwise.

    Args:
        model: A functional (or built sequential) network.

    Returns:
        The graph, whose nodes refer to the layers of `model`.

    Raises:
        TypeError: if `model` is not a functional tf_keras model.

    Example:
        len(graph.read(student).nodes) == len(student.layers)  # True
    """
    check_functional(model, "Reading a graph")
    if not keras_graph.runs_its_graph(model):
        refuse_not_functional(model, "Reading a graph")
    return _graph(model, _Reader(model), {})


def _graph(model, reader, tensors) -> Graph:
    reader.open(model, tensors, training=None)
    inputs, outputs = (
        tf.nest.map_structure(lambda tensor: tensors[id(tensor)], structure)
        for structure in (keras_graph.input_structure(model), keras_graph.output_structure(model))
    )
    return Graph(model.name, tuple(reader.nodes), inputs, outputs=outputs, trainable=model.trainable)


def probe(model: keras.Model, choose: Callable[[Graph], Any]) -> keras.Model:
    """The same layers with other outputs: nothing is copied.

    Args:
        model: A functional model without models inside.
        choose: The model's graph → the tensors to give, in a structure.
    """
    reader, tensors = _Reader(model), {}
    graph = _graph(model, reader, tensors)
    given = {tensor.id: reader.keras_tensors[key] for key, tensor in tensors.items()}
    return keras.Model(model.inputs, map_tensors(lambda tensor: given[tensor.id], choose(graph)))


def observe(model: keras.Model, statistic: Callable, batches: Iterable) -> list[list[np.ndarray]]:
    """A statistic of each output of a network in inference mode, batch by batch.

    Args:
        model: Such as `probe` returns.
        statistic: Tensor → tensor.
    """

    @tf.function(reduce_retracing=True)
    def look(images):
        return [statistic(output) for output in tf.nest.flatten(model(images, training=False))]

    found = [[] for _ in model.outputs]
    for images in batches:
        for several, value in zip(found, look(tf.cast(images, tf.float32)), strict=True):
            several.append(value.numpy())
    return found


def channel_means(model: keras.Model, names: Collection[str], batches: Iterable) -> list[list[np.ndarray]]:
    """The mean of each channel of what some nodes are given, node by node and batch by batch.

    Args:
        model: A functional model without models inside.
        names: Those of the nodes.
    """
    given = probe(model, lambda graph: [node.inputs[0] for node in graph.nodes if node.name in names])
    return observe(given, lambda x: tf.reduce_mean(x, list(range(x.shape.rank - 1))), batches)


def map_tensors(function: Callable[[Tensor], Any], structure: Any) -> Any:
    """`structure` with `function` applied to its tensors and all else as it is."""
    return tf.nest.map_structure(lambda item: function(item) if isinstance(item, Tensor) else item, structure)


def has_inner_models(model: keras.Model) -> bool:
    """Whether reading `model` opens models inside it."""
    return any(map(keras_graph.runs_its_graph, model.layers))


class _Reader:
    """Collects nodes while models are opened, and gives layers their names."""

    def __init__(self, model: keras.Model):
        self.nodes: list[Node] = []
        self.keras_tensors: dict[int, Any] = {}
        self._ids = itertools.count()
        self._names = Names()
        for layer in model.layers:
            if not isinstance(layer, keras.Model):
                self._names.take(layer, [layer.name])

    def open(self, model: keras.Model, tensors: dict[int, Tensor], training: bool | None) -> None:
        """Appends the nodes of `model`; `tensors` maps the id of Keras' tensors and holds bound inputs."""
        # As the model lists its layers; a Sequential keeps the layer of its input to itself.
        order = {id(layer): number for number, layer in enumerate(model.layers)}
        for node in keras_graph.calls(model, key=lambda node: order.get(id(node.layer), -1)):
            outputs = tf.nest.flatten(node.outputs)
            if isinstance(node.layer, keras.layers.InputLayer) and id(outputs[0]) in tensors:
                continue  # the input of an inner model, bound to what that model is called on
            args, kwargs = tf.nest.map_structure(
                lambda item: tensors.get(id(item), item),
                (node.call_args, node.call_kwargs),
            )
            if keras_graph.runs_its_graph(node.layer):
                given = self._open_inner(node.layer, args, kwargs, training=training)
                tensors.update(zip(map(id, outputs), given, strict=True))
                continue
            if training is not None and node.layer._expects_training_arg and len(args) < 2:
                kwargs = {**kwargs, "training": _first_given(kwargs.get("training"), training)}
            for tensor in outputs:
                tensors[id(tensor)] = Tensor(next(self._ids), tuple(tensor.shape))
                self.keras_tensors[id(tensor)] = tensor
            output = tf.nest.map_structure(lambda tensor: tensors[id(tensor)], node.outputs)
            name = self._names.take(node.layer, (node.layer.name, f"{model.name}_{node.layer.name}"))
            self.nodes.append(Node(node.layer, name, args, kwargs=kwargs, output=output))

    def _open_inner(self, inner, args, kwargs, training) -> list[Tensor]:
        given = kwargs.get("training", args[1] if len(args) > 1 else None)
        taken = keras_graph.bound_inputs(inner, args[0] if args else kwargs["inputs"])
        tensors = dict(zip(map(id, inner.inputs), taken, strict=True))
        self.open(inner, tensors, _first_given(given, training))
        return [tensors[id(tensor)] for tensor in inner.outputs]


def _first_given(*values):
    return next((value for value in values if value is not None), None)
