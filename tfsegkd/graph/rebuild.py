"""Builds a model from a graph, with new layers that have the weights of the old ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.graph.nodes import Graph, map_tensors


def rebuild(
    graph: Graph,
    configs: Mapping[str, Mapping[str, Any]] | None = None,
    weights: Mapping[str, Sequence[np.ndarray]] | None = None,
) -> keras.Model:
    """Builds a model from a graph; no layer of the graph is touched.

    Layers keep their names, trainable flags and, unless told otherwise, weights.

    Args:
        graph: As read, or with nodes replaced.
        configs: Layer name → the entries of its configuration that change.
        weights: Layer name → all its weights, in the order of `layer.get_weights()`.

    Returns:
        The model.

    Raises:
        ValueError: if a layer cannot be made from its configuration, cannot be called on its new inputs, or
            does not fit its weights; the message names it.

    Example:
        copy = graph.rebuild(graph.read(student), {"stride16": {"name": "context"}})
        copy.get_layer("context").output_shape  # (None, 2, 3, 16)
    """
    configs, weights = configs or {}, weights or {}
    copies: dict[str, keras.layers.Layer] = {}
    tensors = {}
    for node in graph.nodes:
        if node.name not in copies:
            copies[node.name] = _make(node.layer, node.name, configs.get(node.name, {}))
        layer = copies[node.name]
        output = layer.output if isinstance(layer, keras.layers.InputLayer) else _call(layer, node, tensors)
        tensors.update(zip((t.id for t in node.outputs), tf.nest.flatten(output), strict=True))
    inputs, outputs = (map_tensors(lambda t: tensors[t.id], s) for s in (graph.inputs, graph.outputs))
    model = keras.Model(inputs, outputs, name=graph.name)
    model.trainable = graph.trainable  # reaches down to every layer, so it comes before theirs
    for name, old in graph.layers().items():
        for old_part, part in zip(old._flatten_layers(), copies[name]._flatten_layers(), strict=True):
            part.trainable = old_part.trainable
        # A layer that is new is initialized as it likes.
        own = graph.weights.get(name, old.get_weights() if old.built else None)
        _fill(copies[name], weights.get(name, own))
    return model


def _make(layer, name, changes):
    if isinstance(layer, keras.layers.Lambda):
        # A lambda's configuration holds bytecode without the names it uses; the function itself works.
        return type(layer)(
            layer.function,
            output_shape=layer._output_shape,
            mask=layer.mask,
            arguments=layer.arguments,
            name=name,
            dtype=layer.dtype,
        )
    if hasattr(layer, "symbol"):  # an op such as x + y, which Keras wrapped into a layer
        return type(layer)(layer.function, name=name)
    parts = {type(part).__name__: type(part) for part in layer._flatten_layers()}
    try:
        with keras.utils.custom_object_scope(parts):
            return type(layer).from_config({**layer.get_config(), "name": name, **changes})
    except (TypeError, ValueError, NotImplementedError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"Layer {name!r} ({type(layer).__name__}) cannot be rebuilt from its configuration: {reason} "
            f"Give the class a get_config that holds all its arguments."
        ) from error


def _call(layer, node, tensors):
    args, kwargs = map_tensors(lambda tensor: tensors[tensor.id], (node.args, node.kwargs))
    try:
        return layer(*args, **kwargs)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Layer {node.name!r} ({type(layer).__name__}) cannot be called on its new inputs: {error}"
        ) from error


def _fill(layer, weights):
    if weights is None:
        return
    if callable(weights):
        weights(layer)
        return
    wanted, given = [tuple(w.shape) for w in layer.weights], [np.shape(w) for w in weights]
    if wanted != given:
        raise ValueError(
            f"Layer {layer.name!r} ({type(layer).__name__}) was given weights of shapes {given} and needs "
            f"{wanted}. Change its configuration and its weights alike."
        )
    layer.set_weights(weights)
