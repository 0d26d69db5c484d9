"""Fast-SCNN."""

from tfsegkd._keras import keras
from tfsegkd.models import blocks
from tfsegkd.models.registry import register
from tfsegkd.models.zoo.pyramid_pooling import pyramid_pooling

layers = keras.layers
FEATURE_LAYERS = ("stride8", "stride16", "stride32", "context", "fusion", "decoder", "logits")

# channels and first stride of the three groups of three bottlenecks
_GROUPS = ((64, 2), (96, 2), (128, 1))


@register("fast_scnn", feature_layers=FEATURE_LAYERS)
def fast_scnn(
    num_classes: int,
    input_shape: tuple[int, int, int],
    width_multiplier: float = 1.0,
    dropout: float = 0.1,
) -> keras.Model:
    """Learning to downsample to stride 8, a deep branch to stride 32 from there, and their sum.

    Args:
        num_classes: How many classes the logits have.
        input_shape: (H, W, 3) in pixels; any size works.
        width_multiplier: Scales the channels of every layer, rounded to multiples of 8.
        dropout: The share of the classifier's channels dropped while training.

    Returns:
        A functional network: float32 pixels 0…255 in, logits (N, H, W, num_classes) out.

    Example:
        model = models.fast_scnn(num_classes=11, input_shape=(32, 32, 3), width_multiplier=0.25)
        model.output_shape  # (None, 32, 32, 11)

    Reference:
        Poudel et al., BMVC 2019, https://arxiv.org/abs/1902.04502, table 1.
        Differs: ReLU6 in place of ReLU.
    """
    wide = blocks.widths(width_multiplier)
    inputs, x = blocks.pixels(input_shape, mean=127.5, std=127.5, stride=32)
    x = blocks.conv(x, wide(32), 3, "stride2", stride=2)
    x = _separable(x, wide(48), "stride4", stride=2)
    fine = x = _separable(x, wide(64), "stride8", stride=2)
    for group, (channels, stride) in enumerate(_GROUPS, start=1):
        for number in range(1, 4):
            name = {(1, 3): "stride16", (3, 3): "stride32"}.get((group, number), f"deep{group}_{number}")
            x = blocks.inverted_residual(x, wide(channels), name, stride=stride if number == 1 else 1)
    filters = wide(128)
    x = blocks.conv(pyramid_pooling(x, (1, 2, 3, 6), "context"), filters, 1, "context")
    x = layers.UpSampling2D(4, interpolation="bilinear", name="fusion_up")(x)
    x = blocks.depthwise(x, 3, "fusion_spread", dilation=4)
    x = blocks.conv(x, filters, 1, "fusion_deep", relu=None)
    fine = blocks.conv(fine, filters, 1, "fusion_fine", relu=None)
    x = layers.ReLU(6.0, name="fusion")(layers.Add(name="fusion_add")([x, fine]))
    x = _separable(x, filters, "decoder_1")
    x = _separable(x, filters, "decoder")
    x = layers.Dropout(dropout, name="decoder_dropout")(x)
    return keras.Model(inputs, blocks.logits(x, inputs, num_classes, factor=8), name="fast_scnn")


def _separable(x, filters, name, stride=1):
    # The paper leaves out the nonlinearity between the two.
    x = blocks.depthwise(x, 3, f"{name}_depthwise", stride=stride, relu=None)
    return blocks.conv(x, filters, 1, name)
