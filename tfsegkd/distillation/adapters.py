"""Joining features of different shapes."""

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.distillation.terms import LOGITS, Term


@keras.utils.register_keras_serializable("tfsegkd")
class Adapter(keras.layers.Layer):
    """Brings the student's feature to the teacher's size, and to its channels where the loss compares them.

    It belongs to the training and is dropped from the student. `Distiller` starts the convolution at the
    least-squares map between the two features.

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
        return self.resize(student, teacher)

    def start(self, kernel, bias):
        """Gives the 1×1 convolution these weights, (1, 1, Cs, Ct) and (Ct,)."""
        if not self.project.built:
            self.project.build((None, None, None, kernel.shape[2]))
        self.project.set_weights([kernel, bias])

    @staticmethod
    def resize(student, teacher):
        """Brings the student's feature to the size of the teacher's."""
        if student.shape[1:3] == teacher.shape[1:3]:
            return student
        return tf.image.resize(student, tf.shape(teacher)[1:3])

    def get_config(self):
        return {"name": self.name, "channels": self.channels}


@keras.utils.register_keras_serializable("tfsegkd")
class OwnAdapter(keras.layers.Layer):
    """Puts a layer of the user's, or nothing, between the student's feature and the loss.

    Args:
        layer: What the student's feature goes through; None leaves it as it is.

    Shapes:
        teacher: (N, H, W, Ct), not looked at. student: (N, h, w, Cs).
        returns: What `layer` makes of the student's feature.
    """

    def __init__(self, layer: keras.layers.Layer | None, name: str):
        # The layer sees the feature in the student's precision, and casts as it is used to.
        super().__init__(name=name, autocast=False)
        self.layer = layer

    def call(self, teacher, student, training=None):
        # Keras hands `training` on, to a BatchNorm of the user's for one.
        return student if self.layer is None else self.layer(student)

    def get_config(self):
        layer = None if self.layer is None else keras.layers.serialize(self.layer)
        return {"name": self.name, "layer": layer}

    @classmethod
    def from_config(cls, config):
        layer = config["layer"]
        return cls(layer and keras.layers.deserialize(layer), config["name"])


def adapter_for(term: Term, teacher_shape, student_shape) -> Adapter | OwnAdapter:
    """The adapter that `term` needs between features of these shapes.

    Raises:
        ValueError: for a feature that is not (N, H, W, C) with C known; for logits of different class counts;
            and, where the term has no adapter, for shapes that its loss cannot compare.
    """
    for shape, role, layer in zip(
        (teacher_shape, student_shape), ("teacher", "student"), term.layers, strict=True
    ):
        if len(shape) != 4 or shape[-1] is None:
            raise ValueError(
                f"Layer {layer!r} of the {role} has shape {tuple(shape)}. Expected (N, H, W, C), C known. Choose "
                f"a layer in front of any flattening or global pooling."
            )
    name = f"adapter_{term.name}"
    if isinstance(term.adapter, keras.layers.Layer):
        return OwnAdapter(term.adapter, name)
    if term.adapter is None:
        _check_fit(term, teacher_shape, student_shape)
        return OwnAdapter(None, name)
    # Channels of logits are the same classes on both sides; those of features have nothing to do with each
    # other, however many there are.
    compares_logits = set(term.layers) == {LOGITS}
    channels = teacher_shape[-1] if term.loss.same_channels and not compares_logits else None
    if term.loss.same_channels and compares_logits and teacher_shape[-1] != student_shape[-1]:
        raise ValueError(
            f"The teacher's logits have {teacher_shape[-1]} classes, the student's {student_shape[-1]}. "
            f"Expected the same classes in the same order. Use a teacher trained on these classes, or "
            f"distil features with a term at layers, `terms=loss@teacher_layer:student_layer`."
        )
    return Adapter(channels, name)


def _check_fit(term, teacher_shape, student_shape):
    compared = slice(1, 4 if term.loss.same_channels else 3)
    pairs = zip(teacher_shape[compared], student_shape[compared], strict=True)
    if any(None not in pair and pair[0] != pair[1] for pair in pairs):
        raise ValueError(
            f"Term {term.name!r} has no adapter, and its loss cannot compare the teacher's "
            f"{tuple(teacher_shape)} with the student's {tuple(student_shape)}. Choose layers of one shape, or "
            f"adapter='auto'."
        )
