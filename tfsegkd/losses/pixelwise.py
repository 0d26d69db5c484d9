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
        balanced: Lets the pixels of rare classes count more, as weights of the labels' loss do: a pixel
            weighs Σ_c softmax(z_T)_c / ln(1.02 + share of c), where the share is what the teacher gives the
            class of the batch's valid pixels.
        paper_scale: Multiplies by the batch size, because the code of Liu et al. sums over the images. With
            it, their weight of 10 gives their gradient.

    Shapes:
        teacher, student: (N, H, W, C) logits.
        returns: (N,).

    Raises:
        ValueError: if `temperature` is not above 0.

    Reference:
        Hinton et al., 2015, https://arxiv.org/abs/1503.02531; Liu et al., CVPR 2019,
        https://arxiv.org/abs/1903.04197, eq. 1; the weights of `balanced` are those of Paszke et al., ENet,
        2016, https://arxiv.org/abs/1606.02147, section 5.1, on the teacher's shares in place of the labels'.
        Differs: Liu's code takes a cross-entropy, whose floor is the teacher's entropy, over all pixels.
    """

    keeps_void_out = True
    of_probabilities = True

    def __init__(
        self,
        temperature: float = 1.0,
        balanced: bool = False,
        paper_scale: bool = False,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.temperature = checks.positive(temperature, "temperature")
        self.balanced = checks.one_of(balanced, (True, False), "balanced")
        self.paper_scale = checks.one_of(paper_scale, (True, False), "paper_scale")

    def compare(self, teacher, student, valid, labels, images):
        divergence = softmax_divergence(teacher / self.temperature, student / self.temperature)
        weights = _rarity(teacher, valid) if self.balanced else valid
        loss = self.temperature**2 * masked_mean(divergence, weights)
        return loss * tf.cast(tf.size(loss), tf.float32) if self.paper_scale else loss

    def get_config(self):
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "balanced": self.balanced,
            "paper_scale": self.paper_scale,
        }


def _rarity(teacher, valid):
    """How much each pixel counts, by how rare the classes are that the teacher sees there; 0 where void."""
    shown = tf.where(valid[..., None] > 0, tf.nn.softmax(teacher), 0.0)
    shares = tf.math.divide_no_nan(tf.reduce_sum(shown, [0, 1, 2]), tf.reduce_sum(valid))
    return tf.linalg.matvec(shown, 1 / tf.math.log(1.02 + shares))
