"""Optimizers, data sets and callbacks of Keras 3 in a training of tf_keras."""

import numpy as np
import pytest
from tiny_networks import CLASSES, batch, network

import tfsegkd
from tfsegkd._keras import keras, keras3
from tfsegkd.distillation.keras3_arguments import data_of, optimizer_of


def trained(optimizer):
    student = network("student")
    distiller = tfsegkd.Distiller(None, student)
    distiller.compile(optimizer)
    images, masks = batch()
    for _ in range(3):
        distiller.train_on_batch(images, masks)
    return student.get_weights()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True}),
        ("AdamW", {"learning_rate": 3e-3, "weight_decay": 0.02, "beta_1": 0.8, "clipnorm": 0.5}),
        ("RMSprop", {"learning_rate": 2e-3, "rho": 0.7}),
    ],
)
def test_an_optimizer_steps_as_its_namesake(name, options):
    ours, theirs = (getattr(k.optimizers, name)(**options) for k in (keras, keras3))
    for one, other in zip(trained(ours), trained(theirs), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


def test_a_schedule_comes_along():
    schedule = keras3.optimizers.schedules.PolynomialDecay(0.1, 4, end_learning_rate=0.01, power=0.9)
    made = optimizer_of(keras3.optimizers.SGD(schedule))
    assert float(made._learning_rate(2)) == pytest.approx(float(schedule(2)))


def test_what_is_of_tf_keras_or_a_name_stays():
    ours = keras.optimizers.Adam()
    assert optimizer_of(ours) is ours and optimizer_of("adam") == "adam" and data_of(None) is None


class Own(keras3.optimizers.SGD):
    pass


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (lambda: Own(0.1), "Own.*tf_keras"),
        (lambda: keras3.optimizers.Muon(0.1), "Muon.*tf_keras"),
        (lambda: keras3.optimizers.Adam(gradient_accumulation_steps=4), "accumulate_steps=4"),
    ],
)
def test_an_optimizer_that_tf_keras_does_not_have_is_named(optimizer, words):
    with pytest.raises(TypeError, match=words):
        optimizer_of(optimizer())


class Batches(keras3.utils.PyDataset):
    ended = 0

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return batch(seed=index)

    def on_epoch_end(self):
        self.ended += 1


def test_the_batches_of_a_py_dataset_train_as_they_are():
    logs = []
    for data in (Batches(), None):
        student = network("student")
        distiller = tfsegkd.Distiller(None, student)
        distiller.compile(keras.optimizers.SGD(0.1))
        if data is not None:
            distiller.fit(data, epochs=2, shuffle=False, verbose=0, validation_data=Batches())
        else:
            for _ in range(2):
                for index in range(2):
                    distiller.train_on_batch(*batch(seed=index))
        logs.append(student.get_weights())
    for one, other in zip(*logs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


@pytest.mark.parametrize(
    "callback",
    [
        lambda: keras3.callbacks.ReduceLROnPlateau("loss"),
        lambda: [keras3.callbacks.ModelCheckpoint("best.keras", monitor="loss")],
    ],
)
def test_a_callback_is_named_with_its_namesake(callback):
    distiller = tfsegkd.Distiller(None, network("student"))
    distiller.compile("adam")
    with pytest.raises(TypeError, match=r"tf_keras\.callbacks\.(Reduce|Model)"):
        distiller.fit(*batch(), callbacks=callback(), verbose=0)


@pytest.mark.parametrize(
    "parts",
    [
        lambda: {"loss": keras3.losses.SparseCategoricalCrossentropy(from_logits=True)},
        lambda: {"metrics": [keras3.metrics.MeanIoU(CLASSES)]},
    ],
)
def test_losses_and_metrics_are_named(parts):
    distiller = tfsegkd.Distiller(None, network("student"))
    with pytest.raises(TypeError, match=r"tf_keras\.(losses|metrics)\."):
        distiller.compile("adam", **parts())
