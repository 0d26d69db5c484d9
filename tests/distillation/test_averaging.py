"""The average of the weights, against plain loops over what the weights were after each step."""

import numpy as np
import pytest
from tiny_networks import batch, network, same

from tfsegkd._keras import keras
from tfsegkd.distillation import AverageWeights, Distiller


class Weights(keras.callbacks.Callback):
    """Notes the student's weights after each step, while testing, and after that."""

    def __init__(self, student):
        super().__init__()
        self.student, self.steps, self.tested, self.after = student, [], [], []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(self.student.get_weights())

    def on_test_batch_end(self, batch, logs=None):
        self.tested = self.student.get_weights()

    def on_test_end(self, logs=None):
        self.after = self.student.get_weights()


def expected(first, steps):
    values = [weight.astype(np.float64) for weight in first]
    for number, step in enumerate(steps, start=1):
        momentum = min(0.999, (1 + number) / (10 + number))
        values = [momentum * old + (1 - momentum) * new for old, new in zip(values, step, strict=True)]
    return values


def test_validation_and_result_are_of_the_average_and_training_is_not_disturbed():
    images, masks = batch(8)
    runs = {}
    for averaged in (False, True):
        student = network("student")
        first, distiller = student.get_weights(), Distiller(None, student)
        distiller.compile(keras.optimizers.Adam(0.1))
        average = AverageWeights(student)
        noted = Weights(student)
        callbacks = [average, noted] if averaged else [noted]
        options = {"validation_data": (images, masks), "shuffle": False, "verbose": 0, "callbacks": callbacks}
        distiller.fit(images, masks, 2, epochs=3, **options)
        runs[averaged] = noted.steps
        if averaged:
            wanted = expected(first, noted.steps)
            for one, other in zip(noted.tested, wanted, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
            assert same(noted.steps[-1], student.get_weights())
            average.apply()
            for one, other in zip(student.get_weights(), wanted, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
            assert not np.allclose(noted.steps[-1][0], wanted[0])
    for one, other in zip(runs[False], runs[True], strict=True):
        for weight, again in zip(one, other, strict=True):
            np.testing.assert_allclose(weight, again, rtol=1e-4, atol=1e-5)


def test_what_is_pruned_or_no_weight_of_the_training_stays_as_it_is():
    student = network("student")
    conv = student.get_layer("conv")
    conv.add_weight(name="mask", shape=(), initializer="ones", trainable=False)
    average = AverageWeights(student)
    for value in (2.0, 0.0):
        kernel, mask = conv.get_weights()
        kernel[..., 0], kernel[..., 1] = value, 1.0
        conv.set_weights([kernel, mask * 5])
        average.on_train_batch_end(0)
    average.apply()
    kernel, mask = conv.get_weights()
    assert not kernel[..., 0].any() and mask == pytest.approx(25)
    assert kernel[..., 1].min() > 0.5 and kernel[..., 1].max() < 1
