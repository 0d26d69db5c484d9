"""FCN on a dilated backbone."""

from tfsegkd._keras import keras
from tfsegkd.models import backbones, blocks
from tfsegkd.models.registry import register

FEATURE_LAYERS = ("stride4", "stride8", "head", "logits")


@register("fcn", feature_layers=FEATURE_LAYERS)
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
        num_classes: How many classes the logits have.
        input_shape: (H, W, 3) in pixels; any size works.
        backbone, weights, width_multiplier: As of `tfsegkd.models.backbones.backbone`. The head has a quarter
            of the backbone's last channels.
        output_stride: 8, 16 or 32: the stride of the head.
        dropout: The share of the head's channels dropped while training.

    Returns:
        A functional network: float32 pixels 0…255 in, logits (N, H, W, num_classes) out.

    Raises:
        ValueError, ImportError, ConnectionError: as `tfsegkd.models.backbones.network`.

    Example:
        model = models.fcn(num_classes=11, input_shape=(32, 32, 3), width_multiplier=0.125)
        model.output_shape  # (None, 32, 32, 11)

    Reference:
        Long et al., CVPR 2015, https://arxiv.org/abs/1411.4038.
        Differs: dilations in place of skips, as in torchvision.
    """

    def head(features):
        x = features[output_stride]
        x = blocks.conv(x, x.shape[-1] // 4, 3, "head", relu=0, epsilon=1e-5)
        return keras.layers.Dropout(dropout, name="head_dropout")(x), output_stride

    return backbones.network(
        "fcn", head, num_classes, input_shape, backbone, weights, output_stride, width_multiplier
    )
