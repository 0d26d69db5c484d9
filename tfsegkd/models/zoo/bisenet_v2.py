"""BiSeNet V2."""

from tfsegkd._keras import keras
from tfsegkd.models import blocks
from tfsegkd.models.registry import register

layers = keras.layers
FEATURE_LAYERS = ("detail", "stride16", "stride32", "context", "aggregation", "head", "logits")


@register("bisenet_v2", feature_layers=FEATURE_LAYERS)
def bisenet_v2(
    num_classes: int,
    input_shape: tuple[int, int, int],
    width_multiplier: float = 1.0,
    dropout: float = 0.1,
) -> keras.Model:
    """A wide detail branch to stride 8 and a narrow semantic branch to stride 32, each gating the other.

    Args:
        num_classes: How many classes the logits have.
        input_shape: (H, W, 3) in pixels; any size works.
        width_multiplier: Scales the channels of every layer, rounded to multiples of 8.
        dropout: The share of the head's channels dropped while training.

    Returns:
        A functional network: float32 pixels 0…255 in, logits (N, H, W, num_classes) out.

    Example:
        model = models.bisenet_v2(num_classes=11, input_shape=(32, 32, 3), width_multiplier=0.25)
        model.output_shape  # (None, 32, 32, 11)

    Reference:
        Yu et al., IJCV 2021, https://arxiv.org/abs/2004.02147, table 1 and figs. 4 to 6.
        Differs: no auxiliary heads; no BatchNorm between the global mean and its convolution, whose own
        BatchNorm replaces it.
    """
    wide = blocks.widths(width_multiplier)
    inputs, pixels = blocks.pixels(input_shape, mean=127.5, std=127.5, stride=32)
    detail = _detail(pixels, wide)
    meaning = _meaning(pixels, wide)
    x = _aggregate(detail, meaning, wide(128))
    x = blocks.conv(x, wide(1024), 3, "head", relu=0)
    x = layers.Dropout(dropout, name="head_dropout")(x)
    return keras.Model(inputs, blocks.logits(x, inputs, num_classes, factor=8), name="bisenet_v2")


def _detail(x, wide):
    for stage, (filters, convs) in enumerate(((64, 2), (64, 3), (128, 3)), start=1):
        for number in range(1, convs + 1):
            name = "detail" if (stage, number) == (3, 3) else f"detail{stage}_{number}"
            x = blocks.conv(x, wide(filters), 3, name, stride=2 if number == 1 else 1, relu=0)
    return x


def _meaning(x, wide):
    x = _stem(x, wide(16))
    for filters, names in (
        (32, ("stride8_1", "stride8")),
        (64, ("stride16_1", "stride16")),
        (128, ("stride32_1", "stride32_2", "stride32_3", "stride32")),
    ):
        x = _gather_down(x, wide(filters), names[0])
        for name in names[1:]:
            x = _gather(x, name)
    everywhere = layers.GlobalAveragePooling2D(keepdims=True, name="context_pool")(x)
    everywhere = blocks.conv(everywhere, x.shape[-1], 1, "context_global", relu=0)
    x = layers.Add(name="context_add")([x, everywhere])
    return blocks.conv(x, x.shape[-1], 3, "context", relu=0)


def _stem(x, filters):
    x = blocks.conv(x, filters, 3, "stem_1", stride=2, relu=0)
    left = blocks.conv(x, filters // 2, 1, "stem_2", relu=0)
    left = blocks.conv(left, filters, 3, "stem_3", stride=2, relu=0)
    right = layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(x)
    return blocks.conv(layers.Concatenate(name="stem_join")([left, right]), filters, 3, "stem", relu=0)


def _gather(x, name):
    """Gather and expansion: a 3×3 convolution whose channels a depthwise one multiplies by six."""
    y = blocks.conv(x, x.shape[-1], 3, f"{name}_gather", relu=0)
    y = blocks.depthwise(y, 3, f"{name}_expand", relu=None, depth_multiplier=6)
    y = blocks.conv(y, x.shape[-1], 1, f"{name}_project", relu=None)
    return layers.ReLU(name=name)(layers.Add(name=f"{name}_add")([x, y]))


def _gather_down(x, filters, name):
    y = blocks.conv(x, x.shape[-1], 3, f"{name}_gather", relu=0)
    y = blocks.depthwise(y, 3, f"{name}_expand", stride=2, relu=None, depth_multiplier=6)
    y = blocks.depthwise(y, 3, f"{name}_spread", relu=None)
    y = blocks.conv(y, filters, 1, f"{name}_project", relu=None)
    x = blocks.depthwise(x, 3, f"{name}_shortcut_depthwise", stride=2, relu=None)
    x = blocks.conv(x, filters, 1, f"{name}_shortcut", relu=None)
    return layers.ReLU(name=name)(layers.Add(name=f"{name}_add")([x, y]))


def _aggregate(detail, meaning, filters):
    """Weights each branch by the other, at both resolutions."""
    fine = blocks.depthwise(detail, 3, "detail_fine_depthwise", relu=None)
    fine = layers.Conv2D(filters, 1, use_bias=False, name="detail_fine")(fine)
    coarse = blocks.conv(detail, filters, 3, "detail_coarse", stride=2, relu=None)
    coarse = layers.AveragePooling2D(3, strides=2, padding="same", name="detail_coarse_pool")(coarse)

    gate = blocks.conv(meaning, filters, 3, "meaning_fine", relu=None)
    gate = layers.UpSampling2D(4, interpolation="bilinear", name="meaning_fine_up")(gate)
    gate = layers.Activation("sigmoid", name="meaning_fine_gate")(gate)
    fine = layers.Multiply(name="aggregation_fine")([fine, gate])

    gate = blocks.depthwise(meaning, 3, "meaning_coarse_depthwise", relu=None)
    gate = layers.Conv2D(filters, 1, use_bias=False, name="meaning_coarse")(gate)
    gate = layers.Activation("sigmoid", name="meaning_coarse_gate")(gate)
    coarse = layers.Multiply(name="aggregation_coarse")([coarse, gate])
    coarse = layers.UpSampling2D(4, interpolation="bilinear", name="aggregation_up")(coarse)

    x = layers.Add(name="aggregation_add")([fine, coarse])
    return blocks.conv(x, filters, 3, "aggregation", relu=None)
