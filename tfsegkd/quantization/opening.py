"""Layers taken apart until each is one operation that TFLite has in int8.

What a layer becomes computes what the layer did, bears its name at the end, and goes on training its weights.
"""

from collections.abc import Sequence
from typing import Any

from tfsegkd._keras import keras
from tfsegkd.graph import Node, canonical, read
from tfsegkd.graph.layer_spec import spec_of, types
from tfsegkd.graph.layer_table import NotDecomposable, twin
from tfsegkd.quantization.rewiring import rewire

layers = keras.layers


def open_layers(model: keras.Model) -> keras.Model:
    """Rebuilds `model` flat, of layers that are one int8 operation each; it stays as it is.

    Raises:
        ValueError: for a layer that int8 cannot compute, with its name and the cure.
    """
    graph = read(model) if all(map(_is_plain, model.layers)) else canonical(model).graph
    called, build = dict.fromkeys(graph.layers(), 0), Build()

    def call(node, inputs, **options):
        called[node.name] += 1
        name = node.name
        if called[name] > 1:
            # Without weights each place may have a layer of its own; shared weights would be untied.
            if node.layer.weights:
                refuse(
                    node,
                    model,
                    "It is called more than once: use one layer for each place, with its own name.",
                )
            name = f"{name}_{called[name]}"
        try:
            return build.open(twin(node.layer, name=name), inputs, node.layer.get_weights(), **options)
        except NotDecomposable as error:
            refuse(node, model, str(error))

    return rewire(graph, call)


def _is_plain(layer):
    return isinstance(layer, layers.InputLayer) or bool(spec_of(layer).scale or spec_of(layer).decompose)


def refuse(node: Node, model: keras.Model, cure: str):
    """Raises a ValueError that names the layer of `node` and says what to do."""
    raise ValueError(
        f"Layer {node.name!r} ({type(node.layer).__name__}) of model {model.name!r} cannot be quantized to "
        f"int8. {cure}"
    ) from None


class Build:
    """Calls the layers that rules of decomposition make, each with its weights."""

    def add(self, layer: keras.layers.Layer, inputs: Any, weights: Sequence = (), **options) -> Any:
        """Calls `layer`, which is new and not built.

        Raises:
            NotDecomposable: if int8 cannot run it.
        """
        if spec_of(layer).scale is None:
            known = sorted(kind.__name__ for kind in types(lambda spec: spec.scale))
            others = f"Replace it by layers out of {known}, or register it with tfsegkd.graph.register."
            raise NotDecomposable(spec_of(layer).cure or others)
        output = layer(inputs, **options)
        layer.set_weights(list(weights))
        return output

    def open(self, layer: keras.layers.Layer, inputs: Any, weights: Sequence = (), **options) -> Any:
        """Calls `layer`, which is new and not built, or what it decomposes into."""
        rule = spec_of(layer).decompose
        output = rule(layer, inputs, list(weights), self) if rule else None
        return self.add(layer, inputs, weights, **options) if output is None else output
