"""DeepLabV3."""

from functools import partial

from tfsegkd._keras import keras
from tfsegkd.models import backbones, blocks
from tfsegkd.models.aspp import aspp
from tfsegkd.models.registry import register

TAPS = ("stride4", "stride8", "aspp", "head", "logits")
_conv = partial(blocks.conv, relu=0, epsilon=1e-5)


@register("deeplab_v3", taps=TAPS)
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
        backbone: One of `tfsegkd.models.backbones.NAMES`.
        weights: 'imagenet' for the backbone where we have them, or None for random ones.
        output_stride: 8, 16 or 32: the stride of the pyramid.
        filters: Channels of the pyramid and of the head.
        rates: Dilations of the pyramid's 3×3 convolutions, in positions of its grid; by default 12, 24 and 36
            at stride 8, and the same distances in pixels at others.
        dropout: The share of the pyramid's channels dropped while training.
        width_multiplier: Scales the channels of the backbone.

    Raises:
        ValueError: for an unknown choice, or weights that come from elsewhere.
        ImportError: if the weights' extra is not installed.
        ConnectionError: if the weights cannot be downloaded.

    Reference:
        Chen et al. 2017, https://arxiv.org/abs/1706.05587, section 3.
    """
    inputs, features = backbones.backbone(backbone, input_shape, output_stride, weights, width_multiplier)
    rates = rates or tuple(96 * far // output_stride for far in (1, 2, 3))
    x = aspp(features[output_stride], filters, rates, dropout, conv=_conv, spread=_spread)
    x = _conv(x, filters, 3, "head")
    outputs = blocks.logits(x, inputs, num_classes, factor=output_stride)
    model = keras.Model(inputs, outputs, name="deeplab_v3")
    backbones.load_weights(model, backbone, output_stride, weights, width_multiplier)
    return model


def _spread(x, filters, name, dilation):
    return _conv(x, filters, 3, name, dilation=dilation)
