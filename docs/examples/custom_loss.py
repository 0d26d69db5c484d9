"""A loss of your own, used like those of tfsegkd.

    python docs/examples/custom_loss.py

`compare` gets features or logits that are ready for use: float32, void zeroed, no gradient to the teacher. It
returns one number an image. Registered, it has a name for flagfiles, too.
"""

import tensorflow as tf
import tf_keras

import tfsegkd
from tfsegkd.data.road_scenes import RoadScenes
from tfsegkd.losses import DistillationLoss, register
from tfsegkd.losses.functional import masked_mean


@register("edges")
@tf_keras.utils.register_keras_serializable("mine")
class EdgeLoss(DistillationLoss):
    """Teaches the student where the teacher's logits change from pixel to pixel.

    Args:
        power: 1 for absolute differences, 2 for squared ones.
    """

    def __init__(self, power: float = 1.0, name: str | None = None):
        super().__init__(name=name)
        self.power = power

    def compare(self, teacher, student, valid, labels, images):
        down = self._distance(
            teacher[:, 1:] - teacher[:, :-1], student[:, 1:] - student[:, :-1], valid[:, 1:] * valid[:, :-1]
        )
        across = self._distance(
            teacher[:, :, 1:] - teacher[:, :, :-1],
            student[:, :, 1:] - student[:, :, :-1],
            valid[:, :, 1:] * valid[:, :, :-1],
        )
        return down + across

    def _distance(self, teacher, student, valid):
        # A step counts where both of its pixels do.
        return masked_mean(tf.reduce_mean(tf.abs(teacher - student) ** self.power, -1), valid)

    def get_config(self):
        return {**super().get_config(), "power": self.power}


size = (48, 64)
scenes = RoadScenes("train", height=size[0], width=size[1], num_images=16)
batches = tfsegkd.data.training_batches(scenes, size, batch_size=8)
teacher, student = (
    tfsegkd.models.build(f"unet(width={width})", scenes.info.num_classes, (*size, 3)) for width in (4, 2)
)
terms = tfsegkd.distillation.parse_terms(["pixelwise", "edges(power=1.5)*0.2"])
distiller = tfsegkd.Distiller(teacher, student, terms)
distiller.compile("adam")
history = distiller.fit(batches, epochs=2, steps_per_epoch=2, verbose=0).history
for name in ("task_loss", "pixelwise", "edges"):
    print(f"{name}: " + " → ".join(f"{value:.3f}" for value in history[name]))
