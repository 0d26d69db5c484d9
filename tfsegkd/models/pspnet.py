"""PSPNet."""

from functools import partial

from tfsegkd._keras import keras
from tfsegkd.models import backbones, blocks
from tfsegkd.models.pyramid_pooling import pyramid_pooling
from tfsegkd.models.registry import register

layers = keras.layers
TAPS = ("stride4", "stride8", "pyramid", "logits")
_conv = partial(blocks.conv, relu=0, epsilon=1e-5)


@register("pspnet", taps=TAPS)
def pspnet(
    num_classes: int,
    input_shape: tuple[int, int, int],
    backbone: str = "resnet50",
    weights: str | None = None,
    output_stride: int = 8,
    filters: int = 512,
    bins: tuple[int, ...] = (1, 2, 3, 6),
    dropout: float = 0.1,
    width_multiplier: float = 1.0,
) -> keras.Model:
    """A dilated backbone whose last feature is joined with its means over four grids of windows.

    Args:
        backbone: One of `tfsegkd.models.backbones.NAMES`.
        weights: 'imagenet' for the backbone where we have them, or None for random ones.
        output_stride: 8, 16 or 32: the stride of the pyramid.
        filters: Channels of the pyramid's last convolution.
        bins: The pyramid's grids.
        dropout: The share of the pyramid's channels dropped while training.
        width_multiplier: Scales the channels of the backbone.

    Raises:
        ValueError: for an unknown choice, or weights that come from elsewhere.
        ImportError: if the weights' extra is not installed.
        ConnectionError: if the weights cannot be downloaded.

    Reference:
        Zhao et al., CVPR 2017, https://arxiv.org/abs/1612.01105, fig. 3.
        Differs: no auxiliary head; torchvision's ResNet with one 7×7 convolution at its entrance.
    """
    inputs, features = backbones.backbone(backbone, input_shape, output_stride, weights, width_multiplier)
    x = pyramid_pooling(features[output_stride], bins, "pyramid", conv=_conv)
    x = _conv(x, filters, 3, "pyramid")
    x = layers.Dropout(dropout, name="pyramid_dropout")(x)
    outputs = blocks.logits(x, inputs, num_classes, factor=output_stride)
    model = keras.Model(inputs, outputs, name="pspnet")
    backbones.load_weights(model, backbone, output_stride, weights, width_multiplier)
    return model
