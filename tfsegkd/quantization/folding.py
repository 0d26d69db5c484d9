"""BatchNorm moved into the transposed convolution before it."""

import numpy as np

from tfsegkd._keras import keras
from tfsegkd.quantization import placement
from tfsegkd.quantization.rewiring import copy, rewire

layers = keras.layers


def fold_transposed_norms(model: keras.Model) -> keras.Model:
    """Replaces every Conv2DTranspose + BatchNormalization by one Conv2DTranspose with the same output.

    TFLite's converter merges BatchNorm into rounded convolutions, but leaves it in float after transposed
    ones. The new layer keeps the convolution's name; its kernel and bias go on training.

    Differs: a later training no longer updates the BatchNorm's statistics, which are part of the kernel now.
    """
    graph = placement.edges(model)
    by_name = {layer.name: layer for layer in model.layers}
    norms = {}
    for layer in model.layers:
        norm = placement.sole_consumer(layer, by_name, graph)
        if type(layer) is layers.Conv2DTranspose and placement.is_linear(layer) and placement.is_norm(norm):
            norms[layer.name] = norm
    if not norms:
        return model
    gone = {norm.name for norm in norms.values()}

    def call(layer, inputs):
        if isinstance(layer, layers.InputLayer) or layer.name in gone:
            return inputs
        if layer.name not in norms:
            return layer(inputs)
        merged = layers.Conv2DTranspose.from_config({**layer.get_config(), "use_bias": True})
        outputs = merged(inputs)
        merged.set_weights(_merge(layer, norms[layer.name]))
        return outputs

    # The copy's layers belong to one graph only.
    return copy(rewire(model, call))


def _merge(conv, norm):
    kernel = conv.kernel.numpy()  # (kh, kw, out, in)
    bias = conv.bias.numpy() if conv.use_bias else np.zeros(kernel.shape[2], np.float32)
    scale = 1.0 / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
    if norm.scale:
        scale = scale * norm.gamma.numpy()
    shift = norm.beta.numpy() if norm.center else 0.0
    return [kernel * scale[:, None], (bias - norm.moving_mean.numpy()) * scale + shift]
