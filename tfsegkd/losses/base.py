"""The base class of distillation losses."""

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.layers.binary import two_logits
from tfsegkd.losses.functional import labels_at, valid_at
from tfsegkd.registry import Registry

registry = Registry("loss")


def build_part(layer: keras.layers.Layer, input_shape) -> None:
    """Builds a layer inside another, with unique weight names for .h5."""
    with tf.name_scope(layer.name):
        layer.build(input_shape)


class DistillationLoss(keras.layers.Layer):
    """A loss between the outputs of teacher and student for the same images.

    A loss is a layer, so that its weights (projections, queues, a critic) are tracked, trained and saved. It
    computes in float32, whatever the policy of the networks, and has no gradient to the teacher. Subclasses
    implement `compare`, which gets prepared tensors: float32, checked, void positions set to zero, labels and
    validity at the features' size.

    The student's optimizer also trains the `trainable_variables` of the loss.

    Attributes:
        needs_labels: Whether the loss needs labels.
        needs_images: Whether the loss needs the images.
        same_channels: Whether teacher and student must have the same number of channels; otherwise an adapter
            is needed.
        of_probabilities: Whether the loss compares class probabilities. Then a single channel is a class
            against its background, and becomes the logits of two classes.
        jit_compilable: Whether XLA can compile the loss.
        keeps_void_out: Whether `compare` itself masks void positions, also infinite values, in value and
            gradient. Then they are not set to zero before, which for logits costs as much as a loss.

    Shapes:
        teacher, student: (N, H, W, C), logits or features.
        labels: (N, Y, X) integer, of any size; resized to that of the features.
        valid: (N, Y, X), 1 for valid pixels and 0 for void ones; None means all are valid.
        images: (N, Y, X, 3), for losses that use the image.
        returns: (N,), float32, a mean over valid pixels; 0 for an image without any.

    Raises:
        ValueError: when called or traced, for shapes that do not match or a missing input.

    Example:
        class MeanDifference(losses.DistillationLoss):
            def compare(self, teacher, student, valid, labels, images):
                return tf.reduce_mean(tf.abs(teacher - student), axis=(1, 2, 3))

        MeanDifference()(tf.ones((2, 8, 8, 3)), tf.zeros((2, 8, 8, 3))).numpy().tolist()  # [1.0, 1.0]
    """

    needs_labels = False
    needs_images = False
    same_channels = True
    of_probabilities = False
    jit_compilable = True
    keeps_void_out = False

    def __init__(self, name: str | None = None):
        super().__init__(name=name, dtype="float32")

    def call(self, teacher, student, labels=None, valid=None, images=None):
        return self.compare(*self.prepare(teacher, student, labels, valid, images))

    def prepare(self, teacher, student, labels=None, valid=None, images=None) -> tuple:
        """Checks and prepares the arguments of a call for `compare`."""
        teacher, student = self._sides(teacher, student)
        if self.needs_labels:
            self._demand(labels, "labels", 3, "Pass the masks, or leave this loss out.")
            labels = labels_at(labels, student, valid)
        if self.needs_images:
            self._demand(images, "images", 4, "Pass the images.")
            images = tf.cast(images, tf.float32)
        if valid is not None:
            self._demand(valid, "valid", 3, "Pass 1 for valid pixels and 0 for void ones.")
            valid = valid_at(valid, student)
            if not self.keeps_void_out:
                # Set to zero first, and by `where`: 0 · inf is NaN, also in the gradient.
                teacher, student = (tf.where(valid[..., None] > 0, side, 0.0) for side in (teacher, student))
        else:
            valid = tf.ones(tf.shape(student)[:3])
        return teacher, student, valid, labels, images

    def compare(self, teacher, student, valid, labels, images):
        """Computes the loss from prepared tensors; `labels` is None unless `needs_labels`, and −1 at void.

        Shapes:
            teacher, student: (N, H, W, C). valid: (N, H, W), float32 0/1. labels: (N, H, W), int32.
            images: (N, Y, X, 3), float32, or None.
            returns: (N,).
        """
        raise NotImplementedError

    def target(self, teacher, valid):
        """Returns the target of the student's feature, which initializes an adapter.

        Shapes:
            teacher: (N, H, W, C). valid: (N, H, W), float32 0/1. returns: (N, H, W, C).
        """
        return teacher

    def _sides(self, teacher, student):
        teacher = tf.stop_gradient(tf.cast(teacher, tf.float32))
        student = tf.cast(student, tf.float32)
        for side, what in ((teacher, "teacher"), (student, "student")):
            if side.shape.rank != 4 or side.shape[-1] is None:
                raise ValueError(
                    f"Loss '{self.name}' expects (N, H, W, C) from the {what}, C known. "
                    f"Received: {side.shape}. Choose a layer before any flattening or global pooling."
                )
        if self.of_probabilities:
            teacher, student = (
                two_logits(side) if side.shape[-1] == 1 else side for side in (teacher, student)
            )
        known = slice(0, 4 if self.same_channels else 3)
        if not teacher.shape[known].is_compatible_with(student.shape[known]):
            size = "size and number of channels" if self.same_channels else "size"
            raise ValueError(
                f"Loss '{self.name}' expects the same {size} from teacher and student. Received: teacher "
                f"{teacher.shape}, student {student.shape}. Bring the student to the teacher's shape first, "
                "as the adapter of a term does."
            )
        return teacher, student

    def _demand(self, value, what, rank, fix):
        if value is None:
            raise ValueError(f"Loss '{self.name}' needs `{what}`. Received: None. {fix}")
        shape = tf.convert_to_tensor(value).shape
        if shape.rank != rank:
            form = "(N, height, width)" if rank == 3 else "(N, height, width, 3)"
            raise ValueError(f"Loss '{self.name}' expects `{what}` {form}. Received: {shape}. {fix}")

    def get_config(self):
        # The dtype is always float32.
        config = super().get_config()
        return {"name": config["name"]}
