"""Joining features of different shapes."""

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.distillation.terms import Term


@keras.utils.register_keras_serializable("tfsegkd")
class Adapter(keras.layers.Layer):
    """Brings the student's feature to the teacher's size, and to its channels where the loss compares them.

    It belongs to the training and is dropped from the student.

    Args:
        channels: The teacher's channels, reached by a trained 1×1 convolution; None keeps the student's.

    Shapes:
        teacher: (N, H, W, Ct). student: (N, h, w, Cs).
        returns: (N, H, W, channels or Cs).

    Reference:
        Romero et al., FitNets, 2014, https://arxiv.org/abs/1412.6550: the regressor of eq. 3, here 1×1.
    """

    def __init__(self, channels: int | None, name: str):
        super().__init__(name=name, dtype="float32")
        self.channels = channels
        self.project = keras.layers.Conv2D(channels, 1, name="project", dtype="float32") if channels else None

    def call(self, teacher, student):
        # Projecting before resizing costs the student's positions, not the teacher's.
        if self.project is not None:
            student = self.project(student)
        if student.shape[1:3] != teacher.shape[1:3]:
            student = tf.image.resize(student, tf.shape(teacher)[1:3])
        return student

    def get_config(self):
        return {"name": self.name, "channels": self.channels}


def adapter_for(term: Term, teacher_shape, student_shape) -> Adapter:
    """The adapter that `term` needs between features of these shapes.

    Raises:
        ValueError: if logits of different class counts would have to be joined.
    """
    channels = None
    if term.loss.same_channels and teacher_shape[-1] != student_shape[-1]:
        if term.at is None:
            raise ValueError(
                f"The teacher's logits have {teacher_shape[-1]} classes, the student's {student_shape[-1]}. "
                f"Expected the same classes in the same order. Use a teacher trained on these classes, or "
                f"distil features with --distill=loss@teacher_tap:student_tap."
            )
        channels = teacher_shape[-1]
    return Adapter(channels, name=f"adapter_{term.name}")
