"""A teacher with its own input size."""

import tensorflow as tf

from tfsegkd.distillation.teachers.base import Teacher, digest, scaled_size, size_of
from tfsegkd.distillation.terms import LOGITS


class AtSize(Teacher):
    """Resizes all images for a teacher, and its logits back to the size of the images.

    So teachers of different input sizes take the same batches. Other layers keep the size in the teacher.

    Args:
        teacher: A teacher that takes images of `size`, or resizes them itself.
        size: (height, width).

    Raises:
        ValueError: for a teacher that takes images of another size.
    """

    def __init__(self, teacher: Teacher, size: tuple[int, int]):
        if teacher.size not in (None, tuple(size)):
            raise ValueError(
                f"Teacher {teacher.name!r} takes images of {teacher.size}. Received: size={tuple(size)}. "
                f"Rebuild it with tfsegkd.models.at_size(model, {tuple(size)})."
            )
        self._teacher = teacher
        self.name, self.input_size = teacher.name, tuple(size)

    def feature_extractor(self, names):
        run_teacher = self._teacher.feature_extractor(names)

        def run(images):
            size = size_of(images)
            if size == self.input_size:
                return run_teacher(images)
            # Antialiased when shrinking, as the images of a data set are.
            resized_images = tf.image.resize(tf.cast(images, tf.float32), self.input_size, antialias=True)
            outputs = dict(run_teacher(resized_images))
            if LOGITS in outputs:
                outputs[LOGITS] = tf.image.resize(outputs[LOGITS], size, antialias=True)
            return outputs

        return run

    def fingerprint(self):
        return digest("at size", self._teacher.fingerprint(), str(self.input_size))

    def scaled(self, scale):
        return AtSize(self._teacher.scaled(scale), scaled_size(self.input_size, scale))
