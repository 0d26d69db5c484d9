"""Adapters start at the best linear map, so that hints begin small and press the student to no scale."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_networks import IGNORE, batch, network, same

from tfsegkd._keras import keras
from tfsegkd.distillation import Distiller, Term
from tfsegkd.distillation.diagnostics.gradient_norms import measure_gradients

STAGE = ("stage", "stage")


def scaled(student, factors):
    """The network whose feature 'stage' is that of `student`, each channel times its factor."""
    kernel, gamma, beta, *rest = student.get_weights()
    student.set_weights([kernel, gamma * factors, beta * factors, *rest])
    for layer in student.layers:
        if isinstance(layer, keras.layers.ReLU):
            layer.max_value = None  # a limit does not scale
    return student


def features(model, images, training):
    return keras.Model(model.inputs, model.get_layer("stage").output)(images, training=training).numpy()


def kept(masks):
    """The positions at stride 2 of which at least half is valid."""
    valid = (masks != IGNORE).astype(float)
    return valid.reshape(len(masks), masks.shape[1] // 2, 2, -1, 2).mean((2, 4)) >= 0.5


def standardized(feature, valid):
    """Each channel of each image, in plain loops."""
    result = np.zeros_like(feature, np.float64)
    for image, keep in enumerate(valid):
        for channel in range(feature.shape[-1]):
            values = feature[image, keep, channel].astype(np.float64)
            if len(values):
                result[image, keep, channel] = (values - values.mean()) / np.sqrt(values.var() + 1e-6)
    return result


def best_residual(student, target, valid):
    """The loss of the best linear map with an offset, by NumPy's least squares."""
    inputs = np.concatenate([student[valid], np.ones((valid.sum(), 1))], 1).astype(np.float64)
    solution, *_ = np.linalg.lstsq(inputs, target[valid], rcond=None)
    errors = np.zeros(target.shape)
    errors[valid] = (inputs @ solution - target[valid]) ** 2
    counts = np.maximum(valid.sum((1, 2)), 1)
    return np.mean(errors.mean(-1).sum((1, 2)) / counts)


def first_loss(teacher, student, term, images, masks, **options):
    distiller = Distiller(teacher, student, [term], ignore_label=IGNORE)
    distiller.compile(keras.optimizers.SGD(0.0))
    before = student.get_weights()
    history = distiller.fit(images, masks, len(images), epochs=1, verbose=0, shuffle=False, **options)
    # The step itself moves BatchNorm's averages once; the start before it must not.
    once = keras.models.clone_model(student)
    once.set_weights(before)
    once(images, training=True)
    for one, other in zip(student.get_weights(), once.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    return history.history[term.name][0]


@pytest.mark.parametrize("factors", [np.ones(6), np.geomspace(0.02, 50, 6)])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_hint_starts_at_the_residual_of_the_best_linear_map(factors, normalize):
    teacher, student = network("teacher"), scaled(network("student"), factors)
    images, masks = batch(6)
    valid = kept(masks)
    shown, made = features(teacher, images, False), features(student, images, True)
    target = standardized(shown, valid) if normalize else shown * valid[..., None]
    expected = best_residual(made, target, valid)
    got = first_loss(teacher, student, Term(f"hint(normalize={normalize})", at=STAGE), images, masks)
    assert got == pytest.approx(expected, rel=0.02, abs=1e-4)
    assert got < 0.8 * np.mean(np.square(target[valid]))  # and not at that of a map to nothing


def test_a_student_with_more_and_coarser_channels_starts_there_too():
    teacher, student = network("teacher", 5), network("student", 9, seed=1)
    images, masks = batch(6)
    valid, shown = kept(masks), features(teacher, images, False)
    expected = best_residual(features(student, images, True), standardized(shown, valid), valid)
    got = first_loss(teacher, student, Term("hint", at=STAGE), images, masks)
    assert got == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("form", ["arrays", "dataset", "generator", "sequence"])
def test_every_form_of_data_starts_the_adapter_and_loses_no_batch(form):
    images, masks = batch(8)
    seen = []

    class Sequence(keras.utils.Sequence):
        def __len__(self):
            return 4

        def __getitem__(self, number):
            return images[2 * number : 2 * number + 2], masks[2 * number : 2 * number + 2]

    def generator():
        for number in range(4):
            seen.append(number)
            yield Sequence()[number]

    given = {
        "arrays": {"x": images, "y": masks, "batch_size": 2, "shuffle": False},
        "dataset": {"x": tf.data.Dataset.from_tensor_slices((images, masks)).batch(2)},
        "generator": {"x": generator()},
        "sequence": {"x": Sequence(), "shuffle": False},
    }[form]
    distiller = Distiller(network("teacher"), network("student", seed=1), [Term("hint", at=STAGE)])
    distiller.compile(keras.optimizers.SGD(0.0))
    distiller.fit(**given, verbose=0)
    assert seen == ([0, 1, 2, 3] if form == "generator" else [])
    # Where no length is known, Keras finds the end in a step of its own, which counts.
    assert int(distiller._step) == 4 + (form == "generator")
    reference = Distiller(network("teacher"), network("student", seed=1), [Term("hint", at=STAGE)])
    reference.compile(keras.optimizers.SGD(0.0))
    reference.fit(images, masks, 2, verbose=0, shuffle=False)
    assert same(distiller._adapters[0].get_weights(), reference._adapters[0].get_weights())


def test_a_training_that_has_begun_keeps_its_adapters():
    distiller = Distiller(network("teacher"), network("student", seed=1), [Term("hint", at=STAGE)])
    distiller.compile(keras.optimizers.SGD(0.0))
    distiller.fit(*batch(4), 2, verbose=0)
    kernel, bias = distiller._adapters[0].get_weights()
    distiller._adapters[0].set_weights([kernel + 1, bias])
    distiller.fit(*batch(4, seed=1), 2, verbose=0)
    distiller.train_on_batch(*batch(4, seed=1))
    assert same(distiller._adapters[0].get_weights(), [kernel + 1, bias])


def test_what_is_not_finite_or_all_void_leaves_the_start_at_random():
    images, masks = batch(2)
    for broken in (images * np.nan, images):
        distiller = Distiller(network("teacher"), network("student", seed=1), [Term("hint", at=STAGE)])
        distiller.compile(keras.optimizers.SGD(0.0))
        before = distiller._adapters[0].get_weights()
        distiller.train_on_batch(broken, np.full_like(masks, IGNORE) if broken is images else masks)
        after = distiller._adapters[0].get_weights()
        assert broken is not images or same(before, after)
        assert np.isfinite(before[0]).all()


def test_the_pre_flight_measures_terms_from_there():
    teacher, student = network("teacher"), scaled(network("student"), np.geomspace(0.02, 50, 6))
    images, masks = batch(6)
    valid, shown = kept(masks), features(teacher, images, False)
    expected = best_residual(features(student, images, True), standardized(shown, valid), valid)
    tensors = {"stage": tf.constant(shown)}
    _, gradient = measure_gradients(
        tensors, student, [Term("hint", at=STAGE)], tf.constant(images), tf.constant(masks), IGNORE
    )
    assert gradient.value == pytest.approx(expected, rel=0.02)
