"""Measures the statistics of BatchNorm again."""

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
        images: Batches; the larger, the better, and each with images of all kinds.

    Returns:
        How many BatchNorms were set.
    """
    return Recalibration(model).run(images)


class Recalibration:
    """The same for one network as often as asked, while nothing of it changes but these statistics.

    Args:
        model: The network. What it is given at a time may be more than images.
    """

    def __init__(self, model: keras.Model):
        self._norms = {
            layer.name: layer
            for layer in model.layers
            if type(layer) is keras.layers.BatchNormalization and layer.trainable
        }
        if not self._norms:
            return
        graph, names = read(model), self._norms
        nodes = tuple(
            dataclasses.replace(node, kwargs={**node.kwargs, "training": True})
            if node.name in names
            else node
            for node in graph.nodes
        )
        # Without momentum the statistics are those of the last batch.
        still = {name: {"momentum": 0.0} for name in names}
        probe = rebuild(dataclasses.replace(graph, nodes=nodes), still)
        self._probes = [probe.get_layer(name) for name in names]
        self._step = tf.function(lambda batch: probe(batch, training=False), reduce_retracing=True)

    def run(self, batches: Sequence) -> int:
        """Sets the statistics to those of `batches`; returns how many BatchNorms were set."""
        if not self._norms:
            return 0
        moments = [(0.0, 0.0)] * len(self._norms)
        for batch in batches:
            self._step(tf.nest.map_structure(lambda part: tf.cast(part, tf.float32), batch))
            for position, norm in enumerate(self._probes):
                mean, variance = norm.moving_mean.numpy(), norm.moving_variance.numpy()
                first, second = moments[position]
                moments[position] = (
                    first + mean / len(batches),
                    second + (variance + mean**2) / len(batches),
                )
        for norm, (first, second) in zip(self._norms.values(), moments, strict=True):
            norm.moving_mean.assign(first)
            norm.moving_variance.assign(np.maximum(second - first**2, 0))
        return len(self._norms)
