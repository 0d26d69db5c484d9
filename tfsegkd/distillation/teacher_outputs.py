"""The teacher's outputs for a batch."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.distillation.batches import Batch
from tfsegkd.distillation.teachers import load_teacher
from tfsegkd.distillation.terms import Term


class TeacherOutputs:
    """Computes the teacher's outputs for the terms: one forward pass per batch, or recorded outputs.

    A plain object, so that Keras neither trains the teacher nor saves it in checkpoints of the student.

    Args:
        teacher: Anything that `load_teacher` takes, or None.
        student: The network that gets the same images.
        terms: The terms of the loss; without terms the teacher is not run.

    Attributes:
        teacher: The argument, unchanged.
        shapes: (None, H, W, C) of each layer that the terms need.

    Raises:
        ValueError: for terms without a teacher, a layer that the teacher does not have, or a teacher whose
            input size differs from the student's.
    """

    def __init__(self, teacher, student: keras.Model, terms: Sequence[Term]):
        self.teacher = teacher
        self.shapes = {}
        self._extractor = None
        source = None if teacher is None else load_teacher(teacher)
        if not terms:
            return
        if source is None:
            raise ValueError(f"The terms {[term.name for term in terms]} need a teacher. Pass teacher=.")
        _check_sizes(source, student)
        layers = sorted({term.layers[0] for term in terms})
        shapes = source.shapes(layers, tuple(student.input_shape[1:]))
        self.shapes = {layer: (None, *shapes[layer]) for layer in layers}
        if not source.recorded:
            self._extractor = source.feature_extractor(layers)

    def of(self, batch: Batch) -> Mapping[str, tf.Tensor]:
        """Returns the output of each layer that the terms compare.

        Raises:
            ValueError: if a batch contains recorded outputs and the teacher is not recorded, or the reverse.
        """
        if not self.shapes:
            return {}
        if self._extractor is None:
            return self._recorded(batch.recorded)
        if batch.recorded is not None:
            raise ValueError(
                "The batch contains recorded teacher outputs, but the teacher is a network. Pass the "
                "recorded teacher (a TeacherCache) as teacher=, or batches of (images, masks)."
            )
        return self._extractor(batch.images)

    def _recorded(self, recorded):
        missing = sorted({*self.shapes} - {*(recorded or {})})
        if missing:
            raise ValueError(
                f"The teacher is recorded, but the batch does not contain its outputs {missing}. Expected "
                f"({{'images': images, 'teacher': {{layer: tensor}}}}, masks). Received "
                f"{sorted(recorded) if recorded is not None else 'images alone'}. Take the batches from the "
                f"cache that is the teacher."
            )
        return {layer: tf.ensure_shape(recorded[layer], shape) for layer, shape in self.shapes.items()}


def _check_sizes(source, student):
    size = tuple(student.input_shape[1:3])
    fixed = source.size or (None, None)
    if any(expected not in (None, actual) for expected, actual in zip(fixed, size, strict=True)):
        raise ValueError(
            f"Teacher {source.name!r} takes images of {(*fixed, 3)} and the student of {(*size, 3)}. Both "
            f"get the same batch: rebuild one with tfsegkd.models.at_size(model, (height, width))."
        )
