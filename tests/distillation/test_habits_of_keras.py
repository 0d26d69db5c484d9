"""What Keras' users do elsewhere works here: masks of any form, checkpoints of weights."""

import numpy as np
import pytest
import tensorflow as tf
from test_keras3_student import student as keras3_student  # noqa: F401  (a fixture)
from tiny_networks import CLASSES, IGNORE, batch, layers, network, same

from tfsegkd._keras import keras
from tfsegkd.data import labels_of
from tfsegkd.distillation import CoStudying, Distiller, Term
from tfsegkd.pruning.batches import known_labels


def one_hot(masks):
    """By loops: a 1 for the class of each pixel, nothing for void."""
    encoded = np.zeros((*masks.shape, CLASSES), np.float32)
    for place, label in np.ndenumerate(masks):
        if label != IGNORE:
            encoded[(*place, label)] = 1
    return encoded


FORMS = {
    "channel": lambda masks: masks[..., None],
    "bytes": lambda masks: masks[..., None].astype(np.uint8),
    "one-hot": one_hot,
    "one-hot bytes": lambda masks: one_hot(masks).astype(np.uint8),
    "one-hot booleans": lambda masks: one_hot(masks).astype(bool),
}


@pytest.mark.parametrize("form", FORMS)
def test_masks_of_every_form_are_the_same_labels(form):
    masks = batch()[1]
    np.testing.assert_array_equal(labels_of(FORMS[form](masks), CLASSES, IGNORE), masks)


@pytest.mark.parametrize("with_teacher", [True, False])
def test_every_form_teaches_the_same(with_teacher):
    images, masks = batch()
    results = []
    for form in (lambda masks: masks, FORMS["channel"], FORMS["one-hot"]):
        terms = [Term("pixelwise"), Term("hint", at=("stage", "stage"))] if with_teacher else None
        distiller = Distiller(network("teacher", seed=1) if with_teacher else None, network("student"), terms)
        distiller.compile(keras.optimizers.SGD(0.1), metrics=["accuracy"])
        data = tf.data.Dataset.from_tensor_slices((images, form(masks))).batch(3)
        logs = distiller.fit(data, epochs=2, verbose=0).history
        results.append((logs, distiller.evaluate(data, return_dict=True, verbose=0)))
    for logs, measured in results[1:]:
        assert logs.keys() == results[0][0].keys()
        np.testing.assert_allclose([*logs.values()], [*results[0][0].values()], rtol=1e-6)
        np.testing.assert_allclose([*measured.values()], [*results[0][1].values()], rtol=1e-6)


def test_co_studying_and_pruning_take_them_too():
    images, masks = batch()
    losses = []
    for given in (masks, masks[..., None]):
        teacher = network("teacher", seed=1)
        distiller = CoStudying(teacher, network("student"), [Term("pixelwise")])
        distiller.compile("sgd", teacher_optimizer="sgd")
        losses.append(distiller.train_on_batch(images, given, return_dict=True)["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    shape = network("student").output_shape
    expected, found = (
        known_labels([(images, given)], shape, "importance")[0][1] for given in (masks, one_hot(masks))
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(3, 16, 24, 3), (3, 16, 24, CLASSES, 1), (3, 16)])
def test_masks_of_another_shape_are_named(shape):
    distiller = Distiller(None, network("student"))
    distiller.compile("sgd")
    with pytest.raises(ValueError, match=rf"masks of a batch must be labels \(N, H, W\).*{shape[-1]}\)"):
        distiller.train_on_batch(batch()[0], np.zeros(shape, np.uint8))


@pytest.mark.parametrize("value", [0.5, 2, 255])
def test_channels_that_are_no_classes_are_refused(value):
    masks = one_hot(batch()[1])
    masks[0, 3, 5] = [value, 0, 0, 0]
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be one-hot"):
        labels_of(masks, CLASSES, IGNORE)
    masks[0, 3, 5] = [1, 1, 0, 0]
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be one-hot"):
        labels_of(masks, CLASSES, IGNORE)


@pytest.mark.parametrize("name", ["weights.h5", "{epoch:02d}.weights.h5", "checkpoint"])
def test_a_checkpoint_of_weights_is_the_students(tmp_path, name):
    distiller = Distiller(network("teacher", seed=1), network("student"), [Term("pixelwise")])
    distiller.compile(keras.optimizers.SGD(0.1))
    save = keras.callbacks.ModelCheckpoint(tmp_path / name, save_weights_only=True)
    distiller.fit(*batch(), epochs=2, verbose=0, callbacks=[save])
    trained = distiller.student.get_weights()
    alone = network("alone", seed=5)
    path = tmp_path / name.format(epoch=2)
    alone.load_weights(path)
    assert same(alone.get_weights(), trained)
    other = Distiller(None, network("student", seed=6))
    other.load_weights(path)
    assert same(other.student.get_weights(), trained)


def test_the_best_weights_of_a_student_of_keras_3(tmp_path, keras3_student):  # noqa: F811
    import keras as keras3

    distiller = Distiller(network("teacher", seed=1), keras3_student, [Term("pixelwise")])
    distiller.compile(keras.optimizers.SGD(0.1))
    path = tmp_path / "best.weights.h5"
    save = keras.callbacks.ModelCheckpoint(path, "loss", save_best_only=True, save_weights_only=True)
    distiller.fit(*batch(), verbose=0, callbacks=[save])
    best = keras3_student.get_weights()
    distiller.fit(*batch(), verbose=0)
    alone = keras3.models.clone_model(keras3_student)
    alone.load_weights(path)
    assert same(alone.get_weights(), best) and not same(keras3_student.get_weights(), best)
    distiller.load_weights(path)
    assert same(keras3_student.get_weights(), best)
    # What trains has them as well.
    kernel = distiller.student.get_layer("conv").get_weights()[0]
    np.testing.assert_array_equal(kernel, keras3_student.get_layer("conv").get_weights()[0])


def test_weights_of_another_network_are_refused(tmp_path):
    distiller = Distiller(None, network("student"))
    other = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    other.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(ValueError, match=r"Layer count mismatch|expected|shape"):
        distiller.load_weights(tmp_path / "other.weights.h5")


# Weights and losses.


def test_weights_of_images_may_have_an_axis():
    images, masks = batch()
    logs = []
    for weights in (np.array([2.0, 0.5, 1.0], "float32"), np.array([[2.0], [0.5], [1.0]], "float32")):
        distiller = Distiller(network("teacher", seed=1), network("student", seed=2), [Term("pixelwise")])
        distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        logs.append(distiller.train_on_batch(images, masks, weights, return_dict=True))
    assert logs[0] == pytest.approx(logs[1])


@pytest.mark.parametrize("shape", [(3, 16, 24), (3, 16, 24, 1), (3, 2)])
def test_weights_of_pixels_are_refused(shape):
    distiller = Distiller(network("teacher", seed=1), network("student", seed=2), [Term("pixelwise")])
    distiller.compile(keras.optimizers.SGD(0.0))
    with pytest.raises(ValueError, match="Sample weights must be one for each image"):
        distiller.fit(*batch(), sample_weight=np.ones(shape, "float32"), batch_size=3, verbose=0)


def test_weights_of_classes_are_refused():
    distiller = Distiller(None, network("student", seed=2))
    distiller.compile(keras.optimizers.SGD(0.0))
    with pytest.raises(ValueError, match="class_weight"):
        distiller.fit(*batch(), class_weight={0: 1.0, 1: 2.0}, verbose=0)


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        "binary_crossentropy",
        keras.losses.sparse_categorical_crossentropy,
        keras.losses.SparseCategoricalCrossentropy(),
        keras.losses.CategoricalFocalCrossentropy(),
    ],
)
def test_a_loss_of_probabilities_is_refused(loss):
    with pytest.raises(ValueError, match="takes probabilities"):
        Distiller(None, network("student")).compile(keras.optimizers.SGD(0.0), loss=loss)


def test_a_loss_of_logits_is_keras_own():
    images, masks = batch()
    student, loss = (
        network("student", seed=2),
        keras.losses.SparseCategoricalCrossentropy(True, ignore_class=255),
    )
    distiller = Distiller(None, student)
    distiller.compile(keras.optimizers.SGD(0.0), loss=loss)
    logs = distiller.test_on_batch(images[:1], masks[:1], return_dict=True)
    scores = student(images[:1], training=False).numpy().astype("float64")
    chances = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    known = [
        -np.log(chances[(*place, label)]) for place, label in np.ndenumerate(masks[:1]) if label != IGNORE
    ]
    assert logs["loss"] == pytest.approx(np.sum(known) / masks[:1].size, rel=1e-4) or logs[
        "loss"
    ] == pytest.approx(np.mean(known), rel=1e-4)


def test_images_alone_teach_what_the_teacher_says():
    images, _ = batch()
    teacher, student = network("teacher", seed=1), network("student", seed=2)
    logs = []
    for masks in (None, np.full(images.shape[:3], -1)):
        distiller = Distiller(teacher, student, [Term("pixelwise")], task_weight=0)
        distiller.compile(keras.optimizers.SGD(0.0))
        history = distiller.fit(images, masks, batch_size=3, verbose=0).history
        logs.append({name: value for name, (value,) in history.items()})
    assert logs[0]["pixelwise"] > 0 and logs[0] == pytest.approx(logs[1])
    distiller = Distiller(teacher, student, [Term("pixelwise")])
    distiller.compile(keras.optimizers.SGD(0.0))
    with pytest.raises(ValueError, match="images alone"):
        distiller.fit(images, batch_size=3, verbose=0)
