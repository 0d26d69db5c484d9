"""The trainer: one teacher forward and one student forward a step."""

from collections.abc import Sequence

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.distillation.adapters import adapter_for
from tfsegkd.distillation.taps import tapped
from tfsegkd.distillation.terms import LOGITS, Term, check_names
from tfsegkd.losses.segmentation import SegmentationLoss


class Distiller(keras.Model):
    """Trains a small network to do what the labels say and what a large one shows.

    A Keras model: `compile`, `fit` and its callbacks work as ever. Whatever the number of terms, a step runs
    the teacher once, in inference mode, and the student once. `evaluate`, `predict`, `summary` and `save`
    are the student's.

    Args:
        teacher: A functional Keras network, or None to train the student alone by the same steps.
        student: A functional Keras network; it is trained in place.
        terms: What to distil. None means the pixel-wise loss on the logits; an empty list none at all.
        task_weight: The factor of the task loss; 0 learns from the teacher alone.
        ignore_label: The label of void pixels, which no loss sees.

    Shapes:
        fit takes (images, masks[, sample_weight]): images (N, H, W, 3) float32 0…255; masks (N, H, W)
        integer labels; sample_weight (N,).

    Raises:
        TypeError: if the student or the teacher is not a functional Keras network.
        ValueError: for a tap that does not exist, features that no adapter can join, two terms of one name,
            or a teacher whose input size differs from the student's.

    Example:
        distiller = tfsegkd.Distiller(teacher, student, terms=[tfsegkd.Term("pixelwise(temperature=4)")])
        distiller.compile("adam")
        distiller.fit(batches, epochs=10)
        student.save("student.keras")

    Reference:
        Hinton et al., 2015, https://arxiv.org/abs/1503.02531.
    """

    def __init__(
        self,
        teacher: keras.Model | None = None,
        student: keras.Model | None = None,
        terms: Sequence[Term] | None = None,
        task_weight: float = 1.0,
        ignore_label: int = 255,
    ):
        super().__init__(name="distiller")
        _check_functional(student, "student")
        if teacher is not None:
            _check_functional(teacher, "teacher")
        if terms is None:
            terms = [Term("pixelwise")] if teacher is not None else []
        if terms and teacher is None:
            raise ValueError(f"The terms {[term.name for term in terms]} need a teacher. Pass teacher=.")
        check_names(terms)
        self.student = student
        self.terms = tuple(terms)
        self.task_weight = task_weight
        self.ignore_label = ignore_label
        self._student_taps = tapped(student, {LOGITS, *(term.taps[1] for term in terms)}, "student")
        # Hidden from Keras' tracking: the teacher is neither trained nor saved with the student's progress.
        self._untracked = _Untracked(teacher)
        if terms:
            _check_sizes(teacher, student)
            self._untracked.taps = tapped(teacher, {term.taps[0] for term in terms}, "teacher")
        # Losses and adapters own weights: lists of layers, so that Keras tracks them.
        self._losses_of_terms = [term.loss for term in terms]
        self._adapters = [
            adapter_for(
                term,
                self._shapes("teacher")[term.taps[0]],
                self._shapes("student")[term.taps[1]],
            )
            for term in terms
        ]
        self._means = {
            name: keras.metrics.Mean(name) for name in ("loss", "task_loss", *(term.name for term in terms))
        }
        self.build(student.input_shape)
        self._build_terms()

    def _build_terms(self):
        """Traces the terms once, so that their weights exist and what cannot be joined shows now."""

        def tensor(shape, dtype=tf.float32):
            return tf.TensorSpec((1, *shape[1:]), dtype)

        images = tensor(self.student.input_shape)
        tf.function(self._distill).get_concrete_function(
            {tap: tensor(shape) for tap, shape in self._shapes("teacher").items()},
            {tap: tensor(shape) for tap, shape in self._shapes("student").items()},
            tensor(images.shape[:-1], tf.int32),
            images,
        )

    def _shapes(self, role):
        taps = self._untracked.taps if role == "teacher" else self._student_taps
        return dict(taps.output_shape) if taps is not None else {}

    @property
    def teacher(self) -> keras.Model | None:
        return self._untracked.teacher

    def compile(self, optimizer="adam", loss=None, metrics=None, **options):
        """Keras' compile; without `loss`, cross-entropy with void pixels left out."""
        loss = SegmentationLoss(self.ignore_label) if loss is None else loss
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **options)

    @property
    def metrics(self):
        return [*self._means.values(), *(m for m in super().metrics if m.name not in self._means)]

    def call(self, images, training=False):
        return self.student(images, training=training)

    def train_step(self, data):
        images, masks, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        shown = self._untracked.taps(images, training=False) if self.terms else {}
        with tf.GradientTape() as tape:
            made = self._student_taps(images, training=True)
            # Each part is what it adds to the sum, so that the log shows how much it counts.
            parts = {"task_loss": self._task_loss(masks, made[LOGITS], sample_weight)}
            for term, values in zip(self.terms, self._distill(shown, made, masks, images), strict=True):
                parts[term.name] = term.weight * _weighted_mean(values, sample_weight)
            total = tf.add_n(list(parts.values()))
        self.optimizer.minimize(total, self.trainable_variables, tape=tape)
        return self._log(total, parts, masks, made[LOGITS], sample_weight)

    def _distill(self, shown, made, masks, images):
        """What each term says of each image, from the outputs of the teacher and of the student."""
        valid = tf.cast(tf.not_equal(masks, self.ignore_label), tf.float32)
        values = []
        for term, adapter in zip(self.terms, self._adapters, strict=True):
            teacher, student = shown[term.taps[0]], made[term.taps[1]]
            student = adapter(teacher, student)
            values.append(term.loss(teacher, student, labels=masks, valid=valid, images=images))
        return values

    def test_step(self, data):
        images, masks, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        logits = self.student(images, training=False)
        task_loss = self._task_loss(masks, logits, sample_weight)
        return self._log(task_loss, {"task_loss": task_loss}, masks, logits, sample_weight)

    def _task_loss(self, masks, logits, sample_weight):
        loss = self.compiled_loss(masks, logits, sample_weight, regularization_losses=self.student.losses)
        return self.task_weight * loss

    def _log(self, total, parts, masks, logits, sample_weight):
        self._means["loss"].update_state(total)
        for name, value in parts.items():
            self._means[name].update_state(value)
        self.compiled_metrics.update_state(masks, logits, sample_weight)
        shown = [self._means["loss"], *(self._means[name] for name in parts)]
        return {metric.name: metric.result() for metric in (*shown, *self.compiled_metrics.metrics)}

    def save(self, filepath, *args, **kwargs):
        """Saves the student."""
        self.student.save(filepath, *args, **kwargs)

    def summary(self, *args, **kwargs):
        """Prints the student's layers."""
        self.student.summary(*args, **kwargs)


class _Untracked:
    """What belongs to the distiller but not to its weights."""

    def __init__(self, teacher):
        self.teacher = teacher
        self.taps = None


def _check_functional(network, role):
    if not getattr(network, "_is_graph_network", False) or not isinstance(network, keras.Model):
        raise TypeError(
            f"{role} must be a functional tf_keras model. Received: {type(network).__name__}. Build it with "
            f"keras.Model(inputs, outputs)."
        )


def _check_sizes(teacher, student):
    if teacher.input_shape[1:] != student.input_shape[1:]:
        raise ValueError(
            f"The teacher takes images of {teacher.input_shape[1:]} and the student of "
            f"{student.input_shape[1:]}. Both see the same batch: rebuild one with "
            f"tfsegkd.models.at_size(model, (height, width))."
        )


def _weighted_mean(values, sample_weight):
    if sample_weight is None:
        return tf.reduce_mean(values)
    # As Keras reduces a loss with sample weights: the sum over the number of examples.
    return tf.reduce_mean(values * tf.cast(sample_weight, values.dtype))
