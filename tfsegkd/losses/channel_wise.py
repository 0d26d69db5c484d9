"""Channel-wise distillation."""

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.losses.base import DistillationLoss, registry
from tfsegkd.losses.functional import MINUS_INFINITY, divergence, positions


@registry.register("channel_wise")
@keras.utils.register_keras_serializable("tfsegkd")
class ChannelWiseLoss(DistillationLoss):
    """Computes the KL divergence between the spatial distributions of each channel.

    φ(f) is the softmax of a channel over all valid positions of an image, at temperature τ. The loss is the
    mean over channels of τ²·KL(φ(f_T) ‖ φ(f_S)). Common weights: 3 on logits, 50 on features.

    Args:
        temperature: τ, above 0. Larger values spread the distribution over more positions.

    Shapes:
        teacher, student: (N, H, W, C) logits or features.
        returns: (N,).

    Raises:
        ValueError: if `temperature` is not above 0.

    Example:
        loss = losses.ChannelWiseLoss(temperature=4.0)
        loss(teacher_logits, student_logits)  # a value for each of two images

    Reference:
        Shu et al., ICCV 2021, https://arxiv.org/abs/2011.13256.
        Differs: void positions are left out of the softmax.
    """

    def __init__(self, temperature: float = 4.0, name: str | None = None):
        super().__init__(name=name)
        self.temperature = checks.positive(temperature, "temperature")

    def compare(self, teacher, student, valid, labels, images):
        void = MINUS_INFINITY * (1 - valid[..., None])
        log_teacher, log_student = (self._log_attention(side, void) for side in (teacher, student))
        # Without a valid position both are uniform, so the loss is 0.
        return self.temperature**2 * tf.reduce_mean(divergence(log_teacher, log_student, axis=1), -1)

    def _log_attention(self, features, void):
        return tf.nn.log_softmax(positions(features / self.temperature + void), axis=1)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}
