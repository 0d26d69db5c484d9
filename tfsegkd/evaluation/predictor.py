"""One interface to run Keras models, `.tflite` files and teachers."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfsegkd import models
from tfsegkd._keras import is_keras3, keras
from tfsegkd.distillation import Teacher, load_teacher
from tfsegkd.graph import check_images
from tfsegkd.runtime import Network


class Predictor:
    """Runs a network on batches of images.

    Args:
        network: A tf_keras or Keras 3 model, the path of a saved one or of a `.tflite`, or a teacher. A final
            softmax, sigmoid or single channel is converted to logits of all classes.
        size: (height, width) of the images for a teacher of any size.

    Attributes:
        size: (height, width) of its input.
        num_classes: The number of classes.

    Raises:
        FileNotFoundError, ValueError: if the path is not a network.

    Example:
        predictor = evaluation.Predictor(student)
        predictor.num_classes  # 11
    """

    def __init__(
        self, network: keras.Model | Teacher | str | os.PathLike, size: tuple[int, int] | None = None
    ):
        if isinstance(network, str | os.PathLike):
            is_tflite = Path(network).suffix == ".tflite"
            network = Network(network) if is_tflite else models.load(network)
        if is_keras3(network):
            network = load_teacher(network)
        if isinstance(network, Network):
            self.size, self.num_classes = tuple(network.input_shape[:2]), max(network.num_classes, 2)
            self._run = lambda images: models.as_logits(network.predict(images), models.heads.UNKNOWN).numpy()
        elif isinstance(network, Teacher):
            self.size = tuple(network.size or network.input_size or size)
            self.num_classes = network.shapes(["logits"], (*self.size, 3))["logits"][-1]
            extract = tf.function(network.feature_extractor(["logits"]), reduce_retracing=True)
            self._run = lambda images: extract(tf.convert_to_tensor(images, tf.float32))["logits"].numpy()
        else:
            check_images(network, "Running a network")
            models.check_one_output(network, "Network", "Pass keras.Model(model.inputs, the one to keep).")
            head = models.head_of(network)
            self.size = tuple(network.input_shape[1:3])
            self.num_classes = max(network.outputs[0].shape[-1], 2)

            def forward(images):
                (output,) = tf.nest.flatten(network(images, training=False))
                return models.as_logits(output, head)

            forward = tf.function(forward, reduce_retracing=True)
            self._run = lambda images: forward(tf.convert_to_tensor(images, tf.float32)).numpy()

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Returns the logits of a batch.

        Shapes:
            images: (N, *size, 3), 0…255. returns: (N, *size, num_classes), float32.
        """
        return self._run(images)
