"""Mean IoU and other metrics of a confusion matrix: rows are labels, columns predictions."""

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.layers.binary import two_logits


@keras.utils.register_keras_serializable("tfsegkd")
class MeanIoU(keras.metrics.Metric):
    """Computes the mean intersection over union.

    Counts accumulate in `matrix`, in float64, because float32 stops counting at 2²⁴. Classes that occur
    neither in labels nor in predictions are left out of the mean; without any class it is NaN.

    Args:
        num_classes: Number of classes, at least 2.
        ignore_label: The label of void pixels, which are ignored.

    Shapes:
        labels: (N, H, W), integer.
        predictions: (N, h, w, C) logits, resized bilinearly to (H, W) where the size differs, or (N, H, W)
            integer classes. One channel is the logit of label 1 against label 0.
        sample_weight: (N,) or (N, H, W), or None for 1 everywhere.

    Raises:
        ValueError: for fewer than two classes, or shapes other than those above.
        TypeError: if labels or classes are not integers.
        tf.errors.InvalidArgumentError: for a label that is neither a class nor `ignore_label`.

    Example:
        metric = metrics.MeanIoU(num_classes=2)
        metric.update_state(tf.constant([[[0, 1]]]), tf.constant([[[[2.0, 0.0], [0.0, 2.0]]]]))
        float(metric.result())  # 1.0
    """

    def __init__(self, num_classes: int, ignore_label: int = 255, name: str = "mean_iou", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.num_classes = _at_least_two(num_classes)
        self.ignore_label = ignore_label
        self.matrix = self.add_weight(
            "matrix", shape=(num_classes, num_classes), initializer="zeros", dtype=tf.float64
        )

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels = tf.convert_to_tensor(y_true)
        _check_integer(labels.dtype.is_integer, "labels", labels.dtype.name)
        if labels.shape.rank != 3:
            raise ValueError(f"Labels must have shape (N, H, W). Received: {labels.shape}.")
        labels = tf.cast(labels, tf.int64)
        classes = self._classes(tf.convert_to_tensor(y_pred), labels)

        valid = labels != self.ignore_label
        known = ~valid | ((labels >= 0) & (labels < self.num_classes))
        message = f"A label is neither a class (0 to {self.num_classes - 1}) nor void ({self.ignore_label})."
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(known), [message], name="labels")]):
            # A segment sum ignores negative indices, which are used for void.
            cells = tf.where(valid, labels * self.num_classes + classes, -1)
        weights = tf.ones_like(cells, tf.float64)
        if sample_weight is not None:
            sample_weight = tf.cast(sample_weight, tf.float64)
            per_pixel = sample_weight.shape.rank == 3
            weights *= sample_weight if per_pixel else tf.reshape(sample_weight, [-1, 1, 1])
        counts = tf.math.unsorted_segment_sum(
            tf.reshape(weights, [-1]), tf.reshape(cells, [-1]), self.num_classes**2
        )
        self.matrix.assign_add(tf.reshape(counts, self.matrix.shape))

    def _classes(self, predictions: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Returns the predicted class of each labelled pixel."""
        if predictions.shape.rank == 3:
            _check_integer(predictions.dtype.is_integer, "predicted classes", predictions.dtype.name)
            if not predictions.shape.is_compatible_with(labels.shape):
                raise ValueError(
                    f"Predicted classes must have the shape of the labels, {labels.shape}. Received: "
                    f"{predictions.shape}. Pass logits (N, h, w, C), which are resized."
                )
            return tf.cast(predictions, tf.int64)
        if predictions.shape.rank == 4 and predictions.shape[-1] == 1 and self.num_classes == 2:
            predictions = two_logits(predictions)
        if predictions.shape.rank != 4 or predictions.shape[-1] != self.num_classes:
            raise ValueError(
                f"Predictions must be logits of shape (N, h, w, {self.num_classes}) or classes of shape "
                f"(N, H, W). Received: {predictions.shape}."
            )
        if predictions.shape[1:3] != labels.shape[1:3] or None in predictions.shape[1:3]:
            predictions = tf.image.resize(tf.cast(predictions, tf.float32), tf.shape(labels)[1:3])
        return tf.argmax(predictions, axis=-1)

    def result(self):
        hits = tf.linalg.diag_part(self.matrix)
        union = tf.reduce_sum(self.matrix, 0) + tf.reduce_sum(self.matrix, 1) - hits
        present = union > 0
        # NaN, not 0, before any pixel.
        return tf.reduce_mean(tf.boolean_mask(hits, present) / tf.boolean_mask(union, present))

    def reset_state(self):
        # The base class assigns the number 0 to every variable, whatever its shape.
        self.matrix.assign(tf.zeros_like(self.matrix))

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "ignore_label": self.ignore_label,
        }


def confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int, ignore_label: int = 255
) -> np.ndarray:
    """Returns the confusion matrix of labels and predictions.

    Matrices of several images can be added.

    Args:
        labels: Integer labels of any shape.
        predictions: Integer labels of the same shape.
        num_classes: How many classes there are.
        ignore_label: The label of void, which is not counted.

    Returns:
        Counts, a row for each label and a column for each prediction.

    Shapes:
        labels, predictions: Integers of the same shape.
        returns: (num_classes, num_classes), int64, [label, prediction].

    Raises:
        ValueError: if the shapes differ, or for a label or a prediction that is not a class. Pixels
            with `ignore_label` are ignored.
        TypeError: if either is not integer.

    Example:
        labels, predictions = np.array([0, 0, 1]), np.array([0, 1, 1])
        metrics.confusion_matrix(labels, predictions, num_classes=2).tolist()  # [[1, 1], [0, 1]]
    """
    _at_least_two(num_classes)
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    for what, values in ("labels", labels), ("predictions", predictions):
        _check_integer(np.issubdtype(values.dtype, np.integer), what, values.dtype.name)
    if labels.shape != predictions.shape:
        raise ValueError(
            f"Labels and predictions must have one shape. Received: {labels.shape} and {predictions.shape}. "
            "Bring the logits to the labels' size before taking their argmax."
        )
    valid = labels != ignore_label
    # int64 first: the labels' own type, often uint8, could not hold label · num_classes.
    labels, predictions = labels[valid].astype(np.int64), predictions[valid].astype(np.int64)
    for what, values in ("Label", labels), ("Prediction", predictions):
        strange = values[(values < 0) | (values >= num_classes)]
        if strange.size:
            raise ValueError(
                f"{what} {strange[0]} in {strange.size} pixels. Expected 0 to {num_classes - 1}, or "
                f"{ignore_label} in a label for void. Set num_classes and ignore_label to match the masks."
            )
    counts = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def iou(matrix: np.ndarray) -> np.ndarray:
    """Returns the IoU of each class; NaN for classes that were neither labelled nor predicted.

    Args:
        matrix: A confusion matrix.

    Returns:
        A value for each class.

    Shapes:
        matrix: (C, C). returns: (C,), float64.

    Example:
        metrics.iou(np.array([[1, 1], [0, 1]])).tolist()  # [0.5, 0.5]
    """
    matrix = np.asarray(matrix, np.float64)
    hits = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - hits
    return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)


def mean_iou(matrix: np.ndarray) -> float:
    """Returns the mean of `iou` over the classes that were labelled or predicted; NaN without any.

    Args:
        matrix: A confusion matrix.

    Returns:
        From 0 to 1.

    Example:
        metrics.mean_iou(np.array([[1, 1], [0, 1]]))  # 0.5
    """
    values = iou(matrix)
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def pixel_accuracy(matrix: np.ndarray) -> float:
    """Returns the share of correctly predicted pixels; NaN without any pixel.

    Args:
        matrix: A confusion matrix.

    Returns:
        From 0 to 1.

    Example:
        metrics.pixel_accuracy(np.array([[2, 1], [0, 1]]))  # 0.75
    """
    matrix = np.asarray(matrix, np.float64)
    total = matrix.sum()
    return float(np.trace(matrix) / total) if total else float("nan")


def _at_least_two(num_classes: int) -> int:
    if isinstance(num_classes, bool) or not isinstance(num_classes, int | np.integer) or num_classes < 2:
        raise ValueError(f"num_classes must be an integer from 2 on. Received: {num_classes!r}.")
    return int(num_classes)


def _check_integer(is_integer: bool, what: str, dtype: str) -> None:
    if not is_integer:
        raise TypeError(
            f"Expected integer {what}. Received: {dtype}. Cast them, or pass the class of each pixel."
        )
