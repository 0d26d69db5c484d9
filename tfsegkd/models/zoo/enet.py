"""ENet."""

from tfsegkd._keras import keras
from tfsegkd.layers import CropLike
from tfsegkd.models import blocks
from tfsegkd.models.registry import register

layers = keras.layers
FEATURE_LAYERS = ("stride2", "stride4", "stride8", "decoder4", "decoder", "logits")

# the kinds of the eight bottlenecks that run twice at stride 8, and their dilations
_CONTEXT = (
    ("regular", 1),
    ("regular", 2),
    ("asymmetric", 1),
    ("regular", 4),
    ("regular", 1),
    ("regular", 8),
    ("asymmetric", 1),
    ("regular", 16),
)


@register("enet", feature_layers=FEATURE_LAYERS)
def enet(
    num_classes: int,
    input_shape: tuple[int, int, int],
    width_multiplier: float = 1.0,
    unpooling: str = "mask",
) -> keras.Model:
    """A third of a million parameters: bottlenecks with dilated and asymmetric convolutions at stride 8.

    Args:
        num_classes: How many classes the logits have.
        input_shape: (H, W, 3) in pixels; any size works.
        width_multiplier: Scales the channels of every layer, rounded to multiples of 8.
        unpooling: 'mask' puts values back at the positions of the maxima; 'upsample' enlarges bilinearly,
            which runs in one partition in int8.

    Returns:
        A functional network: float32 pixels 0…255 in, logits (N, H, W, num_classes) out.

    Raises:
        ValueError: for an unknown unpooling.

    Example:
        model = models.enet(num_classes=11, input_shape=(32, 32, 3), width_multiplier=0.25)
        model.output_shape  # (None, 32, 32, 11)

    Reference:
        Paszke et al. 2016, https://arxiv.org/abs/1606.02147, table 1.
        Differs: ReLU in place of PReLU; positions of maxima found by comparison. Where a block has more
            channels
        than its shortcut, the new ones are joined to the sum instead of added to zeros, which is the same.
    """
    wide = blocks.widths(width_multiplier, least=0.25)
    inputs, x = blocks.pixels(input_shape, mean=127.5, std=127.5, stride=8)
    pooled = layers.MaxPooling2D(2, name="stride2_pool")(x)
    x = layers.Conv2D(wide(16) - 3, 3, strides=2, padding="same", use_bias=False, name="stride2_conv")(x)
    x = blocks.norm_relu(layers.Concatenate(name="stride2_join")([x, pooled]), "stride2", relu=0)

    fine = x
    x, pooled_fine = _down(x, wide(64), "stride4_down", dropout=0.01)
    for number in range(1, 5):
        x = _bottleneck(x, "stride4" if number == 4 else f"stride4_{number}", dropout=0.01)
    coarse = x
    x, pooled_coarse = _down(x, wide(128), "stride8_down", dropout=0.1)
    for number, (kind, dilation) in enumerate(_CONTEXT * 2, start=1):
        name = "stride8" if number == 16 else f"stride8_{number}"
        x = _bottleneck(x, name, dropout=0.1, kind=kind, dilation=dilation)

    x = _up(x, coarse, pooled_coarse, "decoder4_up", unpooling)
    x = _bottleneck(_bottleneck(x, "decoder4_1"), "decoder4")
    x = _up(x, fine, pooled_fine, "decoder_up", unpooling)
    x = _bottleneck(x, "decoder")
    x = layers.Conv2DTranspose(num_classes, 2, strides=2, name="classifier")(x)
    return keras.Model(inputs, CropLike(name="logits")([x, inputs]), name="enet")


def _bottleneck(x, name, dropout=0.0, kind="regular", dilation=1):
    filters = x.shape[-1]
    y = blocks.conv(x, filters // 4, 1, f"{name}_reduce", relu=0)
    y = _middle(y, name, kind, dilation)
    y = _drop(blocks.conv(y, filters, 1, f"{name}_expand", relu=None), dropout, f"{name}_expand")
    return layers.ReLU(name=name)(layers.Add(name=f"{name}_add")([x, y]))


def _down(x, filters, name, dropout):
    """Halves the grid; returns the result and the maxima, whose positions the decoder needs."""
    pooled = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    y = blocks.conv(x, filters // 4, 2, f"{name}_reduce", stride=2, relu=0)
    y = _middle(y, name)
    old, new = x.shape[-1], filters - x.shape[-1]
    added = _drop(blocks.conv(y, old, 1, f"{name}_expand", relu=None), dropout, f"{name}_expand")
    joined = _drop(blocks.conv(y, new, 1, f"{name}_widen", relu=None), dropout, f"{name}_widen")
    added = layers.Add(name=f"{name}_add")([pooled, added])
    x = layers.Concatenate(name=f"{name}_join")([added, joined])
    return layers.ReLU(name=name)(x), pooled


def _up(x, before, pooled, name, unpooling):
    filters = before.shape[-1]
    y = blocks.conv(x, filters // 4, 1, f"{name}_reduce", relu=0)
    y = layers.Conv2DTranspose(filters // 4, 3, strides=2, padding="same", name=f"{name}_middle_conv")(y)
    y = blocks.norm_relu(y, f"{name}_middle", relu=0)
    y = blocks.conv(y, filters, 1, f"{name}_expand", relu=None)
    x = blocks.conv(x, filters, 1, f"{name}_shortcut", relu=None)
    x = blocks.unpool(x, before, pooled, name=f"{name}_unpool", unpooling=unpooling)
    return layers.ReLU(name=name)(layers.Add(name=f"{name}_add")([x, y]))


def _middle(x, name, kind="regular", dilation=1):
    filters = x.shape[-1]
    if kind == "regular":
        return blocks.conv(x, filters, 3, f"{name}_middle", dilation=dilation, relu=0, bias=True)
    x = layers.Conv2D(filters, (5, 1), padding="same", use_bias=False, name=f"{name}_column")(x)
    return blocks.conv(x, filters, (1, 5), f"{name}_middle", relu=0, bias=True)


def _drop(x, dropout, name):
    return layers.SpatialDropout2D(dropout, name=f"{name}_dropout")(x) if dropout else x
