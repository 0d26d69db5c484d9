"""The task loss against plain loops."""

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.losses import SegmentationLoss

CLASSES, VOID = 4, 255
RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(3, 5, 7, CLASSES)).astype("float32") * 2
LABELS = RANDOM.integers(0, CLASSES, (3, 5, 7))
LABELS[RANDOM.random(LABELS.shape) < 0.3] = VOID
LABELS[2] = VOID
WEIGHTS = (0.5, 3.0, 0.0, 1.25)


def oracle(labels, logits, void=VOID, weights=(1,) * CLASSES):
    found = []
    for mask, scores in zip(labels, logits.astype("float64"), strict=True):
        total, norm = 0.0, 0.0
        for y in range(mask.shape[0]):
            for x in range(mask.shape[1]):
                if mask[y, x] != void:
                    probability = np.exp(scores[y, x, mask[y, x]]) / np.exp(scores[y, x]).sum()
                    total -= weights[mask[y, x]] * np.log(probability)
                    norm += weights[mask[y, x]]
        found.append(total / norm if norm else 0.0)
    return np.array(found)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_it_is_the_mean_over_valid_pixels(weights, dtype):
    loss = SegmentationLoss(class_weights=weights, reduction="none")
    got = loss(LABELS.astype(dtype), LOGITS)
    want = oracle(LABELS, LOGITS, weights=weights or (1,) * CLASSES)
    assert got.dtype == tf.float32 and want[2] == 0
    np.testing.assert_allclose(got, want, rtol=1e-5)
    mean = SegmentationLoss(class_weights=weights)(LABELS.astype(dtype), LOGITS)
    np.testing.assert_allclose(mean, want.mean(), rtol=1e-5)


def test_sample_weights_are_keras_own():
    weights = np.array([2.0, 0.0, 1.0], "float32")
    got = SegmentationLoss()(LABELS, LOGITS, sample_weight=weights)
    np.testing.assert_allclose(got, np.sum(weights * oracle(LABELS, LOGITS)) / 3, rtol=1e-5)


def test_the_scale_of_class_weights_does_not_matter():
    one, other = (
        SegmentationLoss(class_weights=[scale * weight for weight in WEIGHTS])(LABELS, LOGITS)
        for scale in (1, 100)
    )
    np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.parametrize("void", [255, 4, 11, -1])
def test_void_may_have_any_number(void):
    labels = np.where(LABELS == VOID, void, LABELS)
    got = SegmentationLoss(void, reduction="none")(labels, LOGITS)
    np.testing.assert_allclose(got, oracle(labels, LOGITS, void), rtol=1e-5)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_void_pixels_give_neither_value_nor_gradient(weights):
    loss = SegmentationLoss(class_weights=weights)
    void = (LABELS == VOID)[..., None]
    gradients, values = [], []
    for junk in (0.0, 1e4):
        logits = tf.constant(np.where(void, junk, LOGITS))
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(LABELS, logits)
        values.append(value.numpy())
        gradients.append(tape.gradient(value, logits).numpy())
        assert not gradients[-1][void[..., 0]].any() and gradients[-1].any()
    np.testing.assert_allclose(*values, rtol=1e-6)
    np.testing.assert_allclose(*gradients, rtol=1e-6, atol=1e-8)


def test_a_batch_of_void_is_zero():
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = SegmentationLoss()(np.full_like(LABELS, VOID), logits)
    assert value == 0 and not tape.gradient(value, logits).numpy().any()


def test_float16_logits_are_computed_in_float32():
    half = (LOGITS * 20).astype("float16")
    got = SegmentationLoss(reduction="none")(LABELS, half)
    assert got.dtype == tf.float32
    np.testing.assert_allclose(got, oracle(LABELS, half), rtol=1e-5)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_it_comes_back_from_its_config(weights):
    loss = SegmentationLoss(4, weights, name="task")
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(copy) is SegmentationLoss and copy.get_config() == loss.get_config()
    labels = np.where(LABELS == VOID, 4, LABELS)
    np.testing.assert_array_equal(copy(labels, LOGITS), loss(labels, LOGITS))


@pytest.mark.parametrize("shift", [0.0, 40.0, 300.0, -300.0])
def test_value_and_gradient_are_exact_whatever_the_size_of_the_logits(shift):
    """Exponentials of the last two do not fit into float32; logits of a pixel may lie far apart, too."""
    logits = LOGITS * np.where(np.arange(7) % 2, 1, 20)[:, None] + shift
    labels = np.where(LABELS == VOID, 0, LABELS)
    shares = np.exp(logits.astype("float64") - logits.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    target = np.eye(CLASSES)[labels]
    values = -np.log((shares * target).sum(-1))
    logits = tf.constant(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        got = SegmentationLoss(reduction="none")(labels, logits)
    np.testing.assert_allclose(got, values.mean((1, 2)), rtol=2e-5)
    pulled = tape.gradient(got, logits).numpy() * values[0].size
    np.testing.assert_allclose(pulled, shares - target, atol=5e-5)


def test_a_label_that_is_no_class_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match="= 4 is not in"):
        SegmentationLoss()(np.full_like(LABELS, CLASSES), LOGITS)
