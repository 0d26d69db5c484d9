"""The distance between the class probabilities of each pixel."""

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.losses.base import DistillationLoss, registry
from tfsegkd.losses.functional import masked_mean, softmax_divergence


@registry.register("pixelwise")
@keras.utils.register_keras_serializable("tfsegkd")
class PixelwiseLoss(DistillationLoss):
    """Teaches the student the teacher's class probabilities, pixel by pixel.

    The mean over valid pixels of τ²·KL(softmax(z_T / τ) ‖ softmax(z_S / τ)): 0 when the two agree.

    Args:
        temperature: τ, above 0. Larger values show more of how the teacher ranks the wrong classes; the
            factor τ² keeps the gradient's scale.
        paper_scale: Multiplies by the batch size, because the code of Liu et al. sums over the images. With
            it, their weight of 10 gives their gradient.

    Shapes:
        teacher, student: (N, H, W, C) logits.
        returns: (N,).

    Raises:
        ValueError: if `temperature` is not above 0.

    Reference:
        Hinton et al., 2015, https://arxiv.org/abs/1503.02531; Liu et al., CVPR 2019,
        https://arxiv.org/abs/1903.04197, eq. 1.
        Differs: Liu's code takes a cross-entropy, whose floor is the teacher's entropy, over all pixels.
    """

    keeps_void_out = True

    def __init__(self, temperature: float = 1.0, paper_scale: bool = False, name: str | None = None):
        super().__init__(name=name)
        self.temperature = checks.positive(temperature, "temperature")
        self.paper_scale = checks.one_of(paper_scale, (True, False), "paper_scale")

    def compare(self, teacher, student, valid, labels, images):
        divergence = softmax_divergence(teacher / self.temperature, student / self.temperature)
        loss = self.temperature**2 * masked_mean(divergence, valid)
        return loss * tf.cast(tf.size(loss), tf.float32) if self.paper_scale else loss

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature, "paper_scale": self.paper_scale}
