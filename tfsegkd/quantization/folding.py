"""Folds BatchNorm and ReLU into the operations that compute them at no cost."""

import numpy as np

from tfsegkd._keras import keras
from tfsegkd.graph import Graph, rewrite
from tfsegkd.graph.layer_spec import is_linear
from tfsegkd.graph.layer_table import NotDecomposable, affine, twin
from tfsegkd.graph.rewriting import reading
from tfsegkd.quantization.decomposition import Decomposition, refuse
from tfsegkd.quantization.fusion import Fusion, is_norm, takes_norm

layers = keras.layers


def fold(graph: Graph) -> Graph:
    """Rebuilds a graph so that each BatchNorm and each ReLU becomes part of an int8 operation.

    One that no operation takes in, after an Add or a pooling for instance, gets a depthwise convolution by 1
    before it; so it goes on training. BatchNorm after a transposed convolution, which TFLite's converter
    would leave in float, is merged into its kernel and bias, which go on training.

    Args:
        graph: As `decomposition.decompose` leaves it.

    Differs: a later training no longer updates the statistics of such a merged BatchNorm.
    """
    fusion = Fusion(graph)
    merged = {}
    for node in graph.nodes:
        norm = fusion.sole_consumer(node)
        transposed = type(node.layer) is layers.Conv2DTranspose and is_linear(node.layer)
        if transposed and norm is not None and is_norm(norm.layer):
            merged[norm.name] = node
    norms = {node.name: graph.layers()[name] for name, node in merged.items()}

    def step(node, here, build):
        if node.name in merged:
            return here.inputs[0]
        if node.name in norms:
            norm = norms[node.name]
            weights = _merge(
                node.layer, graph.weights_of(node.name), norm, norm_weights=graph.weights_of(norm.name)
            )
            return build.keep(here, layer=twin(node.layer, use_bias=True), weights=weights)
        if _is_lonely(node, fusion):
            try:
                unit = affine(
                    Decomposition(build), here.inputs[0], 1.0, offset=None, name=f"{node.name}_unit"
                )
            except NotDecomposable as error:
                refuse(node, graph.name, str(error))
            here = reading(here, unit)
        return build.keep(here)

    return rewrite(graph, step)


def _is_lonely(node, fusion):
    """Whether nothing before a BatchNorm or ReLU takes it in."""
    if not (is_norm(node.layer) or type(node.layer) is layers.ReLU):
        return False
    before = fusion.producer(node)
    if is_norm(node.layer):
        return not (takes_norm(before) and fusion.sole_consumer(before) is node)
    return not fusion.takes_relu(before)


def _merge(conv, weights, norm, norm_weights):
    kernel, *bias = weights  # (kh, kw, out, in)
    *trained, mean, variance = norm_weights
    scale = 1.0 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale = scale * trained.pop(0)
    shift = trained.pop(0) if norm.center else 0.0
    return [kernel * scale[:, None], ((bias[0] if bias else 0.0) - mean) * scale + shift]
