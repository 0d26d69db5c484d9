"""What every distillation loss has in common."""

from tfsegkd._keras import keras
from tfsegkd.registry import Registry

registry = Registry("loss")


class DistillationLoss(keras.layers.Layer):
    """A distance between what the teacher and the student make of the same images.

    A loss is a layer, so that what it owns (projections, queues, a critic) is tracked, trained and saved.
    It computes in float32 whatever the policy of the networks is, and it knows no layer names.
    Subclasses fill in `call`.

    Shapes:
        teacher, student: (N, H, W, C), logits or features as the loss says.
        labels: (N, Y, X) integer, any size; brought to the features' size inside.
        valid: (N, Y, X) 1 where a pixel counts and 0 where it is void; None means all count.
        images: (N, Y, X, 3), for the losses that look at the image.
        returns: (N,), float32, a mean over valid pixels; 0 for an image without any.
    """

    def __init__(self, name: str | None = None):
        super().__init__(name=name, dtype="float32")

    def call(self, teacher, student, labels=None, valid=None, images=None):
        raise NotImplementedError

    def get_config(self):
        # The dtype is not an option of ours: it is always float32.
        config = super().get_config()
        return {"name": config["name"]}
