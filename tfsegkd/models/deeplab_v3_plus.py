"""DeepLabV3+, our default teacher."""

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.layers import ResizeLike
from tfsegkd.models import blocks, efficientnet_lite0
from tfsegkd.models.registry import register

layers = keras.layers
TAPS = ("stride4", "stride8", "stride16", "aspp", "decoder", "logits")
BACKBONES = ("efficientnet_lite0",)


@register("deeplab_v3_plus", taps=TAPS)
def deeplab_v3_plus(
    num_classes: int,
    input_shape: tuple[int, int, int],
    backbone: str = "efficientnet_lite0",
    weights: str | None = "imagenet",
    filters: int = 256,
    rates: tuple[int, ...] = (6, 12, 18),
    dropout: float = 0.1,
) -> keras.Model:
    """Atrous spatial pyramid pooling at stride 16 and a decoder at stride 4.

    Args:
        backbone: One of `BACKBONES`.
        weights: 'imagenet' for the backbone, or None for random ones.
        filters: Channels of the pyramid and of the decoder.
        rates: Dilations of the pyramid's 3×3 convolutions, in positions of the stride-16 grid. Choose them
            smaller than that grid.
        dropout: The share of the pyramid's channels dropped while training.

    Raises:
        ValueError: for an unknown backbone or weights.
        ImportError: if the weights' extra is not installed.

    Reference:
        Chen et al., ECCV 2018, https://arxiv.org/abs/1802.02611, fig. 2, with its depthwise separable
        pyramid and decoder.
    """
    checks.one_of(backbone, BACKBONES, "backbone")
    checks.one_of(weights, ("imagenet", None), "weights")
    inputs, x = blocks.pixels(input_shape, efficientnet_lite0.MEAN, efficientnet_lite0.STD, stride=16)
    features = efficientnet_lite0.efficientnet_lite0(x, output_stride=16)
    x = _aspp(features[16], filters, rates, dropout)
    x = layers.UpSampling2D(4, interpolation="bilinear", name="decoder_up")(x)
    fine = blocks.conv(features[4], 48, 1, "decoder_skip")
    x = layers.Concatenate(name="decoder_join")([x, fine])
    x = blocks.separable(x, filters, "decoder_1")
    x = blocks.separable(x, filters, "decoder")
    model = keras.Model(inputs, blocks.logits(x, inputs, num_classes, factor=4), name="deeplab_v3_plus")
    if weights == "imagenet":
        efficientnet_lite0.load_imagenet(model, output_stride=16)
    return model


def _aspp(x, filters, rates, dropout):
    branches = [blocks.conv(x, filters, 1, "aspp_1x1")]
    branches += [blocks.separable(x, filters, f"aspp_{rate}", dilation=rate) for rate in rates]
    everywhere = layers.GlobalAveragePooling2D(keepdims=True, name="aspp_pool")(x)
    everywhere = blocks.conv(everywhere, filters, 1, "aspp_global")
    branches.append(ResizeLike(name="aspp_resize")([everywhere, x]))
    x = layers.Concatenate(name="aspp_join")(branches)
    x = blocks.conv(x, filters, 1, "aspp")
    return layers.Dropout(dropout, name="aspp_dropout")(x)
