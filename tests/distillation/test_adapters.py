"""Adapters: what they join, and that they add nothing where nothing is needed."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_networks import batch, network

from tfsegkd._keras import keras
from tfsegkd.distillation import Distiller, Term
from tfsegkd.distillation.adapters import Adapter, OwnAdapter, adapter_for

RANDOM = np.random.default_rng(0)


def feature(height, width, channels):
    return RANDOM.normal(size=(2, height, width, channels)).astype("float32")


@pytest.mark.parametrize("term", [Term("pixelwise"), Term("pairwise", at=("a", "b"))])
def test_logits_and_losses_that_compare_no_channels_pass_untouched(term):
    adapter = adapter_for(term, (None, 4, 6, 5), (None, 4, 6, 5))
    student = feature(4, 6, 5)
    np.testing.assert_array_equal(adapter(feature(4, 6, 5), student), student)
    assert adapter.weights == []


def test_features_are_projected_although_they_have_equally_many_channels():
    adapter = adapter_for(Term("hint", at=("a", "b")), (None, 4, 6, 5), (None, 4, 6, 5))
    adapter(feature(4, 6, 5), feature(4, 6, 5))
    assert [tuple(weight.shape) for weight in adapter.weights] == [(1, 1, 5, 5), (5,)]


def test_channels_are_projected_before_the_resize():
    adapter = adapter_for(Term("hint", at=("a", "b")), (None, 8, 12, 7), (None, 4, 6, 5))
    student = feature(4, 6, 5)
    got = adapter(feature(8, 12, 7), student)
    kernel, bias = adapter.get_weights()
    projected = np.einsum("nhwi,io->nhwo", student, kernel[0, 0]) + bias
    assert got.shape == (2, 8, 12, 7)
    np.testing.assert_allclose(got, tf.image.resize(projected, (8, 12)), rtol=1e-5, atol=1e-6)


def test_a_loss_that_compares_no_channels_gets_no_projection():
    adapter = adapter_for(Term("pairwise", at=("a", "b")), (None, 8, 12, 7), (None, 4, 6, 5))
    assert adapter(feature(8, 12, 7), feature(4, 6, 5)).shape == (2, 8, 12, 5)
    assert adapter.weights == []


def test_logits_of_different_classes_are_not_projected():
    with pytest.raises(ValueError, match=r"have 7 classes, the student's 5.*Expected the same classes"):
        adapter_for(Term("pixelwise"), (None, 8, 12, 7), (None, 8, 12, 5))


def test_it_computes_in_float32_under_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        adapter = Adapter(7, name="adapter")
        got = adapter(feature(8, 12, 7), feature(4, 6, 5).astype("float16"))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert got.dtype == tf.float32


def test_it_comes_back_from_its_config():
    adapter = Adapter(7, name="adapter_hint")
    copy = keras.layers.deserialize(keras.layers.serialize(adapter))
    assert (type(copy), copy.name, copy.channels) == (Adapter, "adapter_hint", 7)


@pytest.mark.parametrize("shape", [(None, 7), (None, 8, 12), (None, 8, 12, None)])
def test_what_has_no_positions_or_channels_is_refused(shape):
    term = Term("attention", at=("a", "b"))
    with pytest.raises(
        ValueError, match=r"Layer 'a' of the teacher has shape .*flattening or global pooling"
    ):
        adapter_for(term, shape, (None, 8, 12, 7))
    with pytest.raises(ValueError, match="Layer 'b' of the student"):
        adapter_for(term, (None, 8, 12, 7), shape)


@pytest.mark.parametrize("adapter", ["auto", None])
def test_a_layer_behind_global_pooling_is_refused_at_construction(adapter):
    student = network("student")
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(student.get_layer("stage").output)
    grown = keras.layers.Reshape((1, 1, 6))(pooled)
    student = keras.Model(
        student.inputs, keras.layers.Add()([student.output, keras.layers.Conv2D(4, 1)(grown)])
    )
    with pytest.raises(ValueError, match=r"Layer 'pooled' of the student has shape \(None, 6\)"):
        Distiller(network("teacher"), student, [Term("hint", at=("stage", "pooled"), adapter=adapter)])


def test_without_an_adapter_the_shapes_must_fit():
    plain = Term("hint", at=("stage", "stage"), adapter=None)
    assert Distiller(network("teacher", 6), network("student", 6), [plain])._adapters[0].weights == []
    with pytest.raises(ValueError, match=r"'hint_stage' has no adapter.*\(None, 8, 12, 9\).*adapter='auto'"):
        Distiller(network("teacher", 9), network("student", 6), [plain])
    with pytest.raises(ValueError, match="'hint_conv' has no adapter"):
        Distiller(
            network("teacher"), network("student"), [Term("hint", at=("enlarge", "conv"), adapter=None)]
        )
    # This loss compares no channels.
    wide = Term("pairwise", at=("stage", "stage"), adapter=None)
    Distiller(network("teacher", 9), network("student", 6), [wide])


def test_a_layer_of_the_user_s_is_trained_and_dropped():
    adapter = keras.Sequential(
        [
            keras.layers.Conv2D(9, 1, kernel_regularizer=keras.regularizers.L2(0.5)),
            keras.layers.BatchNormalization(),
        ]
    )
    student = network("student", 5)
    names = [weight.name for weight in student.weights]
    distiller = Distiller(
        network("teacher", 9),
        student,
        [Term("hint", at=("stage", "stage"), adapter=adapter)],
        task_weight=0.0,
    )
    distiller.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    before = [weight.numpy() for weight in adapter.weights]
    assert len(before) == 6, "it has been built"
    logs = distiller.train_on_batch(*batch(), return_dict=True)
    # BatchNorm inside it is in training mode too, so its moving averages are among what moves.
    for weight, old in zip(adapter.weights, before, strict=True):
        assert not np.array_equal(weight, old) or ("conv2d" in weight.name and "bias" in weight.name), (
            weight.name
        )
    assert logs["task_loss"] == pytest.approx(0.5 * np.sum(before[0] ** 2), rel=1e-4), "its regularization"
    result = distiller.test_on_batch(*batch(), return_dict=True)
    assert result["loss"] == 0, "evaluation is the student's alone"
    assert [weight.name for weight in student.weights] == names
    refs = {weight.ref() for weight in adapter.weights}
    assert refs <= {weight.ref() for weight in distiller.weights}


def test_a_layer_that_does_not_fit_is_refused_at_construction():
    term = Term("hint", at=("stage", "stage"), adapter=keras.layers.Conv2D(8, 1))
    with pytest.raises(ValueError, match="expects the same size and number of channels"):
        Distiller(network("teacher", 9), network("student", 5), [term])


def test_ones_own_adapter_comes_back_from_its_config():
    for layer in (None, keras.layers.Conv2D(7, 1)):
        copy = keras.layers.deserialize(keras.layers.serialize(OwnAdapter(layer, name="adapter_hint")))
        assert type(copy) is OwnAdapter and copy.name == "adapter_hint"
        assert copy.layer is None if layer is None else copy.layer.filters == 7
