"""What keras.distillation gets wrong: tests that ours does not, and notes that theirs does.

A note is skipped, not failed, once keras.distillation behaves differently.
"""

import numpy as np
import pytest
import tensorflow as tf
from tiny_networks import CLASSES, IGNORE, SHAPE, batch, network, same, statistics

from tfsegkd._keras import keras
from tfsegkd.distillation import Distiller, Term, parse_terms
from tfsegkd.losses import DistillationLoss

note = pytest.mark.note("keras.distillation")
FEATURES = ["pixelwise", "hint@stage:stage"]


def ours(specs=FEATURES, teacher=6, calls=None, rate=0.1):
    student = network("student", 6, seed=2, calls=calls)
    terms = parse_terms(specs) if isinstance(specs[0], str) else specs
    distiller = Distiller(network("teacher", teacher, seed=1), student, terms)
    distiller.compile(keras.optimizers.SGD(rate), run_eagerly=True)
    return distiller


@pytest.fixture
def theirs():
    """Builds keras.distillation.Distiller on networks of the same kind; skips where there is none."""
    keras3 = pytest.importorskip("keras", minversion="3.12")
    distillation = pytest.importorskip("keras.distillation")

    class Note(keras3.layers.Layer):
        def __init__(self, calls):
            super().__init__(name="note")
            self.note = calls.append  # a list would be copied

        def call(self, x):
            self.note(1)
            return x + 0.0

    def of(filters, calls):
        images = keras3.Input(SHAPE)
        x = Note(calls)(images)
        x = keras3.layers.Conv2D(filters, 3, strides=2, padding="same", name="conv")(x)
        x = keras3.layers.BatchNormalization(name="norm")(x)
        x = keras3.layers.ReLU(name="stage")(x)
        x = keras3.layers.Conv2D(CLASSES, 1, name="head")(x)
        return keras3.Model(images, keras3.layers.UpSampling2D(2)(x))

    def build(loss=None, teacher=6, rate=0.1):
        calls = []
        if loss is None:
            loss = distillation.FeatureDistillation(
                loss="mse", teacher_layer_name="stage", student_layer_name="stage"
            )
        distiller = distillation.Distiller(of(teacher, []), of(6, calls), distillation_losses=[loss])
        distiller.compile(
            keras3.optimizers.SGD(rate),
            loss=keras3.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORE),
            run_eagerly=True,
        )
        del calls[:]
        return distiller, calls

    build.keras = keras3
    build.base = distillation.DistillationLoss
    return build


# 1. With feature terms the student runs twice a step.


def test_the_student_runs_once():
    calls = []
    distiller = ours(calls=calls)
    distiller.train_on_batch(*batch())  # starts the adapters, too
    del calls[:]
    distiller.train_on_batch(*batch())
    assert calls == [True]


@note
def test_theirs_runs_the_student_twice(theirs):
    distiller, calls = theirs()
    distiller.train_on_batch(*batch())
    assert len(calls) == 2


# 2. `evaluate` moves the statistics of BatchNorm.


def test_evaluate_leaves_batch_norm_alone():
    distiller = ours()
    before = statistics(distiller.student)
    distiller.evaluate(*batch(), verbose=0)
    assert same(before, statistics(distiller.student))


@note
def test_theirs_moves_batch_norm_in_evaluate(theirs):
    distiller, _ = theirs()
    norm = distiller.student.get_layer("norm")
    before = np.array(norm.moving_mean)
    distiller.evaluate(*batch(), verbose=0)
    assert not np.array_equal(before, norm.moving_mean)


# 3. `sample_weight` is accepted and not used.

WEIGHTS = np.array([3.0, 0.0, 1.0], "float32")


def test_sample_weights_count():
    parts = [
        ours(rate=0.0).train_on_batch(*batch(), sample_weight=weights, return_dict=True)
        for weights in (None, WEIGHTS)
    ]
    for name in ("task_loss", "pixelwise", "hint_stage"):
        assert parts[0][name] != pytest.approx(parts[1][name], rel=1e-3)
    # An image of weight 0 moves nothing.
    images, masks = batch()
    moved = []
    for change in (0, 100):
        images[1] = np.clip(images[1] - change, 0, 255)
        student = network("student", 6, seed=2)
        student.get_layer("norm").trainable = False  # or its statistics would see the image
        distiller = Distiller(network("teacher", 6, seed=1), student, parse_terms(FEATURES))
        distiller.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
        distiller.train_on_batch(images, masks, sample_weight=WEIGHTS)
        moved.append(student.get_weights())
    assert same(*moved)


@note
def test_theirs_does_not_use_sample_weights(theirs):
    distiller, _ = theirs(rate=0.0)
    images, masks = batch()
    masks[masks == IGNORE] = 0
    values = [
        float(distiller.compute_loss(images, masks, None, weights, training=True))
        for weights in (None, tf.constant(WEIGHTS))
    ]
    assert values[0] == values[1]


# 4. A projection inside a loss is never trained.


class Projected(DistillationLoss):
    """Has a projection of its own."""

    def build(self, input_shape):
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], input_shape[-1]))
        super().build(input_shape)

    def compare(self, teacher, student, valid, labels, images):
        return tf.reduce_mean(tf.square(teacher - student @ self.kernel), [1, 2, 3])


def test_a_projection_in_a_loss_is_trained():
    loss = Projected(name="projected")
    distiller = ours([Term(loss, at=("stage", "stage"))])
    before = loss.kernel.numpy()
    distiller.train_on_batch(*batch())
    assert not np.array_equal(before, loss.kernel)


@note
def test_theirs_does_not_train_it(theirs):
    class TheirProjected(theirs.base):
        teacher_layer_name = student_layer_name = "stage"

        def __init__(self):
            self.project = theirs.keras.layers.Dense(6)
            self.project.build((None, 6))

        def validate_model_compatibility(self, teacher, student):
            pass

        def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
            return tf.reduce_mean(tf.square(teacher_outputs - self.project(student_outputs)))

    loss = TheirProjected()
    distiller, _ = theirs(loss)
    before = np.array(loss.project.kernel)
    distiller.train_on_batch(*batch())
    assert np.array_equal(before, loss.project.kernel)


# 5. Losses see neither labels nor void.


class Watching(DistillationLoss):
    """Notes what it is shown."""

    needs_labels = True
    needs_images = True

    def compare(self, teacher, student, valid, labels, images):
        self.seen = [part.numpy() for part in (labels, valid, images)] if tf.executing_eagerly() else None
        return tf.reduce_sum(student * 0, [1, 2, 3])


def test_losses_see_labels_void_and_images():
    loss = Watching(name="watching")
    images, masks = batch()
    ours([Term(loss)]).train_on_batch(images, masks)
    labels, valid, shown = loss.seen
    np.testing.assert_array_equal(valid, masks != IGNORE)
    np.testing.assert_array_equal(labels[masks != IGNORE], masks[masks != IGNORE])
    np.testing.assert_array_equal(shown, images)


@note
def test_theirs_sees_the_outputs_alone(theirs):
    seen = []

    class TheirWatching(theirs.base):
        def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
            seen.append(kwargs)
            return tf.reduce_mean(student_outputs) * 0.0

    distiller, _ = theirs(TheirWatching())
    distiller.train_on_batch(*batch())
    assert seen and not any(seen)


# 6. Features of different width cannot be joined.


def test_features_of_different_width_are_joined():
    logs = ours(teacher=9).train_on_batch(*batch(), return_dict=True)
    assert logs["hint_stage"] > 0


@note
def test_theirs_has_no_adapters(theirs):
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="shape"):
        distiller, _ = theirs(teacher=9)
        distiller.train_on_batch(*batch())
