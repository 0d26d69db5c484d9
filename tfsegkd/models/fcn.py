"""FCN on a dilated backbone."""

from tfsegkd._keras import keras
from tfsegkd.models import backbones, blocks
from tfsegkd.models.registry import register

layers = keras.layers
TAPS = ("stride4", "stride8", "head", "logits")


@register("fcn", taps=TAPS)
def fcn(
    num_classes: int,
    input_shape: tuple[int, int, int],
    backbone: str = "resnet50",
    weights: str | None = None,
    output_stride: int = 8,
    dropout: float = 0.1,
    width_multiplier: float = 1.0,
) -> keras.Model:
    """A dilated backbone and one 3×3 convolution, layer for layer that of torchvision.

    Args:
        backbone: One of `tfsegkd.models.backbones.NAMES`.
        weights: 'imagenet' for the backbone where we have them, or None for random ones.
        output_stride: 8, 16 or 32: the stride of the head.
        dropout: The share of the head's channels dropped while training.
        width_multiplier: Scales the channels of the backbone; the head has a quarter of its last.

    Raises:
        ValueError: for an unknown choice, or weights that come from elsewhere.
        ImportError: if the weights' extra is not installed.
        ConnectionError: if the weights cannot be downloaded.

    Reference:
        Long et al., CVPR 2015, https://arxiv.org/abs/1411.4038.
        Differs: dilations in place of skips, as in torchvision.
    """
    inputs, features = backbones.backbone(backbone, input_shape, output_stride, weights, width_multiplier)
    x = features[output_stride]
    x = blocks.conv(x, x.shape[-1] // 4, 3, "head", relu=0, epsilon=1e-5)
    x = layers.Dropout(dropout, name="head_dropout")(x)
    outputs = blocks.logits(x, inputs, num_classes, factor=output_stride)
    model = keras.Model(inputs, outputs, name="fcn")
    backbones.load_weights(model, backbone, output_stride, weights, width_multiplier)
    return model
