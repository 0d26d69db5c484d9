"""LR-ASPP on MobileNetV3."""

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.layers import CropLike
from tfsegkd.models import backbones, blocks
from tfsegkd.models.registry import register

layers = keras.layers
FEATURE_LAYERS = ("stride4", "stride8", "stride16", "context", "logits")


@register("lraspp", feature_layers=FEATURE_LAYERS)
def lraspp(
    num_classes: int,
    input_shape: tuple[int, int, int],
    size: str = "large",
    weights: str | None = None,
    filters: int = 128,
    width_multiplier: float = 1.0,
) -> keras.Model:
    """MobileNetV3 with a light head: a gate from the whole image, and one skip at stride 8.

    Args:
        num_classes: How many classes the logits have.
        input_shape: (H, W, 3) in pixels; any size works.
        size: 'large' or 'small'.
        weights: 'imagenet' for the backbone, downloaded from Keras, or None for random ones.
        filters: Channels of the head.
        width_multiplier: Scales the channels of the backbone.

    Returns:
        A functional network: float32 pixels 0…255 in, logits (N, H, W, num_classes) out.

    Raises:
        ValueError: for an unknown choice.
        ConnectionError: if the weights cannot be downloaded.

    Example:
        small = {"size": "small", "width_multiplier": 0.25, "filters": 8}
        model = models.lraspp(num_classes=11, input_shape=(32, 32, 3), **small)
        model.output_shape  # (None, 32, 32, 11)

    Reference:
        Howard et al., ICCV 2019, https://arxiv.org/abs/1905.02244, section 6.4.
        Differs: as in torchvision, the gate sees the mean of the whole image instead of 49×49 windows.
    """
    checks.one_of(size, ("large", "small"), "size")
    name = f"mobilenet_v3_{size}"
    inputs, features = backbones.backbone(name, input_shape, 16, weights, width_multiplier)
    deep, fine = features[16], features[8]
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="gate_pool")(deep)
    gate = layers.Conv2D(filters, 1, use_bias=False, name="gate_conv")(gate)
    gate = layers.Activation("sigmoid", name="gate")(gate)
    x = blocks.conv(deep, filters, 1, "local", relu=0)
    x = layers.Multiply(name="context")([x, gate])
    # A 1×1 convolution and a bilinear resize commute; there are fewer classes than channels.
    x = layers.Conv2D(num_classes, 1, name="classifier")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear", name="classifier_up")(x)
    fine = layers.Conv2D(num_classes, 1, name="classifier_fine")(fine)
    x = layers.Add(name="classifier_add")([x, fine])
    x = layers.UpSampling2D(8, interpolation="bilinear", name="enlarge")(x)
    model = keras.Model(inputs, CropLike(name="logits")([x, inputs]), name="lraspp")
    backbones.load_weights(model, name, 16, weights, width_multiplier)
    return model
