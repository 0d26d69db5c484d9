"""PSPNet."""

from functools import partial

from tfsegkd._keras import keras
from tfsegkd.models import backbones, blocks
from tfsegkd.models.registry import register
from tfsegkd.models.zoo.pyramid_pooling import pyramid_pooling

FEATURE_LAYERS = ("stride4", "stride8", "pyramid", "logits")
_conv = partial(blocks.conv, relu=0, epsilon=1e-5)


@register("pspnet", feature_layers=FEATURE_LAYERS)
def pspnet(
    num_classes: int,
    input_shape: tuple[int, int, int],
    backbone: str = "resnet50",
    weights: str | None = None,
    filters: int = 512,
    bins: tuple[int, ...] = (1, 2, 3, 6),
    dropout: float = 0.1,
    output_stride: int = 8,
    width_multiplier: float = 1.0,
) -> keras.Model:
    """A dilated backbone whose last feature is joined with its means over four grids of windows.

    Args:
        num_classes: How many classes the logits have.
        input_shape: (H, W, 3) in pixels; any size works.
        backbone, weights, width_multiplier: As of `tfsegkd.models.backbones.backbone`.
        filters: Channels of the pyramid's last convolution.
        bins: The pyramid's grids.
        dropout: The share of the pyramid's channels dropped while training.
        output_stride: 8, 16 or 32: the stride of the pyramid.

    Returns:
        A functional network: float32 pixels 0…255 in, logits (N, H, W, num_classes) out.

    Raises:
        ValueError, ImportError, ConnectionError: as `tfsegkd.models.backbones.network`.

    Example:
        model = models.pspnet(num_classes=11, input_shape=(32, 32, 3), width_multiplier=0.125, filters=8)
        model.output_shape  # (None, 32, 32, 11)

    Reference:
        Zhao et al., CVPR 2017, https://arxiv.org/abs/1612.01105, fig. 3.
        Differs: no auxiliary head; torchvision's ResNet with one 7×7 convolution as its stem.
    """

    def head(features):
        x = pyramid_pooling(features[output_stride], bins, "pyramid", conv=_conv)
        x = _conv(x, filters, 3, "pyramid")
        return keras.layers.Dropout(dropout, name="pyramid_dropout")(x), output_stride

    return backbones.network(
        "pspnet", head, num_classes, input_shape, backbone, weights, output_stride, width_multiplier
    )
