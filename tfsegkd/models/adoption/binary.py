"""Converts networks of one logit to two logits with equal outputs, and their weights back."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.graph.layer_spec import is_linear, spec_of
from tfsegkd.graph.layer_table import twin
from tfsegkd.graph.nodes import Graph, Node
from tfsegkd.graph.rewriting import append, rewrite

layers = keras.layers


def with_two_logits(graph: Graph, node: Node, later: Sequence[Node]) -> tuple[Graph, str, str | None]:
    """A graph that ends in −z/2 and z/2 in place of z, its only channel.

    The convolution that makes z gets a second channel. Where something else makes it, a frozen 1×1
    convolution follows.

    Args:
        node: What makes z.
        later: The nodes that resize or crop it.

    Returns:
        The graph; what was done; the name of the layer with the second channel, if there is one.
    """
    calls = sum(other.name == node.name for other in graph.nodes)
    if not _channels_entry(node.layer) or calls > 1 or len(graph.consumers[node.outputs[0].id]) > 1:
        layer = layers.Conv2D(2, 1, use_bias=False, trainable=False)
        kernel = np.array([[[[-0.5, 0.5]]]], np.float32)
        graph, name = append(graph, layer, tf.nest.flatten(graph.outputs)[0], "two_logits", [kernel])
        return graph, f"Conv2D {name!r}: the logits are those of two classes now", None

    def step(each, here, build):
        if each is not node and each not in later:
            return build.keep(here)
        output = build.fresh((*each.output.shape[:-1], 2))
        if each is not node:
            return build.keep(here, output=output)
        layer = twin(node.layer, **{_channels_entry(node.layer): 2})
        layer.trainable = node.layer.trainable
        return build.keep(here, layer=layer, weights=_doubled(node, layer), output=output)

    return (
        rewrite(graph, step),
        f"a second channel of {node.name!r}: the logits are those of two classes now",
        node.name,
    )


def with_one_logit(weights: Sequence[np.ndarray], layer) -> list[np.ndarray]:
    """The weights of a layer of two logits, for `layer`, which gives their difference."""
    narrow = []
    for values, like in zip(weights, layer.get_weights(), strict=True):
        doubled = [axis for axis, size in enumerate(values.shape) if size != like.shape[axis]]
        narrow.append(np.diff(values, axis=doubled[0]) if doubled else values)
    return narrow


def _channels_entry(layer) -> str | None:
    """The entry of a linear layer's configuration that sets its number of output channels."""
    if not spec_of(layer).has_activation or not is_linear(layer):
        return None
    return next((entry for entry in ("filters", "units") if entry in layer.get_config()), None)


def _doubled(node: Node, layer: keras.layers.Layer) -> list[np.ndarray]:
    """The weights of `node` for `layer`, which gives two channels instead of one."""
    layer.build(node.inputs[0].shape)
    weights = []
    for like, values in zip(layer.weights, node.layer.get_weights(), strict=True):
        axes = [axis for axis, size in enumerate(values.shape) if size != like.shape[axis]]
        weights.append(np.concatenate([-0.5 * values, 0.5 * values], axes[0]) if axes else values)
    return weights
