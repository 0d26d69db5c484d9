"""The distance of the teacher's features from those regenerated out of a part of the student's."""

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.losses.base import DistillationLoss, build_part, registry
from tfsegkd.losses.functional import masked_mean
from tfsegkd.losses.random_stream import RandomStream


@registry.register("mgd")
@keras.utils.register_keras_serializable("tfsegkd")
class MGDLoss(DistillationLoss):
    """Teaches the student features from which the teacher's can be guessed even where most are hidden.

    A random share of the student's positions is set to 0, two 3×3 convolutions with a ReLU between regenerate
    the whole map, and the mean over valid positions and channels of (regenerated − f_T)² is the loss. The
    convolutions are trained with the student and dropped with the loss.

    Args:
        mask_ratio: Share of positions to hide, from 0 to 1.

    Shapes:
        teacher, student: (N, H, W, C) features.
        returns: (N,).

    Raises:
        ValueError: if `mask_ratio` is not from 0 to 1.

    Reference:
        Yang et al., ECCV 2022, https://arxiv.org/abs/2205.01529; 0.75 is their ratio in segmentation.
        Differs: a mean. The paper sums over positions and channels and weighs that by 2·10⁻⁵, which is a
        weight of 2·10⁻⁵·H·W·C here.
    """

    def __init__(self, mask_ratio: float = 0.75, name: str | None = None):
        super().__init__(name=name)
        self.mask_ratio = checks.in_range(mask_ratio, 0, 1, "mask_ratio")

    def build(self, input_shape):
        channels = input_shape[-1]
        self.generator = [
            keras.layers.Conv2D(
                channels, 3, padding="same", activation=activation, name=name, dtype="float32"
            )
            for name, activation in (("generate", "relu"), ("refine", None))
        ]
        for layer in self.generator:
            build_part(layer, (None, None, None, channels))
        self.random_stream = RandomStream()
        build_part(self.random_stream, None)
        super().build(input_shape)

    def compare(self, teacher, student, valid, labels, images):
        regenerated = student * self._shown(tf.shape(valid))[..., None]
        for layer in self.generator:
            regenerated = layer(regenerated)
        return masked_mean(tf.reduce_mean(tf.math.squared_difference(teacher, regenerated), -1), valid)

    def _shown(self, shape):
        return tf.cast(self.random_stream.uniform(shape) >= self.mask_ratio, tf.float32)

    def get_config(self):
        return {**super().get_config(), "mask_ratio": self.mask_ratio}
