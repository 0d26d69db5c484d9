"""Holistic distillation: an adversarial loss with a critic."""

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.losses.base import DistillationLoss, build_part, registry
from tfsegkd.losses.critic import Critic
from tfsegkd.losses.functional import area_at
from tfsegkd.losses.random_stream import RandomStream


@registry.register("holistic")
@keras.utils.register_keras_serializable("tfsegkd")
class HolisticLoss(DistillationLoss):
    """Computes the negative score that a critic gives the student's prediction.

    The critic D takes logits and image. `loss(...)` is the student's loss, −mean D(S), of each image;
    `critic_loss(...)` is the critic's, mean D(S) − mean D(T) + penalty·mean(‖∇D(x̃)‖₂ − 1)², with x̃ a random
    point between T and S. A common weight is 0.1. Logits at a quarter of the image's
    size keep the critic's attention small.

    Student and critic have their own optimizers. `trainable_variables` of this loss is empty, so that the
    student's optimizer does not train the critic; the critic's optimizer trains `critic.trainable_variables`.
    `weights` contains the critic, which is saved and restored with the loss.

        with tf.GradientTape() as tape:
            scalar = loss.critic_loss(teacher, student, images=images)
        variables = loss.critic.trainable_variables
        critic_optimizer.apply_gradients(zip(tape.gradient(scalar, variables), variables))

    Args:
        width: The channels of the critic's first convolution.
        penalty: The weight of the gradient penalty.

    Shapes:
        teacher, student: (N, H, W, C) logits. images: (N, Y, X, 3), 0…255, needed.
        returns: (N,), of either sign.

    Raises:
        ValueError: without images; if `width` or `penalty` is out of range.

    Example:
        loss = losses.HolisticLoss(width=4)
        loss(teacher_logits, student_logits, images=frames)  # a value for each of two images

    Reference:
        Liu et al., CVPR 2019, https://arxiv.org/abs/1903.04197, eq. 3; Gulrajani et al., WGAN-GP, NeurIPS
        2017, https://arxiv.org/abs/1704.00028, eq. 3.
        Differs: void positions are 0 for the critic; 1e-12 under the root of the gradient's norm, whose own
        gradient is otherwise infinite at 0.
    """

    needs_images = True

    def __init__(self, width: int = 64, penalty: float = 10.0, name: str | None = None):
        super().__init__(name=name)
        self.width = checks.whole(width, 1, "width")
        self.penalty = checks.positive(penalty, "penalty")
        self.critic = Critic(width, name="critic")

    def build(self, input_shape):
        build_part(self.critic, input_shape)
        self.random_stream = RandomStream()
        build_part(self.random_stream, None)
        super().build(input_shape)

    @property
    def trainable_weights(self):
        return []

    @property
    def non_trainable_weights(self):
        return [*self.critic.weights, *self.random_stream.weights]

    def compare(self, teacher, student, valid, labels, images):
        return -self.critic(student, _at(images, student)) * _counts(valid)

    def critic_loss(self, teacher, student, labels=None, valid=None, images=None) -> tf.Tensor:
        """Returns the critic's loss: a scalar, without a gradient to teacher or student."""
        if not self.built:
            self.build(teacher.shape)
        teacher, student, valid, _, images = self.prepare(teacher, student, labels, valid, images)
        student = tf.stop_gradient(student)
        images, counts = _at(images, student), _counts(valid)
        share = self.random_stream.uniform([tf.shape(student)[0], 1, 1, 1])
        between = share * teacher + (1 - share) * student
        with tf.GradientTape() as tape:
            tape.watch(between)
            score = self.critic(between, images)
        slope = tape.gradient(score, between) * valid[..., None]
        length = tf.sqrt(tf.reduce_sum(tf.square(slope), [1, 2, 3]) + 1e-12)
        # One power iteration per call, in the last of the three passes.
        gap = self.critic(student, images) - self.critic(teacher, images, update=True)
        each = gap + self.penalty * tf.square(length - 1)
        return tf.math.divide_no_nan(tf.reduce_sum(each * counts), tf.reduce_sum(counts))

    def get_config(self):
        return {**super().get_config(), "width": self.width, "penalty": self.penalty}


def _at(images, like):
    """Returns the images at the size of `like`, scaled from 0…255 to −1…1."""
    return area_at(images, like) / 127.5 - 1


def _counts(valid):
    """Returns 1 for each image with a valid position, else 0."""
    return tf.cast(tf.reduce_any(valid > 0, [1, 2]), tf.float32)
