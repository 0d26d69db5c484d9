"""The interface of teachers."""

import hashlib
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from tfsegkd import models
from tfsegkd.data import Source
from tfsegkd.deprecation import renamed

Shapes = dict[str, tuple[int, int, int]]
FeatureExtractor = Callable[[tf.Tensor], dict[str, tf.Tensor]]


class Teacher:
    """The base class of teachers, whatever framework they run in.

    Attributes:
        name: The name in messages.
        size: (height, width) of the images that it takes; None for any.
        input_size: The size to which it resizes all images itself; None if it does not.
        resizes: Whether it resizes all images itself, to one size or, as sliding windows do, to several.
        recorded: Whether its outputs were computed before and are part of the batches.

    Example:
        isinstance(distillation.load_teacher(teacher), distillation.Teacher)  # True
    """

    name: str = "teacher"
    size: tuple[int, int] | None = None
    input_size: tuple[int, int] | None = None
    recorded: bool = False

    @property
    def resizes(self) -> bool:
        return self.input_size is not None

    def size_for(self, source: Source, size: tuple[int, int]) -> tuple[int, int]:
        """Returns (height, width) of the images to give it.

        A teacher that resizes images itself gets them at their own size: shrunk to the student's, they have
        lost what it would see.

        Args:
            source: The images; their own size is that of the first.
            size: The size for a teacher that takes any.
        """
        own = self.size or self.input_size
        if own is None and self.resizes:
            own = np.shape(source[0][0])[:2]
        return tuple(own or size)

    def feature_extractor(self, names: Iterable[str]) -> FeatureExtractor:
        """Returns a function from images (N, H, W, 3), 0…255, to the outputs of layers, by one forward pass.

        It runs in inference mode. 'logits' is the output of the teacher, float32 and at the size of the
        images.

        Raises:
            ValueError: for a layer that it does not have; the message lists the choices.
        """
        raise NotImplementedError

    taps = renamed(feature_extractor)

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        # A subclass from before the renaming implements `taps`.
        if "feature_extractor" not in vars(cls):
            cls.feature_extractor = vars(cls).get("taps", cls.feature_extractor)  # before the renaming

    def log_feature_extractor(self, names: Iterable[str]) -> FeatureExtractor:
        """Like `feature_extractor`, with log-probabilities in place of the logits.

        The probabilities sum to less than 1 where the teacher predicts a class that the student lacks.
        """
        run = self.feature_extractor(names)

        def run_to_logarithms(images):
            outputs = dict(run(images))
            if "logits" in outputs:
                outputs["logits"] = tf.nn.log_softmax(outputs["logits"])
            return outputs

        return run_to_logarithms

    def covered(self, num_classes: int) -> list[bool]:
        """Returns, for each of the student's classes, whether the teacher has it."""
        return [True] * num_classes

    def shapes(self, names: Iterable[str], image_shape: tuple[int, int, int]) -> Shapes:
        """Returns the output shape (H, W, C) of each layer for an image of `image_shape`."""
        images = tf.TensorSpec((1, *image_shape), tf.float32)
        outputs = tf.function(self.feature_extractor(names)).get_concrete_function(images).structured_outputs
        return {layer: tuple(tensor.shape[1:]) for layer, tensor in outputs.items()}

    def fingerprint(self) -> str:
        """Returns a hash of what the teacher computes, equal for equal weights in every process.

        Raises:
            ValueError: if the teacher has neither weights nor a name.
        """
        raise NotImplementedError

    def scaled(self, scale: float) -> "Teacher":
        """Returns this teacher, with the same weights, for images `scale` times as large.

        Raises:
            ValueError: if it resizes all images to one size.
        """
        if self.input_size is not None:
            raise ValueError(
                f"Teacher {self.name!r} resizes every image to {self.input_size}, so other scales change "
                f"nothing. Leave out scales, or pass windows=True."
            )
        return self


class Wrapper(Teacher):
    """A teacher that changes what another one gets or gives, for images of the same size.

    Args:
        teacher: The other teacher.
    """

    def __init__(self, teacher: Teacher):
        self.teacher = teacher
        self.name, self.size, self.input_size = teacher.name, teacher.size, teacher.input_size

    @property
    def resizes(self):
        return self.teacher.resizes

    def covered(self, num_classes):
        return self.teacher.covered(num_classes)


def digest(*parts: str | bytes) -> str:
    """Returns a hash of a sequence; different sequences have different hashes."""
    hashed = hashlib.sha256()
    for part in parts:
        part = part.encode() if isinstance(part, str) else part
        hashed.update(len(part).to_bytes(8, "little"))
        hashed.update(part)
    return hashed.hexdigest()


def resized(images: tf.Tensor, size: tuple[int, int] | tf.Tensor | None) -> tf.Tensor:
    """Resizes `images` bilinearly to `size`; None returns them unchanged."""
    if size is None or (isinstance(size, tuple) and tuple(images.shape[1:3]) == size):
        return images
    return tf.image.resize(images, size)


def size_of(images: tf.Tensor) -> tuple[int, int] | tf.Tensor:
    """Returns (H, W), as Python numbers where the static shape has them."""
    size = tuple(images.shape[1:3])
    return tf.shape(images)[1:3] if None in size else size


def fixed(size) -> tuple[int, int] | None:
    """Returns `size`, or None where height or width is unknown."""
    size = tuple(size)
    return None if None in size else size


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Returns the size of images `scale` times as large, in whole pixels."""
    height, width = (max(1, round(scale * side)) for side in size)
    return height, width


def checked_logits(
    logits: tf.Tensor, images: tf.Tensor, name: str, head: str = models.heads.LOGITS
) -> tf.Tensor:
    """Returns a teacher's output as logits of two or more classes, float32 and at the size of the images.

    Args:
        head: The kind of output, see `models.head_of`; probabilities become log-probabilities.

    Raises:
        ValueError: if the output is no (N, H, W, C) of floats.
    """
    logits = tf.convert_to_tensor(logits)
    if logits.shape.rank != 4 or logits.shape[-1] is None or not logits.dtype.is_floating:
        raise ValueError(
            f"Teacher {name!r} must output logits (N, H, W, C), floats with a known number of channels. "
            f"Received: {logits.dtype.name} of shape {logits.shape}. Wrap it in a function that does, and "
            f"pass that."
        )
    return resized(tf.cast(models.as_logits(logits, head), tf.float32), size_of(images))
