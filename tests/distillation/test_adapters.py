"""Adapters: what they join, and that they add nothing where nothing is needed."""

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.distillation import Term
from tfsegkd.distillation.adapters import Adapter, adapter_for

RANDOM = np.random.default_rng(0)


def feature(height, width, channels):
    return RANDOM.normal(size=(2, height, width, channels)).astype("float32")


def test_equal_shapes_pass_untouched():
    adapter = adapter_for(Term("hint", at=("a", "b")), (None, 4, 6, 5), (None, 4, 6, 5))
    student = feature(4, 6, 5)
    np.testing.assert_array_equal(adapter(feature(4, 6, 5), student), student)
    assert adapter.weights == []


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
