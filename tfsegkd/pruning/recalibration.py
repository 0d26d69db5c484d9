"""BatchNorm's statistics, measured anew."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.graph import read, rebuild


def recalibrate(model: keras.Model, images: Sequence[np.ndarray]) -> int:
    """Sets the moving statistics of every trainable BatchNorm of `model` to those of images.

    Dropout stays off, as it will be when the statistics are used. Each BatchNorm normalises with the
    statistics of the batch meanwhile, as in training.

    Args:
        images: Batches; the larger, the better.

    Returns:
        How many BatchNorms were set.
    """
    norms = {
        layer.name: layer
        for layer in model.layers
        if type(layer) is keras.layers.BatchNormalization and layer.trainable
    }
    if not norms:
        return 0
    graph = read(model)
    nodes = tuple(
        dataclasses.replace(node, kwargs={**node.kwargs, "training": True}) if node.name in norms else node
        for node in graph.nodes
    )
    # Without momentum the statistics are those of the last batch.
    probe = rebuild(dataclasses.replace(graph, nodes=nodes), {name: {"momentum": 0.0} for name in norms})
    probes = [probe.get_layer(name) for name in norms]

    @tf.function(reduce_retracing=True)
    def run(batch):
        probe(batch, training=False)

    moments = [(0.0, 0.0)] * len(norms)
    for batch in images:
        run(tf.cast(batch, tf.float32))
        for place, norm in enumerate(probes):
            mean, variance = norm.moving_mean.numpy(), norm.moving_variance.numpy()
            first, second = moments[place]
            moments[place] = (first + mean / len(images), second + (variance + mean**2) / len(images))
    for norm, (first, second) in zip(norms.values(), moments, strict=True):
        norm.moving_mean.assign(first)
        norm.moving_variance.assign(np.maximum(second - first**2, 0))
    return len(norms)
