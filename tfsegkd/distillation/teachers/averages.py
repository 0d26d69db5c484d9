"""Averaged teachers: ensembles and test-time augmentation."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfsegkd.distillation.teachers.base import Teacher, Wrapper, digest, resized, scaled_size, size_of
from tfsegkd.distillation.teachers.class_map import Mapped
from tfsegkd.distillation.teachers.mixture import mixed, weight_table
from tfsegkd.distillation.teachers.sized import AtSize
from tfsegkd.distillation.terms import LOGITS


class Ensemble(Teacher):
    """An ensemble: the mean of the probabilities of several teachers.

    Its logits are the logarithm of that mean, so that their softmax is the mean. Each member gets images of
    its own input size. Its layers are those of its members: 'name/layer', or 'layer' where a single member
    has it. 'name/logits' are the log-probabilities of that member.

    Args:
        teachers: Teachers of the same classes in the same order; those of `Mapped` may lack some.
        weights: A weight per teacher, or one per teacher and class, (M, C); None weights all equally. See
            `mixture.mixed` for classes that a teacher does not have.
        names: The names of the members; their own names by default.
        class_names: The names of the classes, for messages and for checks.

    Attributes:
        members: The teachers by name.

    Raises:
        ValueError: for no teacher, a recorded one, different numbers of classes, weights or names that do not
            match, or a class that no teacher has.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        weights: Sequence | np.ndarray | None = None,
        names: Sequence[str | None] | None = None,
        class_names: Sequence[str] | None = None,
    ):
        teachers = list(teachers)
        if not teachers or any(teacher.recorded for teacher in teachers):
            raise ValueError(
                f"An ensemble needs teachers, none of them recorded. Received: "
                f"{[teacher.name for teacher in teachers]}. Record the ensemble itself."
            )
        given = list(names or [None] * len(teachers))
        labels = unlike([name or teacher.name for name, teacher in zip(given, teachers, strict=True)])
        self.size, self.input_size = _common_size(teachers)
        if self.size is None:
            teachers = [_sized(teacher) for teacher in teachers]
        self.members: dict[str, Teacher] = dict(zip(labels, teachers, strict=True))
        self.name = " + ".join(labels)
        self._weights, self._chosen_names, self._class_names = weights, given, class_names
        if class_names is not None:
            self.weights(len(class_names))

    @property
    def resizes(self):
        return all(teacher.resizes for teacher in self.members.values())

    def feature_extractor(self, names):
        names = list(names)
        found = {name: self._owner(name) for name in names if name != LOGITS}
        asked = {label: [LOGITS] if LOGITS in names else [] for label in self.members}
        for label, layer in found.values():
            asked[label] += [layer] if layer not in asked[label] else []
        # Only the members that are needed run.
        runs = {
            label: self.members[label].log_feature_extractor(layers)
            for label, layers in asked.items()
            if layers
        }

        def run(images):
            outputs = {label: run(images) for label, run in runs.items()}
            features = {name: outputs[label][layer] for name, (label, layer) in found.items()}
            if LOGITS not in names:
                return features
            logs = [each[LOGITS] for each in outputs.values()]
            return features | {LOGITS: mixed(logs, self._table(logs))}

        return run

    def member_logs(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Returns each member's log-probabilities, (N, H, W, C); see `Teacher.log_feature_extractor`."""
        return [teacher.log_feature_extractor([LOGITS])(images)[LOGITS] for teacher in self.members.values()]

    def _table(self, logs: Sequence[tf.Tensor]) -> np.ndarray:
        classes = [int(tensor.shape[-1]) for tensor in logs]
        if len(set(classes)) > 1:
            raise ValueError(
                f"The teachers of {self.name!r} predict {classes} classes. Expected the same classes in the "
                f"same order. Give each a class_map of its own: Member(teacher, class_map=…), or "
                f"`teacher=a.keras,b.tflite(class_map=FILE)`."
            )
        return self.weights(classes[0])

    def weights(self, num_classes: int) -> np.ndarray:
        """Returns the weight of each member for each class, (M, C).

        Raises:
            ValueError: for weights that do not match the number of classes, or a class that no member has.
        """
        covered = np.array([teacher.covered(num_classes) for teacher in self.members.values()])
        return weight_table(self._weights, covered, list(self.members), self._class_names)

    def _owner(self, name: str) -> tuple[str, str]:
        """Returns the member that has a layer, and the name of the layer in that member."""
        label, slash, layer = name.partition("/")
        if slash and label in self.members:
            return label, layer
        owners, missing = [], []
        for label, teacher in self.members.items():
            try:
                teacher.feature_extractor([name])
            except ValueError as error:
                missing.append(str(error))
            else:
                owners.append(label)
        if len(owners) == 1:
            return owners[0], name
        if owners:
            raise ValueError(
                f"Several members of teacher {self.name!r} have a layer {name!r}. Expected one of "
                f"{[f'{label}/{name}' for label in owners]}. Set it in "
                f"`terms=loss@{owners[0]}/{name}:student_layer`."
            )
        raise ValueError(
            f"Layer {name!r} not found in any member of teacher {self.name!r}. " + " ".join(missing)
        )

    def fingerprint(self):
        parts = [teacher.fingerprint() for teacher in self.members.values()]
        if self._weights is None and not any(self._chosen_names):
            return digest("ensemble", *sorted(parts))
        weights = [None] * len(parts) if self._weights is None else np.asarray(self._weights).tolist()
        return digest("mixture", *sorted(map(str, zip(parts, self._chosen_names, weights, strict=True))))

    def weighted(self, weights: Sequence | np.ndarray) -> "Ensemble":
        """Returns an ensemble of the same members with other weights."""
        return Ensemble(
            list(self.members.values()), weights, self._chosen_names, class_names=self._class_names
        )

    def scaled(self, scale):
        scaled = [teacher.scaled(scale) for teacher in self.members.values()]
        return Ensemble(scaled, self._weights, self._chosen_names, class_names=self._class_names)


def unlike(names: Sequence[str]) -> list[str]:
    """Returns the names, with numbers appended to repeated ones."""
    return [
        name if name not in names[:index] else f"{name}_{names[: index + 1].count(name)}"
        for index, name in enumerate(names)
    ]


def _sized(teacher: Teacher) -> Teacher:
    """Returns a teacher that takes images of any size."""
    if isinstance(teacher, Mapped):
        return Mapped(_sized(teacher.teacher), teacher.channels)
    return AtSize(teacher, teacher.size) if teacher.size else teacher


def _common_size(teachers):
    """Returns the `size` and the `input_size` of an ensemble."""
    fixed = {teacher.size for teacher in teachers if teacher.size}
    if any(teacher.resizes and teacher.input_size is None for teacher in teachers):
        return None, None
    wanted = fixed | {teacher.input_size for teacher in teachers if teacher.input_size}
    if len(wanted) == len(fixed) == 1:
        return fixed.pop(), None
    if not wanted or any(not (teacher.size or teacher.input_size) for teacher in teachers):
        return None, None
    # So that none of them gets images of a lower resolution than its input.
    return None, tuple(max(sides) for sides in zip(*wanted, strict=True))


class Views(Wrapper):
    """Test-time augmentation: averages a teacher over mirrored and scaled views of each image.

    Its logits are the logarithm of the mean probabilities. Other layers are those of the pass over the
    original image. Each view costs a forward pass.

    Args:
        teacher: The teacher.
        flip: Whether to add the mirror image at each scale.
        scales: The scales of the image.

    Raises:
        ValueError: for a scale that is not a positive number or is repeated, or a teacher of a fixed input
            size.
    """

    def __init__(self, teacher: Teacher, flip: bool = True, scales: Sequence[float] = (1.0,)):
        scales = tuple(map(float, scales))
        if not scales or len(set(scales)) < len(scales) or not all(0 < scale < math.inf for scale in scales):
            raise ValueError(
                f"scales of teacher {teacher.name!r} must be numbers above 0, each once, such as "
                f"(0.75, 1.0, 1.25). Received: {scales}."
            )
        super().__init__(teacher)
        self._flip, self._scales = flip, scales
        self._scaled = {scale: teacher if scale == 1 else teacher.scaled(scale) for scale in scales}

    def feature_extractor(self, names):
        names = list(names)
        if LOGITS not in names:
            return self.teacher.feature_extractor(names)
        if len(names) > 1 and 1.0 not in self._scales:
            raise ValueError(
                f"The layers {names} of teacher {self.name!r} need the pass at scale 1, and scales "
                f"{self._scales} do not contain it. Add 1.0 to scales."
            )
        # The pass over the original image computes its logits and all layers.
        runs = {
            scale: self._scaled[scale].feature_extractor(names if scale == 1 else [LOGITS])
            for scale in self._scales
        }
        mirrored = {
            scale: self._scaled[scale].feature_extractor([LOGITS]) for scale in self._scales if self._flip
        }

        def run(images):
            outputs, logits = {}, []
            for scale in self._scales:
                scaled_images = images if scale == 1 else resized(images, _size_at(images, scale))
                straight = runs[scale](scaled_images)
                if scale == 1:
                    outputs = dict(straight)
                logits.append(straight[LOGITS])
                if self._flip:
                    logits.append(tf.reverse(mirrored[scale](tf.reverse(scaled_images, [2]))[LOGITS], [2]))
            outputs[LOGITS] = log_mean([resized(each, size_of(images)) for each in logits])
            return outputs

        return run

    def fingerprint(self):
        return digest("views", self.teacher.fingerprint(), str(bool(self._flip)), str(sorted(self._scales)))

    def scaled(self, scale):
        return Views(self.teacher.scaled(scale), self._flip, self._scales)


def _size_at(images, scale):
    size = size_of(images)
    if isinstance(size, tuple):
        return scaled_size(size, scale)
    return tf.maximum(1, tf.cast(tf.round(scale * tf.cast(size, tf.float32)), tf.int32))


def log_mean(logits: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the logarithm of the mean probabilities."""
    logs = tf.stack([tf.nn.log_softmax(each) for each in logits])
    return tf.reduce_logsumexp(logs, axis=0) - math.log(len(logits))
