"""BatchNorm and ReLU brought to where they cost nothing: right after a convolution that takes them in."""

import numpy as np

from tfsegkd._keras import keras
from tfsegkd.graph import Node, read
from tfsegkd.graph.layer_spec import is_linear
from tfsegkd.graph.layer_table import NotDecomposable, affine, twin
from tfsegkd.quantization.edges import Edges, is_norm, takes_norm
from tfsegkd.quantization.opening import Build, refuse
from tfsegkd.quantization.rewiring import call_twin, rewire

layers = keras.layers


def fold(model: keras.Model) -> keras.Model:
    """Rebuilds `model` so that each BatchNorm and each ReLU becomes part of an int8 operation.

    One that no operation takes in, after an Add or a pooling for instance, gets a depthwise convolution by 1
    before it; so it goes on training. BatchNorm after a transposed convolution, which TFLite's converter
    would leave in float, is merged into its kernel and bias, which go on training.

    Differs: a later training no longer updates the statistics of such a merged BatchNorm.
    """
    graph = read(model)
    edges = Edges(graph)
    merged = {}
    for node in graph.nodes:
        norm = edges.sole_reader(node)
        transposed = type(node.layer) is layers.Conv2DTranspose and is_linear(node.layer)
        if transposed and norm is not None and is_norm(norm.layer):
            merged[norm.name] = node
    kernels = {node.name: norm for norm, node in merged.items()}
    found = graph.layers()

    def call(node: Node, inputs, **options):
        if node.name in merged:
            return inputs
        if node.name in kernels:
            biased = twin(node.layer, use_bias=True)
            outputs = biased(inputs, **options)
            biased.set_weights(_merge(node.layer, found[kernels[node.name]]))
            return outputs
        if _is_lonely(node, edges):
            try:
                inputs = affine(Build(), inputs, 1.0, None, f"{node.name}_unit")
            except NotDecomposable as error:
                refuse(node, model, str(error))
        return call_twin(node, inputs, **options)

    return rewire(graph, call)


def _is_lonely(node, edges):
    """Whether nothing before a BatchNorm or ReLU takes it in."""
    if not (is_norm(node.layer) or type(node.layer) is layers.ReLU):
        return False
    before = edges.producer(node)
    if is_norm(node.layer):
        return not (takes_norm(before) and edges.sole_reader(before) is node)
    return not edges.takes_relu(before)


def _merge(conv, norm):
    kernel = conv.kernel.numpy()  # (kh, kw, out, in)
    bias = conv.bias.numpy() if conv.use_bias else np.zeros(kernel.shape[2], np.float32)
    scale = 1.0 / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
    if norm.scale:
        scale = scale * norm.gamma.numpy()
    shift = norm.beta.numpy() if norm.center else 0.0
    return [kernel * scale[:, None], (bias - norm.moving_mean.numpy()) * scale + shift]
