"""Training stops at NaN."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_networks import CLASSES, batch, network

from tfsegkd._keras import keras
from tfsegkd.distillation import Distiller, StopAtNaN, Term
from tfsegkd.losses import DistillationLoss
from tfsegkd.metrics import MeanIoU


class Turning(DistillationLoss):
    """Becomes NaN at its third step."""

    def build(self, input_shape):
        self.calls = self.add_weight(name="calls", shape=(), initializer="zeros", trainable=False)
        super().build(input_shape)

    def compare(self, teacher, student, valid, labels, images):
        self.calls.assign_add(1.0)
        return tf.reduce_sum(student, [1, 2, 3]) * tf.where(self.calls < 3, 1.0, float("nan"))


def test_the_term_and_the_step_are_named():
    loss = Turning(name="odd")
    distiller = Distiller(network("teacher"), network("student"), [Term("pixelwise"), Term(loss, 1e-3)])
    distiller.compile("sgd", metrics=[MeanIoU(CLASSES)])
    images, masks = batch(4)
    data = tf.data.Dataset.from_tensor_slices((images, masks)).batch(2)
    with pytest.raises(
        FloatingPointError, match=r"^\['odd'\] became NaN or infinite in step 0 of epoch 2, after 3"
    ):
        distiller.fit(data, epochs=3, verbose=0, callbacks=[StopAtNaN()])


def test_a_metric_without_a_pixel_is_no_fault():
    distiller = Distiller(None, network("student"))
    distiller.compile("sgd", metrics=[MeanIoU(CLASSES)])
    images, masks = batch()
    logs = distiller.fit(images, np.full_like(masks, 255), verbose=0, callbacks=[StopAtNaN()]).history
    assert np.isnan(logs["mean_iou"][0]) and logs["loss"] == [0]


def test_it_serves_any_model():
    model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    model.compile("sgd", "mse")
    with pytest.raises(FloatingPointError, match=r"\['loss'\]"):
        model.fit(np.ones((2, 1)), np.full((2, 1), np.nan), verbose=0, callbacks=[StopAtNaN()])
