"""A graph built anew, layer by layer, as its nodes are made into something else."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.graph import Graph, Node
from tfsegkd.graph.layer_table import twin
from tfsegkd.graph.nodes import map_tensors


def rewire(graph: Graph, call: Callable, enter: Callable = lambda tensor, name: tensor) -> keras.Model:
    """Builds a model from what `call` makes of each node.

    Args:
        call: (node, inputs, **options) → output. `inputs` are the new model's tensors, structured as the
            node's; options are what else the layer is called with.
        enter: (tensor, name) → tensor, for the model's inputs.

    Raises:
        ValueError: if a layer takes tensors beside its inputs; the message names it.
    """
    tensors, entrances = {}, {}
    for node in graph.nodes:
        if isinstance(node.layer, keras.layers.InputLayer):
            entrances[node.output.id] = keras.Input(batch_shape=node.output.shape, name=node.name)
            output = enter(entrances[node.output.id], node.name)
        else:
            if len(node.args) != 1:
                raise ValueError(
                    f"Layer {node.name!r} ({type(node.layer).__name__}) is called with {len(node.args)} "
                    f"arguments. Expected its inputs alone. Give further ones by name, or replace the layer."
                )
            inputs, options = map_tensors(lambda tensor: tensors[tensor.id], (node.args[0], node.kwargs))
            output = call(node, inputs, **options)
        tensors.update(zip((t.id for t in node.outputs), tf.nest.flatten(output), strict=True))
    inputs = map_tensors(lambda tensor: entrances[tensor.id], graph.inputs)
    outputs = map_tensors(lambda tensor: tensors[tensor.id], graph.outputs)
    return keras.Model(inputs, outputs, name=graph.name)


def call_twin(node: Node, inputs: Any, **options) -> Any:
    """Calls a new layer like that of `node`, with its name and weights."""
    layer = twin(node.layer, name=node.name)
    output = layer(inputs, **options)
    layer.set_weights(node.layer.get_weights())
    return output


def copy(model: keras.Model) -> keras.Model:
    """A model of the same layers and weights that shares none of them with `model`."""
    other = keras.Model.from_config(model.get_config())
    # By name: where a layer is called several times, the order of the layers may change.
    for layer in other.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights())
    return other
