"""Calibration: the ranges of a network's activations, measured on images."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from tfsegkd.graph import Graph, observe, rebuild
from tfsegkd.quantization.quantizers import Observed


def measure(graph: Graph, names: list[str], batches: Iterable) -> list[Observed]:
    """Runs a float network over images and measures how far the outputs of its layers reach.

    The network runs in inference mode: neither BatchNorm nor Dropout notices.

    Args:
        names: The layers to measure.
        batches: Float or uint8 images (N, H, W, 3) in 0…255, of the model's input size.

    Returns:
        What was observed of each layer: means over the batches, which is what a moving average comes to.

    Raises:
        TypeError: if a batch is not one array.
        ValueError: if there is no batch, or one of another shape or range.
    """
    outputs = {node.name: node.output for node in graph.nodes}
    probed = rebuild(dataclasses.replace(graph, outputs=[outputs[name] for name in names]))

    def extremes(x):
        return tf.stack([tf.reduce_min(x), tf.reduce_max(x), tf.reduce_mean(tf.abs(x))])

    found = observe(probed, extremes, (_checked(images, probed.input_shape) for images in batches))
    count = len(found[0])
    if not count:
        raise ValueError(
            "The calibration set is empty. Expected batches of images (N, H, W, 3). Pass a list of arrays or "
            "a dataset; a generator serves only once."
        )
    return [Observed(*map(float, np.mean(several, axis=0, dtype=float)), batches=count) for several in found]


def _checked(images, input_shape):
    if isinstance(images, tuple | list | dict):
        raise TypeError(
            f"Calibration batches must be arrays of images alone. Received: a {type(images).__name__}. Leave "
            f"the masks out: dataset.map(lambda image, mask: image)."
        )
    images = tf.cast(images, tf.float32)
    if images.shape.rank != 4 or not images.shape.is_compatible_with(input_shape):
        raise ValueError(
            f"Calibration images must have the model's input shape {input_shape}. Received: {images.shape}. "
            f"Pass batches of images alone, resized as for training."
        )
    low, high = float(tf.reduce_min(images)), float(tf.reduce_max(images))
    if not (low >= 0.0 and 1.0 < high <= 255.0):
        raise ValueError(
            f"Calibration images must be raw pixels in 0…255. Received values from {low:g} to {high:g}. "
            f"Leave the normalisation to the network."
        )
    return images
