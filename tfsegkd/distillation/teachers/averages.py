"""Several looks averaged into one: a stronger teacher for the price of its passes."""

import math
from collections.abc import Sequence

import tensorflow as tf

from tfsegkd.distillation.teachers.base import Teacher, digest, resized, scaled_size, size_of
from tfsegkd.distillation.terms import LOGITS


class Ensemble(Teacher):
    """Several teachers as one that shows their mean.

    What is averaged is their probabilities. The logits are the logarithm of that mean, so that their softmax
    is the mean itself; their sum of exponentials is 1. It has no other tap.

    Args:
        teachers: Of the same classes in the same order.

    Raises:
        ValueError: for no teacher, one that is recorded, or teachers that take images of different sizes.
    """

    def __init__(self, teachers: Sequence[Teacher]):
        self._teachers = tuple(teachers)
        names = [teacher.name for teacher in self._teachers]
        self.name = " + ".join(names)
        sizes = {teacher.size for teacher in self._teachers if teacher.size is not None}
        if not self._teachers or len(sizes) > 1:
            raise ValueError(
                f"An ensemble needs teachers that see the same images. Received: {names}, which take images "
                f"of {sorted(sizes)}. Rebuild them with tfsegkd.models.at_size(model, (height, width))."
            )
        self.size = next(iter(sizes), None)

    def taps(self, names):
        other = [tap for tap in names if tap != LOGITS]
        if other:
            raise ValueError(
                f"Tap {other[0]!r} not found in teacher {self.name!r}. The features of several teachers have "
                f"no mean: an ensemble shows ['logits'] only. Distil features from one of them."
            )
        members = [teacher.taps([LOGITS]) for teacher in self._teachers]
        return lambda images: {LOGITS: self._mean([run(images)[LOGITS] for run in members])}

    def _mean(self, logits):
        classes = [int(tensor.shape[-1]) for tensor in logits]
        if len(set(classes)) > 1:
            raise ValueError(
                f"The teachers of {self.name!r} give {classes} classes. Expected the same classes in the "
                f"same order. Give each a class_map first: load_teacher([load_teacher(a, class_map=…), b])."
            )
        return log_mean(logits)

    def fingerprint(self):
        return digest("ensemble", *sorted(teacher.fingerprint() for teacher in self._teachers))

    def scaled(self, scale):
        return Ensemble([teacher.scaled(scale) for teacher in self._teachers])


class Views(Teacher):
    """A teacher that looks at each image several times: mirrored, smaller, larger.

    Its logits are the logarithm of the mean probabilities, as an ensemble's. Other taps show the pass over
    the image as it is. Each view costs a pass.

    Args:
        teacher: The one that looks.
        flip: Whether to look at the mirrored image too, at each scale.
        scales: The sizes to look at, in shares of the image's.

    Raises:
        ValueError: for a scale that is not a positive number or comes twice, or a teacher that cannot be
            scaled.
    """

    def __init__(self, teacher: Teacher, flip: bool = True, scales: Sequence[float] = (1.0,)):
        scales = tuple(map(float, scales))
        if not scales or len(set(scales)) < len(scales) or not all(0 < scale < math.inf for scale in scales):
            raise ValueError(
                f"scales must be numbers above 0, each once, such as (0.75, 1.0, 1.25). Received: {scales}."
            )
        self._teacher, self._flip, self._scales = teacher, flip, scales
        self._scaled = {scale: teacher if scale == 1 else teacher.scaled(scale) for scale in scales}
        self.name, self.size, self.input_size = teacher.name, teacher.size, teacher.input_size

    def taps(self, names):
        names = list(names)
        if LOGITS not in names:
            return self._teacher.taps(names)
        if len(names) > 1 and 1.0 not in self._scales:
            raise ValueError(
                f"The taps {names} of teacher {self.name!r} show the image as it is, and scales "
                f"{self._scales} leave that out. Add 1.0 to scales."
            )
        # The image as it is shows everything in the pass that gives its logits.
        runs = {scale: self._scaled[scale].taps(names if scale == 1 else [LOGITS]) for scale in self._scales}
        mirrored = {scale: self._scaled[scale].taps([LOGITS]) for scale in self._scales if self._flip}

        def run(images):
            shown, logits = {}, []
            for scale in self._scales:
                seen = images if scale == 1 else resized(images, _size_at(images, scale))
                straight = runs[scale](seen)
                if scale == 1:
                    shown = dict(straight)
                logits.append(straight[LOGITS])
                if self._flip:
                    logits.append(tf.reverse(mirrored[scale](tf.reverse(seen, [2]))[LOGITS], [2]))
            shown[LOGITS] = log_mean([resized(each, size_of(images)) for each in logits])
            return shown

        return run

    def fingerprint(self):
        return digest("views", self._teacher.fingerprint(), str(bool(self._flip)), str(sorted(self._scales)))

    def scaled(self, scale):
        return Views(self._teacher.scaled(scale), self._flip, self._scales)


def _size_at(images, scale):
    size = size_of(images)
    if isinstance(size, tuple):
        return scaled_size(size, scale)
    return tf.maximum(1, tf.cast(tf.round(scale * tf.cast(size, tf.float32)), tf.int32))


def log_mean(logits: Sequence[tf.Tensor]) -> tf.Tensor:
    """The logarithm of the mean of the probabilities."""
    logs = tf.stack([tf.nn.log_softmax(each) for each in logits])
    return tf.reduce_logsumexp(logs, axis=0) - math.log(len(logits))
