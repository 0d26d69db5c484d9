"""A Keras model and a `.tflite` behind one call."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.distillation import Teacher
from tfsegkd.runtime import Network


class Predictor:
    """Runs a network on batches of images, wherever the network comes from.

    Args:
        network: A Keras model, the path of a saved one or of a `.tflite`, or a teacher.
        size: (height, width) at which a teacher that takes any size sees the images.

    Attributes:
        size: (height, width) of the images that it takes.
        num_classes: The channels of its logits.

    Raises:
        FileNotFoundError, ValueError: if the path holds no network.
    """

    def __init__(
        self, network: keras.Model | Teacher | str | os.PathLike, size: tuple[int, int] | None = None
    ):
        if isinstance(network, str | os.PathLike):
            is_tflite = Path(network).suffix == ".tflite"
            network = Network(network) if is_tflite else models.load(network)
        if isinstance(network, Network):
            self.size, self.num_classes = tuple(network.input_shape[:2]), network.num_classes
            self._run = network.predict
        elif isinstance(network, Teacher):
            self.size = tuple(network.size or network.input_size or size)
            self.num_classes = network.shapes(["logits"], (*self.size, 3))["logits"][-1]
            taps = tf.function(network.taps(["logits"]), reduce_retracing=True)
            self._run = lambda images: taps(tf.convert_to_tensor(images, tf.float32))["logits"].numpy()
        else:
            self.size, self.num_classes = tuple(network.input_shape[1:3]), network.output_shape[-1]
            forward = tf.function(lambda images: network(images, training=False), reduce_retracing=True)
            self._run = lambda images: forward(tf.convert_to_tensor(images, tf.float32)).numpy()

    def logits(self, images: np.ndarray) -> np.ndarray:
        """The logits of a batch.

        Shapes:
            images: (N, *size, 3), 0…255. returns: (N, *size, num_classes), float32.
        """
        return self._run(images)
