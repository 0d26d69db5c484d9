"""Students that are pruned while they learn."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_networks import batch, network

from tfsegkd._keras import keras, tfmot
from tfsegkd.distillation import Distiller, parse_terms

sparsity = tfmot.sparsity.keras
SPECS = ["pixelwise", "hint@stage:stage", "attention@conv:conv"]


def pruned(seed=2):
    schedule = sparsity.PolynomialDecay(0.0, 0.75, begin_step=0, end_step=6, frequency=1)
    return sparsity.prune_low_magnitude(network("student", 8, seed=seed), pruning_schedule=schedule)


def zeros(model):
    kernels = [layer.kernel.numpy() for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    return [np.mean(kernel == 0) for kernel in kernels]


@pytest.mark.parametrize("eager", [True, False])
def test_a_student_is_pruned_while_it_learns(eager):
    student = pruned()
    distiller = Distiller(network("teacher", 6, seed=1), student, parse_terms(SPECS))
    distiller.compile("adam", run_eagerly=eager)
    images, masks = batch(4)
    logs = distiller.fit(
        images, masks, batch_size=2, epochs=4, verbose=0, callbacks=[sparsity.UpdatePruningStep()]
    ).history
    wrapped = [layer for layer in student.layers if layer.name.startswith("prune_")]
    assert wrapped and {int(layer.pruning_step) for layer in wrapped} == {8}, "one a batch"
    stripped = sparsity.strip_pruning(student)
    for name, share in zip(("conv", "head"), zeros(stripped), strict=True):
        assert share == pytest.approx(0.75, abs=0.05), name
    assert np.isfinite([*logs["loss"], *logs["hint_stage"]]).all()
    assert logs["loss"][-1] != logs["loss"][0]
    np.testing.assert_allclose(
        stripped.predict(images, verbose=0), distiller.predict(images, verbose=0), rtol=1e-5, atol=1e-5
    )


def test_without_the_callback_the_first_step_says_so():
    distiller = Distiller(network("teacher"), pruned(), parse_terms(SPECS))
    distiller.compile("sgd")
    with pytest.raises(tf.errors.InvalidArgumentError, match="UpdatePruningStep callback"):
        distiller.fit(*batch(), verbose=0)


@pytest.mark.slow
def test_pruning_is_resumed(tmp_path):
    def start(seed):
        distiller = Distiller(network("teacher", 6, seed=1), pruned(seed), parse_terms(SPECS))
        distiller.compile("sgd", run_eagerly=True)
        return distiller, tf.train.Checkpoint(model=distiller)

    def fit(distiller):
        distiller.fit(*batch(2), verbose=0, callbacks=[sparsity.UpdatePruningStep()])

    first, checkpoint = start(2)
    for _ in range(3):
        fit(first)
    path = checkpoint.save(str(tmp_path / "progress"))
    second, checkpoint = start(3)
    checkpoint.restore(path).assert_existing_objects_matched()
    for distiller in (first, second):
        for _ in range(4):
            fit(distiller)
    shares = [zeros(sparsity.strip_pruning(distiller.student)) for distiller in (first, second)]
    assert shares[0] == shares[1] and shares[0][0] == pytest.approx(0.75, abs=0.05)


def test_a_pruned_student_keeps_its_file(tmp_path):
    distiller = Distiller(network("teacher"), pruned(), parse_terms(SPECS))
    distiller.compile("sgd")
    images, masks = batch()
    distiller.fit(images, masks, verbose=0, callbacks=[sparsity.UpdatePruningStep()])
    distiller.save(tmp_path / "student.keras")
    with sparsity.prune_scope():
        loaded = keras.models.load_model(tmp_path / "student.keras")
    np.testing.assert_allclose(
        loaded.predict(images, verbose=0), distiller.predict(images, verbose=0), rtol=1e-5, atol=1e-5
    )
