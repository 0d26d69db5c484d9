"""Adapters: layers that map a student's feature to the shape of the teacher's."""

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.distillation.terms import LOGITS, Term


@keras.utils.register_keras_serializable("tfsegkd")
class Adapter(keras.layers.Layer):
    """Resizes the student's feature to the teacher's size and, where needed, maps it to its channels.

    It is used in training only and is not part of the student. `Distiller` initializes the convolution by
    least squares between the two features.

    Args:
        channels: The number of the teacher's channels, computed by a trained 1×1 convolution; None keeps the
            student's.

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
        return self.resize(student, teacher)

    def initialize(self, kernel, bias):
        """Sets the weights of the 1×1 convolution, (1, 1, Cs, Ct) and (Ct,)."""
        if not self.project.built:
            self.project.build((None, None, None, kernel.shape[2]))
        self.project.set_weights([kernel, bias])

    @staticmethod
    def resize(student, teacher):
        """Resizes the student's feature to the size of the teacher's."""
        if student.shape[1:3] == teacher.shape[1:3]:
            return student
        return tf.image.resize(student, tf.shape(teacher)[1:3])

    def get_config(self):
        return {"name": self.name, "channels": self.channels}


@keras.utils.register_keras_serializable("tfsegkd")
class OwnAdapter(keras.layers.Layer):
    """Applies a layer of the user's, or none, to the student's feature.

    Args:
        layer: The layer that is applied; None leaves the feature unchanged.

    Shapes:
        teacher: (N, H, W, Ct), not used. student: (N, h, w, Cs).
        returns: The output of `layer`.
    """

    def __init__(self, layer: keras.layers.Layer | None, name: str):
        # The layer gets the feature in the student's precision and casts by its own policy.
        super().__init__(name=name, autocast=False)
        self.layer = layer

    def call(self, teacher, student, training=None):
        # Keras passes `training` on, for instance to a BatchNorm of the user's.
        return student if self.layer is None else self.layer(student)

    def get_config(self):
        layer = None if self.layer is None else keras.layers.serialize(self.layer)
        return {"name": self.name, "layer": layer}

    @classmethod
    def from_config(cls, config):
        layer = config["layer"]
        return cls(layer and keras.layers.deserialize(layer), config["name"])


def adapter_for(term: Term, teacher_shape, student_shape) -> Adapter | OwnAdapter:
    """Returns the adapter that `term` needs between features of these shapes.

    Raises:
        ValueError: for a feature that is not (N, H, W, C) with C known; for logits of different class counts;
            and, where the term has no adapter, for shapes that its loss cannot compare.
    """
    for shape, role, layer in zip(
        (teacher_shape, student_shape), ("teacher", "student"), term.layers, strict=True
    ):
        if len(shape) != 4 or shape[-1] is None:
            raise ValueError(
                f"Layer {layer!r} of the {role} has shape {tuple(shape)}. Expected (N, H, W, C) with a "
                f"known C. Choose a layer before any flattening or global pooling."
            )
    name = f"adapter_{term.name}"
    if isinstance(term.adapter, keras.layers.Layer):
        return OwnAdapter(term.adapter, name)
    if term.adapter is None:
        _check_fit(term, teacher_shape, student_shape)
        return OwnAdapter(None, name)
    # Channels of logits are the same classes in both networks. Channels of features are unrelated, even where
    # both have the same number of them.
    compares_logits = set(term.layers) == {LOGITS}
    channels = teacher_shape[-1] if term.loss.same_channels and not compares_logits else None
    if term.loss.same_channels and compares_logits and teacher_shape[-1] != student_shape[-1]:
        raise ValueError(
            f"The teacher's logits have {teacher_shape[-1]} classes, the student's {student_shape[-1]}. "
            f"Expected the same classes in the same order. Use a teacher trained on these classes, a "
            f"`class_map`, or terms between features, loss@teacher_layer:student_layer."
        )
    return Adapter(channels, name)


def _check_fit(term, teacher_shape, student_shape):
    compared = slice(1, 4 if term.loss.same_channels else 3)
    pairs = zip(teacher_shape[compared], student_shape[compared], strict=True)
    if any(None not in pair and pair[0] != pair[1] for pair in pairs):
        raise ValueError(
            f"Term {term.name!r} has no adapter, and its loss cannot compare the teacher's "
            f"{tuple(teacher_shape)} with the student's {tuple(student_shape)}. Choose layers of the same "
            f"shape, or adapter='auto'."
        )
