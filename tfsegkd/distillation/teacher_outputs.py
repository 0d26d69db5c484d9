"""What the teacher shows of a batch."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.distillation.batches import Batch
from tfsegkd.distillation.teachers import load_teacher
from tfsegkd.distillation.terms import Term


class TeacherOutputs:
    """The teacher's side of the terms: one forward pass a batch, or what comes with the batch.

    A plain object, so that Keras neither trains the teacher nor saves it with the student's progress.

    Args:
        teacher: Anything that `load_teacher` takes, or None.
        student: The network that sees the same images.
        terms: What is distilled; without terms the teacher is not run.

    Attributes:
        teacher: What was passed.
        shapes: (None, H, W, C) of each layer that the terms need.

    Raises:
        ValueError: for terms without a teacher, a layer that the teacher does not have, or a teacher that takes
            images of another size than the student.
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
        """What each layer shows.

        Raises:
            ValueError: if a batch carries recorded outputs and the teacher is not recorded, or the reverse.
        """
        if not self.shapes:
            return {}
        if self._extractor is None:
            return self._recorded(batch.recorded)
        if batch.recorded is not None:
            raise ValueError(
                "A batch carries what a recorded teacher shows, but this teacher is asked itself. Pass "
                "the recorded teacher (a TeacherCache) as teacher=, or batches of (images, masks)."
            )
        return self._extractor(batch.images)

    def _recorded(self, recorded):
        missing = sorted({*self.shapes} - {*(recorded or {})})
        if missing:
            raise ValueError(
                f"The teacher is recorded, but the batch does not carry its {missing}. Expected ({{'images': "
                f"images, 'teacher': {{layer: tensor}}}}, masks). Received "
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
            f"see the same batch: rebuild one with tfsegkd.models.at_size(model, (height, width))."
        )
