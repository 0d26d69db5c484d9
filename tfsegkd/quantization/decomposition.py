"""Decomposes layers until each is one operation that TFLite has in int8.

What a layer becomes computes what the layer did, bears its name at the end, and goes on training its weights.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from tfsegkd._keras import keras
from tfsegkd.graph import Builder, Graph, Node, Tensor, canonical, read, rewrite
from tfsegkd.graph.layer_spec import spec_of, types
from tfsegkd.graph.layer_table import NotDecomposable, twin

layers = keras.layers


def decompose(model: keras.Model) -> Graph:
    """The flat graph of `model`, of layers that are one int8 operation each; the model stays as it is.

    Raises:
        ValueError: for a layer that int8 cannot compute, with its name and a fix.
    """
    is_plain = all(
        isinstance(layer, layers.InputLayer) or spec_of(layer).scale or spec_of(layer).decompose
        for layer in model.layers
    )
    graph = read(model) if is_plain else canonical(model).graph
    graph = dataclasses.replace(graph, trainable=True)
    called = dict.fromkeys(graph.layers(), 0)

    def step(node, here, build):
        if isinstance(node.layer, layers.InputLayer):
            return build.keep(here)
        if len(node.args) != 1:
            raise ValueError(
                f"Layer {node.name!r} ({type(node.layer).__name__}) is called with {len(node.args)} "
                f"arguments. Expected its inputs alone. Give further ones by name, or replace the layer."
            )
        called[node.name] += 1
        name = node.name
        if called[name] > 1:
            # Without weights each place may have a layer of its own; shared weights would be untied.
            if node.layer.weights:
                refuse(
                    node,
                    model.name,
                    "It is called more than once: use one layer for each place, with its own name.",
                )
            name = f"{name}_{called[name]}"
        try:
            return _decomposed(here, name, Decomposition(build))
        except NotDecomposable as error:
            refuse(node, model.name, str(error))

    return rewrite(graph, step)


def _decomposed(node, name, build):
    rule = spec_of(node.layer).decompose
    if rule:
        output = rule(twin(node.layer, name=name), node.args[0], node.layer.get_weights(), build)
        if output is not None:
            return output
    check_known(node.layer)
    return build.builder.keep(node, name=name)


def refuse(node: Node, model: str, fix: str):
    """Raises a ValueError that names the layer of `node` and says what to do."""
    raise ValueError(
        f"Layer {node.name!r} ({type(node.layer).__name__}) of model {model!r} cannot be quantized to "
        f"int8. {fix}"
    ) from None


def check_known(layer: keras.layers.Layer) -> None:
    """Raises NotDecomposable if int8 cannot run a layer."""
    if spec_of(layer).scale is None:
        known = sorted(kind.__name__ for kind in types(lambda spec: spec.scale))
        others = f"Replace it by layers out of {known}, or register it with tfsegkd.graph.register."
        raise NotDecomposable(spec_of(layer).fix or others)


class Decomposition:
    """Adds the layers that rules of decomposition make to a graph.

    Args:
        builder: Of the graph.
    """

    def __init__(self, builder: Builder):
        self.builder = builder

    def add(self, layer: keras.layers.Layer, inputs: Any, weights: Sequence = ()) -> Tensor:
        """Calls `layer`, which is new and not built.

        Raises:
            NotDecomposable: if int8 cannot run it.
        """
        check_known(layer)
        return self.builder.add(layer, inputs, list(weights))

    def decompose(self, layer: keras.layers.Layer, inputs: Any, weights: Sequence = ()) -> Tensor:
        """Calls `layer`, which is new and not built, or what it decomposes into."""
        rule = spec_of(layer).decompose
        output = rule(layer, inputs, list(weights), self) if rule else None
        return self.add(layer, inputs, weights) if output is None else output
