"""What every teacher can do."""

import hashlib
from collections.abc import Callable, Iterable

import tensorflow as tf

from tfsegkd import models

Shapes = dict[str, tuple[int, int, int]]
FeatureExtractor = Callable[[tf.Tensor], dict[str, tf.Tensor]]


class Teacher:
    """What a student learns from, whatever it is made of.

    Attributes:
        name: What messages call it.
        size: (height, width) of the images it must be fed, or None where it takes any.
        input_size: The size to which it brings all images itself, or None where it does not.
        recorded: Whether what it shows was computed before, and comes with the batches.
    """

    name: str = "teacher"
    size: tuple[int, int] | None = None
    input_size: tuple[int, int] | None = None
    recorded: bool = False

    def feature_extractor(self, names: Iterable[str]) -> FeatureExtractor:
        """A function from images (N, H, W, 3), 0…255, to what each layer shows, by one forward pass.

        It runs in inference mode. The layer 'logits' is what the teacher gives out, float32 and at the size
        of the images.

        Raises:
            ValueError: for a layer that it does not have; the message lists the choices.
        """
        raise NotImplementedError

    def log_feature_extractor(self, names: Iterable[str]) -> FeatureExtractor:
        """As `layers`, with the logarithms of its probabilities in the place of the logits.

        They sum to less than 1 where the teacher sees something that is no class of the student.
        """
        run = self.feature_extractor(names)

        def run_to_logarithms(images):
            outputs = dict(run(images))
            if "logits" in outputs:
                outputs["logits"] = tf.nn.log_softmax(outputs["logits"])
            return outputs

        return run_to_logarithms

    def covered(self, num_classes: int) -> list[bool]:
        """Whether it knows each of the student's classes."""
        return [True] * num_classes

    def shapes(self, names: Iterable[str], image_shape: tuple[int, int, int]) -> Shapes:
        """The shape (H, W, C) of what each layer shows of an image of `image_shape`."""
        images = tf.TensorSpec((1, *image_shape), tf.float32)
        outputs = tf.function(self.feature_extractor(names)).get_concrete_function(images).structured_outputs
        return {layer: tuple(tensor.shape[1:]) for layer, tensor in outputs.items()}

    def fingerprint(self) -> str:
        """Tells teachers apart by what they compute: equal for equal weights, in every process.

        Raises:
            ValueError: if the teacher has nothing to be known by.
        """
        raise NotImplementedError

    def scaled(self, scale: float) -> "Teacher":
        """This teacher, with the same weights, for images `scale` times as large.

        Raises:
            ValueError: if it brings all images to one size.
        """
        if self.input_size is not None:
            raise ValueError(
                f"Teacher {self.name!r} sees every image at {self.input_size}, so scaling images shows it "
                f"nothing new. Leave out scales, or pass windows=True."
            )
        return self


def digest(*parts: str | bytes) -> str:
    """The hash of a sequence, such that no two sequences give the same."""
    hashed = hashlib.sha256()
    for part in parts:
        part = part.encode() if isinstance(part, str) else part
        hashed.update(len(part).to_bytes(8, "little"))
        hashed.update(part)
    return hashed.hexdigest()


def resized(images: tf.Tensor, size: tuple[int, int] | tf.Tensor | None) -> tf.Tensor:
    """`images` at `size`, bilinearly; None leaves them as they are."""
    if size is None or (isinstance(size, tuple) and tuple(images.shape[1:3]) == size):
        return images
    return tf.image.resize(images, size)


def size_of(images: tf.Tensor) -> tuple[int, int] | tf.Tensor:
    """(H, W), as numbers where the shape says so."""
    size = tuple(images.shape[1:3])
    return tf.shape(images)[1:3] if None in size else size


def fixed(size) -> tuple[int, int] | None:
    """`size` where it is one; None where a side is open."""
    size = tuple(size)
    return None if None in size else size


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """The size of images `scale` times as large, in whole pixels."""
    height, width = (max(1, round(scale * side)) for side in size)
    return height, width


def checked_logits(
    logits: tf.Tensor, images: tf.Tensor, name: str, head: str = models.heads.LOGITS
) -> tf.Tensor:
    """What a teacher gave out, as logits of two or more classes: float32 and at the size of the images.

    Args:
        head: What it is, as of `models.head_of`; probabilities become logarithms.

    Raises:
        ValueError: if it is no (N, H, W, C) of floats.
    """
    logits = tf.convert_to_tensor(logits)
    if logits.shape.rank != 4 or logits.shape[-1] is None or not logits.dtype.is_floating:
        raise ValueError(
            f"Teacher {name!r} must give logits (N, H, W, C), floats with a known number of channels. "
            f"Received: {logits.dtype.name} of shape {logits.shape}. Wrap it in a function that does, and "
            f"pass that."
        )
    return resized(tf.cast(models.as_logits(logits, head), tf.float32), size_of(images))
