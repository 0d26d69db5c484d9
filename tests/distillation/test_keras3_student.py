"""A student of Keras 3 is trained as ours, and the user's own object learns."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_networks import CLASSES, SHAPE, batch, network, same

from tfsegkd import _keras
from tfsegkd._keras import keras
from tfsegkd.distillation import Distiller, Term
from tfsegkd.distillation.keras3_student import with_callback


@pytest.fixture
def student():
    keras3 = _keras.keras3
    keras3.utils.set_random_seed(0)
    layers = keras3.layers
    images = keras3.Input(SHAPE, name="image")
    x = layers.Rescaling(1 / 255)(images)
    x = layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False, name="conv")(x)
    x = layers.ReLU(name="stage")(layers.BatchNormalization(name="norm")(x))
    x = layers.Conv2D(CLASSES, 1, name="head")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    return keras3.Model(images, layers.Softmax()(x), name="student")


class Watch(keras.callbacks.Callback):
    """Notes how far the user's network is from the one that trains, where it is looked at."""

    def __init__(self, student, images):
        super().__init__()
        self.student, self.images, self.seen = student, images, []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(apart(self.student, self.model, self.images))


def apart(student, distiller, images):
    own, trained = student(images, training=False), tf.nn.softmax(distiller.predict(images, verbose=0))
    return float(np.abs(np.asarray(own) - trained.numpy()).max())


def test_the_users_network_learns(student):
    images, masks = batch()
    before = student.get_weights()
    terms = [Term("pixelwise"), Term("hint", at=("stage", "stage"))]
    distiller = Distiller(network("teacher"), student, terms)
    distiller.compile(keras.optimizers.Adam(0.05))
    watch = Watch(student, images)
    logs = distiller.fit(images, masks, batch_size=3, epochs=3, verbose=0, callbacks=[watch]).history
    assert logs["loss"][-1] < logs["loss"][0]
    assert len(watch.seen) == 3
    assert all(difference < 1e-5 for difference in watch.seen)
    assert apart(student, distiller, images) < 1e-5
    after = student.get_weights()
    assert not any(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    assert isinstance(distiller.student, keras.Model)


def test_callbacks_in_any_form_come_after_the_weights():
    first, own = keras.callbacks.Callback(), keras.callbacks.History()
    assert with_callback(first, (), {"epochs": 2}) == ((), {"callbacks": [first], "epochs": 2})
    assert with_callback(first, (), {"callbacks": own})[1]["callbacks"] == [first, own]
    args, _ = with_callback(first, (1, 2, 3, 4, 0, [own]), {})
    assert args[:6] == (1, 2, 3, 4, 0, [first, own])
    several = keras.callbacks.CallbackList([own])
    with_callback(first, (), {"callbacks": several})
    assert several.callbacks[:2] == [first, own]


def test_an_interrupted_fit_hands_back_what_was_learnt(student):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    images, masks = batch()
    before = student.get_weights()
    distiller = Distiller(None, student)
    distiller.compile("sgd")
    with pytest.raises(KeyboardInterrupt):
        distiller.fit(images, masks, verbose=0, callbacks=[Stop()])
    assert not same(before, student.get_weights())
    assert apart(student, distiller, images) < 1e-5


def test_single_steps_and_files(student, tmp_path):
    images, masks = batch()
    distiller = Distiller(None, student)
    distiller.compile("sgd")
    distiller.train_on_batch(images, masks)
    assert apart(student, distiller, images) < 1e-5
    head = distiller.student.get_layer("head")
    head.set_weights([weight + 0.1 for weight in head.get_weights()])
    distiller.save(tmp_path / "student.keras", overwrite=True, options=None)
    again = _keras.keras3.models.load_model(tmp_path / "student.keras", compile=False)
    np.testing.assert_array_equal(again(images), student(images))
    assert apart(student, distiller, images) < 1e-5


def test_a_student_that_cannot_be_adopted_is_refused():
    keras3 = _keras.keras3
    images = keras3.Input(SHAPE)
    with pytest.raises(ValueError, match=r"'secret' \(Lambda\)"):
        sort = keras3.layers.Lambda(lambda x: keras3.ops.sort(x, axis=1), name="secret")
        Distiller(None, keras3.Model(images, sort(images)))
