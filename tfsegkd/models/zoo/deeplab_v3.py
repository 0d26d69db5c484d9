"""DeepLabV3."""

from functools import partial

from tfsegkd._keras import keras
from tfsegkd.models import backbones, blocks
from tfsegkd.models.registry import register
from tfsegkd.models.zoo.aspp import aspp

FEATURE_LAYERS = ("stride4", "stride8", "aspp", "head", "logits")
_conv = partial(blocks.conv, relu=0, epsilon=1e-5)


@register("deeplab_v3", feature_layers=FEATURE_LAYERS)
def deeplab_v3(
    num_classes: int,
    input_shape: tuple[int, int, int],
    backbone: str = "resnet50",
    weights: str | None = None,
    output_stride: int = 8,
    filters: int = 256,
    rates: tuple[int, ...] | None = None,
    dropout: float = 0.5,
    width_multiplier: float = 1.0,
) -> keras.Model:
    """A dilated backbone and atrous spatial pyramid pooling, layer for layer that of torchvision.

    Args:
        num_classes: How many classes the logits have.
        input_shape: (H, W, 3) in pixels; any size works.
        backbone, weights, width_multiplier: As of `tfsegkd.models.backbones.backbone`.
        output_stride: 8, 16 or 32: the stride of the pyramid.
        filters: Channels of the pyramid and of the head.
        rates: Dilations of the pyramid's 3×3 convolutions, in positions of its grid; by default 12, 24 and 36
            at stride 8, and the same distances in pixels at others.
        dropout: The share of the pyramid's channels dropped while training.

    Returns:
        A functional network: float32 pixels 0…255 in, logits (N, H, W, num_classes) out.

    Raises:
        ValueError, ImportError, ConnectionError: as `tfsegkd.models.backbones.network`.

    Example:
        model = models.deeplab_v3(num_classes=11, input_shape=(32, 32, 3), width_multiplier=0.125, filters=8)
        model.output_shape  # (None, 32, 32, 11)

    Reference:
        Chen et al. 2017, https://arxiv.org/abs/1706.05587, section 3.
    """

    def head(features):
        spread = rates or tuple(96 * far // output_stride for far in (1, 2, 3))
        x = aspp(features[output_stride], filters, spread, dropout, conv=_conv, spread=_spread)
        return _conv(x, filters, 3, "head"), output_stride

    return backbones.network(
        "deeplab_v3", head, num_classes, input_shape, backbone, weights, output_stride, width_multiplier
    )


def _spread(x, filters, name, dilation):
    return _conv(x, filters, 3, name, dilation=dilation)
