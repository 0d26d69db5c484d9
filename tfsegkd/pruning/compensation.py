"""Bias compensation: the mean of removed channels goes into the biases of their consumers."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.graph import ChannelGraph, Edits, Node, channel_means
from tfsegkd.graph.layer_spec import spec_of
from tfsegkd.graph.layer_table import constant_response

layers = keras.layers

# Points and weights of the normal distribution: exact for polynomials up to degree 17.
_POINTS, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def compensated(
    channels: ChannelGraph, keep: np.ndarray, edits: Edits, images: Sequence[np.ndarray] | None
) -> Edits:
    """Adds the mean of the removed channels, times their weights, to what reads them.

    It goes into the consumer's bias, into the BatchNorm that follows one without, or else into a bias
    that it gets. A channel that is constant, such as one whose γ is 0, is replaced exactly, but for
    the borders of padded images.

    Args:
        images: Batches to measure the means on. Without them they are derived from the BatchNorms: their
            outputs are taken to be normal with mean β and deviation γ. Where that says nothing, the channel
            counts as zero.
    """
    consumers = [
        node
        for node in channels.graph.nodes
        if node.name in channels.layers
        and channels.layers[node.name].consumes
        and not keep[channels.layers[node.name].inputs].all()
    ]
    means = _derived(channels, consumers) if images is None else _measured(channels, consumers, images)
    configs, weights = dict(edits.configs), dict(edits.weights)
    for name, mean in means.items():
        gone = np.where(keep[channels.layers[name].inputs], 0.0, mean)
        layer = channels.model.get_layer(name)
        shift = constant_response(layer, layer.get_weights(), gone)[keep[channels.layers[name].outputs]]
        if shift.any():
            _add(channels, name, shift.astype(np.float32), configs=configs, weights=weights)
    return Edits(configs, weights)


def _add(channels, name, shift, configs, weights) -> None:
    layer = channels.model.get_layer(name)
    if layer.use_bias:
        *kernels, bias = weights[name]
        weights[name] = [*kernels, bias + shift]
        return
    norm = _norm_after(channels, name)
    if norm is None:
        configs[name] = {**configs.get(name, {}), "use_bias": True}
        weights[name] = [*weights[name], shift]
        return
    position = [id(w) for w in norm.weights].index(id(norm.moving_mean))
    values = list(weights.get(norm.name, norm.get_weights()))
    values[position] = values[position] - shift
    weights[norm.name] = values


def _norm_after(channels, name):
    """The BatchNorm that is the only consumer of a linear layer, if each is called once."""
    graph = channels.graph
    calls = [node for node in graph.nodes if node.name == name]
    consumers = graph.consumers[calls[0].outputs[0].id]
    if len(calls) != 1 or len(consumers) != 1 or type(consumers[0].layer) is not layers.BatchNormalization:
        return None
    linear = calls[0].layer.activation in (None, keras.activations.linear)
    alone = sum(node.name == consumers[0].name for node in graph.nodes) == 1
    return consumers[0].layer if linear and alone else None


def _measured(channels, consumers: Sequence[Node], images) -> dict[str, np.ndarray]:
    """Consumer → the mean of each channel that it reads."""
    if not consumers:
        return {}
    means = channel_means(channels.model, {node.name for node in consumers}, images)
    counts = [len(batch) for batch in images]
    return _by_name(consumers, [np.average(several, axis=0, weights=counts) for several in means])


def _derived(channels, consumers: Sequence[Node]) -> dict[str, np.ndarray]:
    """Consumer → the mean of each channel that it reads, as far as the BatchNorms before it determine it."""
    samples: dict[int, np.ndarray] = {}
    for node in channels.graph.nodes:
        found = _sampled(node, [samples.get(tensor.id) for tensor in node.inputs])
        if found is not None:
            samples[node.outputs[0].id] = found
    known = [node for node in consumers if node.inputs[0].id in samples]
    return _by_name(known, [_WEIGHTS @ samples[node.inputs[0].id] for node in known])


def _sampled(node: Node, inputs: list[np.ndarray | None]) -> np.ndarray | None:
    """(points, C) values of each channel at the points of a normal distribution; None if nothing is known."""
    layer = node.layer
    if type(layer) is layers.BatchNormalization:
        gamma = layer.gamma.numpy() if layer.scale else 1.0
        beta = layer.beta.numpy() if layer.center else 0.0
        variance = layer.moving_variance.numpy()
        return beta + _POINTS[:, None] * gamma * np.sqrt(variance / (variance + layer.epsilon))
    if not inputs or inputs[0] is None:
        return None
    if spec_of(layer).elementwise:
        if type(layer) is layers.PReLU:
            alpha = layer.alpha.numpy().reshape(-1, layer.alpha.shape[-1]).mean(0)
            return np.maximum(inputs[0], 0) + alpha * np.minimum(inputs[0], 0)
        return layer.call(tf.constant(inputs[0], tf.float32)).numpy()
    if spec_of(layer).keeps_mean:
        return inputs[0]
    if type(layer) is layers.Concatenate and not any(one is None for one in inputs):
        joined = np.concatenate(inputs, axis=1)
        return joined if joined.shape[1] == node.outputs[0].shape[-1] else None
    if type(layer) is layers.Add and not any(one is None for one in inputs):
        return sum(inputs)
    return None


def _by_name(consumers, means) -> dict[str, np.ndarray]:
    """Means by layer; those of a layer that is called several times are averaged."""
    found: dict[str, list] = {}
    for node, mean in zip(consumers, means, strict=True):
        found.setdefault(node.name, []).append(mean)
    return {name: np.mean(several, axis=0) for name, several in found.items()}
