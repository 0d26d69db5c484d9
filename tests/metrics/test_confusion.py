"""The confusion matrix and what is read from it, against scikit-learn and plain loops."""

import math

import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.metrics import MeanIoU, confusion_matrix, iou, mean_iou, pixel_accuracy

CLASSES = 5


def masks(seed=0, shape=(3, 8, 10), void=0.2, classes=CLASSES):
    """Labels with void, and predictions that are right in about half of the pixels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, shape)
    predictions = np.where(random.random(shape) < 0.5, labels, random.integers(0, classes, shape))
    labels[random.random(shape) < void] = 255
    return labels.astype(np.uint8), predictions.astype(np.int32)


def loop_matrix(labels, predictions, classes=CLASSES, ignore=255):
    matrix = [[0] * classes for _ in range(classes)]
    for label, prediction in zip(labels.ravel().tolist(), predictions.ravel().tolist(), strict=True):
        if label != ignore:
            matrix[label][prediction] += 1
    return np.array(matrix)


def test_matrix_against_loops_and_scikit_learn():
    labels, predictions = masks()
    matrix = confusion_matrix(labels, predictions, CLASSES)
    np.testing.assert_array_equal(matrix, loop_matrix(labels, predictions))
    valid = labels != 255
    np.testing.assert_array_equal(
        matrix,
        sklearn.metrics.confusion_matrix(labels[valid], predictions[valid], labels=range(CLASSES)),
    )
    assert matrix.dtype == np.int64


def test_figures_against_scikit_learn():
    labels, predictions = masks(1)
    matrix = confusion_matrix(labels, predictions, CLASSES)
    valid = labels != 255
    pair = labels[valid], predictions[valid]
    np.testing.assert_allclose(iou(matrix), sklearn.metrics.jaccard_score(*pair, average=None))
    assert mean_iou(matrix) == pytest.approx(sklearn.metrics.jaccard_score(*pair, average="macro"))
    assert pixel_accuracy(matrix) == pytest.approx(sklearn.metrics.accuracy_score(*pair))


def test_a_class_absent_from_both_is_left_out():
    labels, predictions = np.array([0, 0, 1, 3]), np.array([0, 1, 1, 1])
    matrix = confusion_matrix(labels, predictions, CLASSES)
    # Class 3 was labelled and missed: it counts, as 0. Classes 2 and 4 are nowhere.
    np.testing.assert_allclose(iou(matrix), [1 / 2, 1 / 3, np.nan, 0, np.nan])
    assert mean_iou(matrix) == pytest.approx((1 / 2 + 1 / 3 + 0) / 3)
    assert pixel_accuracy(matrix) == pytest.approx(1 / 2)


def test_a_prediction_on_void_does_not_count():
    matrix = confusion_matrix(np.array([0, 255]), np.array([0, 4]), CLASSES)
    assert matrix.sum() == 1
    assert math.isnan(iou(matrix)[4])
    # What a network says there need not even be a class of ours.
    assert confusion_matrix(np.array([0, 255]), np.array([0, 77]), CLASSES).sum() == 1


def test_nothing_counted_is_nan():
    matrix = confusion_matrix(np.full((2, 2), 255), np.zeros((2, 2), int), CLASSES)
    assert math.isnan(mean_iou(matrix))
    assert math.isnan(pixel_accuracy(matrix))


def test_many_classes_in_small_integers():
    labels, predictions = masks(2, classes=150)
    matrix = confusion_matrix(labels, predictions.astype(np.uint8), 150)
    np.testing.assert_array_equal(matrix, loop_matrix(labels, predictions, 150))


@pytest.mark.parametrize(
    ("labels", "predictions", "error", "message"),
    [
        ([0, 5], [0, 0], ValueError, "Label 5 in 1 pixels. Expected 0 to 4"),
        ([0, -1], [0, 0], ValueError, "Label -1"),
        ([0, 1], [0, 5], ValueError, "Prediction 5"),
        ([0, 1], [0, -1], ValueError, "Prediction -1"),
        ([0, 1], [0], ValueError, r"\(2,\) and \(1,\)"),
        ([0.0, 1.0], [0, 1], TypeError, "integer labels. Received: float64"),
        ([0, 1], [0.0, 1.0], TypeError, "integer predictions"),
    ],
)
def test_strange_masks_are_refused(labels, predictions, error, message):
    with pytest.raises(error, match=message):
        confusion_matrix(np.array(labels), np.array(predictions), CLASSES)


@pytest.mark.parametrize("num_classes", [1, 0, -3, 2.5, True, "5"])
def test_num_classes_is_checked(num_classes):
    with pytest.raises(ValueError, match="num_classes"):
        MeanIoU(num_classes)
    with pytest.raises(ValueError, match="num_classes"):
        confusion_matrix(np.array([0]), np.array([0]), num_classes)


def test_metric_gathers_batches_of_classes_and_of_logits():
    labels, predictions = masks(3)
    logits = tf.one_hot(predictions, CLASSES) * 3.0 - 1.0
    expected = mean_iou(loop_matrix(labels, predictions))
    for fed in predictions, logits, tf.cast(logits, tf.float16):
        metric = MeanIoU(CLASSES)
        for index in range(3):
            metric.update_state(labels[index : index + 1], fed[index : index + 1])
        assert float(metric.result()) == pytest.approx(expected, rel=1e-12)
        np.testing.assert_array_equal(metric.matrix, loop_matrix(labels, predictions))
    metric.reset_state()
    assert math.isnan(float(metric.result()))


def test_metric_resizes_logits_to_the_labels():
    random = np.random.default_rng(4)
    labels = random.integers(0, CLASSES, (2, 12, 16)).astype(np.int32)
    logits = random.normal(size=(2, 3, 4, CLASSES)).astype(np.float32)

    def at(image, y, x):  # bilinear, half-pixel centres, edges repeated
        y, x = np.clip((y + 0.5) / 4 - 0.5, 0, 2), np.clip((x + 0.5) / 4 - 0.5, 0, 3)
        top, left = int(y), int(x)
        down, right = min(top + 1, 2), min(left + 1, 3)
        upper = image[top, left] * (1 - (x - left)) + image[top, right] * (x - left)
        lower = image[down, left] * (1 - (x - left)) + image[down, right] * (x - left)
        return upper * (1 - (y - top)) + lower * (y - top)

    predictions = np.array(
        [[[at(image, y, x).argmax() for x in range(16)] for y in range(12)] for image in logits]
    )
    metric = MeanIoU(CLASSES)
    metric.update_state(labels, logits)
    np.testing.assert_array_equal(metric.matrix, loop_matrix(labels, predictions))


def test_metric_counts_beyond_what_float32_can():
    metric = MeanIoU(2)
    metric.matrix.assign([[2.0**24, 0], [0, 0]])
    metric.update_state(tf.zeros((1, 1, 1), tf.int32), tf.zeros((1, 1, 1), tf.int32))
    assert metric.matrix[0, 0] == 2**24 + 1


def test_metric_weighs_pixels_and_images():
    labels, predictions = masks(5)
    whole, first = MeanIoU(CLASSES), MeanIoU(CLASSES)
    whole.update_state(labels, predictions, sample_weight=[1.0, 0.0, 0.0])
    first.update_state(labels[:1], predictions[:1])
    np.testing.assert_array_equal(whole.matrix, first.matrix)
    whole.reset_state()
    whole.update_state(labels, predictions, sample_weight=2 * (labels < 2))
    np.testing.assert_array_equal(whole.matrix[:2], 2 * loop_matrix(labels, predictions)[:2])
    assert np.sum(whole.matrix[2:]) == 0


@pytest.mark.parametrize("wrong", [CLASSES, 254, -1])
def test_metric_refuses_strange_labels(wrong):
    labels = np.full((1, 2, 2), wrong, np.int32)

    @tf.function
    def update(metric):
        metric.update_state(labels, tf.zeros((1, 2, 2, CLASSES)))

    with pytest.raises(tf.errors.InvalidArgumentError, match="neither a class"):
        update(MeanIoU(CLASSES))


def test_metric_knows_other_void_labels():
    metric = MeanIoU(CLASSES, ignore_label=-1)
    metric.update_state(np.array([[[-1, 2]]]), np.array([[[3, 2]]]))
    assert float(metric.result()) == 1.0
    assert np.sum(metric.matrix) == 1


@pytest.mark.parametrize(
    ("labels", "predictions", "error"),
    [
        (np.zeros((1, 2, 2), np.float32), np.zeros((1, 2, 2, CLASSES)), TypeError),
        (np.zeros((1, 2, 2), int), np.zeros((1, 2, 2)), TypeError),
        (np.zeros((1, 2, 2, 1), int), np.zeros((1, 2, 2, CLASSES)), ValueError),
        (np.zeros((1, 2, 2), int), np.zeros((1, 2, 2, CLASSES + 1)), ValueError),
        (np.zeros((1, 2, 2), int), np.zeros((1, 1, 1), int), ValueError),
    ],
)
def test_metric_refuses_other_shapes_and_types(labels, predictions, error):
    with pytest.raises(error, match="Received"):
        MeanIoU(CLASSES).update_state(labels, predictions)


def test_metric_in_a_model_and_through_its_config():
    metric = MeanIoU(CLASSES, ignore_label=7, name="quality")
    copy = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert copy.get_config() == metric.get_config()

    labels, predictions = masks(6)
    logits = np.eye(CLASSES, dtype=np.float32)[predictions]
    inputs = keras.Input((8, 10, CLASSES))
    model = keras.Model(inputs, keras.layers.Activation("linear")(inputs))
    model.compile(metrics=[MeanIoU(CLASSES)])
    history = model.evaluate(logits, labels, batch_size=2, return_dict=True, verbose=0)
    assert history["mean_iou"] == pytest.approx(mean_iou(loop_matrix(labels, predictions)), rel=1e-6)
