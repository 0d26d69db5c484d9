"""Pixel-wise distillation."""

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.losses.base import DistillationLoss, registry
from tfsegkd.losses.functional import masked_mean, softmax_divergence


@registry.register("pixelwise")
@keras.utils.register_keras_serializable("tfsegkd")
class PixelwiseLoss(DistillationLoss):
    """Computes the KL divergence between teacher and student class probabilities.

    It is the mean over valid pixels of τ²·KL(softmax(z_T / τ) ‖ softmax(z_S / τ)): 0 when the two agree.

    Args:
        temperature: τ, above 0. Larger values emphasize the teacher's ranking of the wrong classes; the
            factor τ² keeps the scale of the gradient.
        balanced: Whether pixels of rare classes have higher weights: a pixel has weight
            Σ_c softmax(z_T)_c / ln(1.02 + share of c), where the share is that of the teacher's predictions
            in the valid pixels of the batch.
        paper_scale: Whether to multiply by the batch size, as the code of Liu et al. sums over the images.
            Then their weight of 10 gives their gradient.

    Shapes:
        teacher, student: (N, H, W, C) logits.
        returns: (N,).

    Raises:
        ValueError: if `temperature` is not above 0.

    Example:
        loss = losses.PixelwiseLoss(temperature=4.0)
        loss(teacher_logits, student_logits)  # a value for each of two images

    Reference:
        Hinton et al., 2015, https://arxiv.org/abs/1503.02531; Liu et al., CVPR 2019,
        https://arxiv.org/abs/1903.04197, eq. 1; the weights of `balanced` are those of Paszke et al., ENet,
        2016, https://arxiv.org/abs/1606.02147, section 5.1, with the teacher's shares instead of the labels'.
        Differs: Liu's code uses a cross-entropy, whose floor is the teacher's entropy, over all pixels.
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
    """Returns the weight of each pixel by the rarity of the classes that the teacher predicts; 0 at void."""
    probabilities = tf.where(valid[..., None] > 0, tf.nn.softmax(teacher), 0.0)
    shares = tf.math.divide_no_nan(tf.reduce_sum(probabilities, [0, 1, 2]), tf.reduce_sum(valid))
    return tf.linalg.matvec(probabilities, 1 / tf.math.log(1.02 + shares))
