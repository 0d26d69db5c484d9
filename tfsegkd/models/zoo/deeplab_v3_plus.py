"""DeepLabV3+, the default teacher."""

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.models import backbones, blocks
from tfsegkd.models.registry import register
from tfsegkd.models.zoo.aspp import aspp, fitting_rates

layers = keras.layers
FEATURE_LAYERS = ("stride4", "stride8", "stride16", "aspp", "decoder", "logits")


@register("deeplab_v3_plus", feature_layers=FEATURE_LAYERS)
def deeplab_v3_plus(
    num_classes: int,
    input_shape: tuple[int, int, int],
    backbone: str = "efficientnet_lite0",
    weights: str | None = "imagenet",
    filters: int = 256,
    rates: tuple[int, ...] | str = (6, 12, 18),
    dropout: float = 0.1,
    width_multiplier: float = 1.0,
) -> keras.Model:
    """Atrous spatial pyramid pooling at stride 16 and a decoder at stride 4.

    Args:
        num_classes: How many classes the logits have.
        input_shape: (H, W, 3) in pixels; any size works.
        backbone, weights, width_multiplier: As of `tfsegkd.models.backbones.backbone`.
        filters: Channels of the pyramid and of the decoder.
        rates: Dilations of the pyramid's 3×3 convolutions, in positions of the stride-16 grid, which they
            should not exceed. 'fit': those that reach over the grid of `input_shape` as far as the paper's
            over its own, (2, 4, 6) for images of 192×256.
        dropout: The share of the pyramid's channels dropped while training.

    Returns:
        A functional network: float32 pixels 0…255 in, logits (N, H, W, num_classes) out.

    Raises:
        ValueError: for invalid rates.
        ValueError, ImportError, ConnectionError: as `tfsegkd.models.backbones.network`.

    Example:
        model = models.deeplab_v3_plus(num_classes=11, input_shape=(32, 32, 3), weights=None, filters=8)
        model.output_shape  # (None, 32, 32, 11)

    Reference:
        Chen et al., ECCV 2018, https://arxiv.org/abs/1802.02611, fig. 2, with its depthwise separable
        pyramid and decoder.
    """

    if isinstance(rates, str):
        checks.one_of(rates, ("fit",), "rates")

    def head(features):
        spread = fitting_rates(features[16].shape[1:3]) if rates == "fit" else rates
        x = aspp(features[16], filters, spread, dropout)
        x = layers.UpSampling2D(4, interpolation="bilinear", name="decoder_up")(x)
        fine = blocks.conv(features[4], 48, 1, "decoder_skip")
        x = layers.Concatenate(name="decoder_join")([x, fine])
        x = blocks.separable(x, filters, "decoder_1")
        return blocks.separable(x, filters, "decoder"), 4

    return backbones.network(
        "deeplab_v3_plus", head, num_classes, input_shape, backbone, weights, 16, width_multiplier
    )
