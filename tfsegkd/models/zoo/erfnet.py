"""ERFNet and its variants with depthwise and grouped convolutions."""

import re

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.layers import ChannelShuffle, CropLike
from tfsegkd.models import blocks
from tfsegkd.models.registry import register

layers = keras.layers
FEATURE_LAYERS = ("stride2", "stride4", "stride8", "decoder4", "decoder", "logits")

_DILATIONS = (2, 4, 8, 16) * 2


@register("erfnet", feature_layers=FEATURE_LAYERS)
def erfnet(
    num_classes: int,
    input_shape: tuple[int, int, int],
    width_multiplier: float = 1.0,
    block: str = "erf",
    where: str = "all",
    decoder: str = "erfnet",
    dropout: float = 0.3,
) -> keras.Model:
    """Residual blocks of 3×1 and 1×3 convolutions with growing dilations, at stride 8.

    Args:
        num_classes: How many classes the logits have.
        input_shape: (H, W, 3) in pixels; any size works.
        width_multiplier: Scales the channels of every layer, rounded to multiples of 8.
        block: The encoder's residual block: 'erf', the paper's; 'd', two depthwise separable convolutions;
            'dg2', 'dg4', 'dg8', the same with their 1×1 convolutions in as many groups; 'dg2s' and so on,
            with the channels shuffled between the two.
        where: 'all' uses `block` for all 13 blocks of the encoder, 'selective' for the last 2
            of 5 at stride 4 and the last 4 of 8 at stride 8.
        decoder: 'erfnet'; 'light', 1×1 convolutions instead of learned upsampling, and every second residual
            block a 'd'; or 'none', a 1×1 convolution to the classes and bilinear upsampling, for
            training the encoder before a decoder is added (see `tfsegkd.models.initialize_from`).
        dropout: The share of channels that each residual block at stride 8 drops while training; those at
            stride 4 drop a tenth of it. Narrow networks with short trainings may be better without.

    Returns:
        A functional network: float32 pixels 0…255 in, logits (N, H, W, num_classes) out.

    Raises:
        ValueError: for an unknown choice, or a share that is not one.

    Example:
        model = models.erfnet(num_classes=11, input_shape=(32, 32, 3), width_multiplier=0.25)
        model.output_shape  # (None, 32, 32, 11)

    Reference:
        Romera et al., T-ITS 2018, https://doi.org/10.1109/TITS.2017.2750080, table I.
        Vallurupalli et al. 2018, https://arxiv.org/abs/1806.08522, for `block`, `where` and 'light'.
        Differs: with 'none', ERFNet's authors compare logits at stride 8 with reduced labels.
        Reconstruction: the latter's light decoder is known by its parameters and MACs. A 'd' block dilates
        its second depthwise convolution and has the dropout of the block that it replaces.
    """
    checks.one_of(where, ("all", "selective"), "where")
    checks.one_of(decoder, ("erfnet", "light", "none"), "decoder")
    checks.in_range(dropout, 0.0, 1.0, "dropout")
    residual = _residual(block)
    skipped = {"all": {64: 0, 128: 0}, "selective": {64: 3, 128: 4}}[where]
    wide = blocks.widths(width_multiplier, least=0.25)
    inputs, x = blocks.pixels(input_shape, mean=127.5, std=127.5, stride=8)
    x = _down(x, wide(16), "stride2")
    for channels, stride, dilations in ((64, 4, (1,) * 5), (128, 8, _DILATIONS)):
        x = _down(x, wide(channels), f"stride{stride}_down")
        for number, dilation in enumerate(dilations):
            make = residual if number >= skipped[channels] else _erf
            name = f"stride{stride}" if number == len(dilations) - 1 else f"stride{stride}_{number + 1}"
            x = make(x, name, dilation, dropout if stride == 8 else dropout / 10)
    if decoder == "none":
        x = layers.Conv2D(num_classes, 1, name="encoder_classifier")(x)
        x = layers.UpSampling2D(8, interpolation="bilinear", name="encoder_resize")(x)
    else:
        up, second = (_deconvolution, _erf) if decoder == "erfnet" else (_resize, _residual("d"))
        for channels, name in ((64, "decoder4"), (16, "decoder")):
            x = up(x, wide(channels), f"{name}_up")
            x = _erf(x, f"{name}_1", 1, 0.0)
            x = second(x, name, 1, 0.0)
        x = layers.Conv2DTranspose(num_classes, 2, strides=2, name="classifier")(x)
    return keras.Model(inputs, CropLike(name="logits")([x, inputs]), name="erfnet")


def _residual(block):
    """The function that makes one residual block."""
    if block == "erf":
        return _erf
    match = re.fullmatch(r"d(?:g([248])(s?))?", str(block))
    if match is None:
        choices = ["erf", "d", "dg2", "dg4", "dg8", "dg2s", "dg4s", "dg8s"]
        raise ValueError(f"block must be one of {choices}. Received: {block!r}.")
    groups, shuffle = int(match[1] or 1), bool(match[2])

    def separable_pair(x, name, dilation, dropout):
        filters = x.shape[-1]
        y = blocks.depthwise(x, 3, f"{name}_depthwise1", relu=0)
        y = blocks.conv(y, filters, 1, f"{name}_pointwise1", relu=None, groups=groups)
        if shuffle:
            y = ChannelShuffle(groups, name=f"{name}_shuffle")(y)
        y = blocks.depthwise(y, 3, f"{name}_depthwise2", dilation=dilation, relu=0)
        y = blocks.conv(y, filters, 1, f"{name}_pointwise2", relu=None, groups=groups)
        return _join(x, y, name, dropout)

    return separable_pair


def _erf(x, name, dilation, dropout):
    filters = x.shape[-1]
    y = _conv_relu(x, filters, (3, 1), f"{name}_1a")
    y = blocks.conv(y, filters, (1, 3), f"{name}_1b", relu=0, bias=True)
    y = _conv_relu(y, filters, (3, 1), f"{name}_2a", (dilation, 1))
    y = blocks.conv(y, filters, (1, 3), f"{name}_2b", dilation=(1, dilation), relu=None, bias=True)
    return _join(x, y, name, dropout)


def _conv_relu(x, filters, kernel, name, dilation=1):
    x = layers.Conv2D(
        filters,
        kernel,
        padding="same",
        dilation_rate=dilation,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return layers.ReLU(name=name)(x)


def _join(x, y, name, dropout):
    if dropout:
        y = layers.SpatialDropout2D(dropout, name=f"{name}_dropout")(y)
    return layers.ReLU(name=name)(layers.Add(name=f"{name}_add")([x, y]))


def _down(x, filters, name):
    pooled = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    x = layers.Conv2D(filters - x.shape[-1], 3, strides=2, padding="same", name=f"{name}_conv")(x)
    return blocks.norm_relu(layers.Concatenate(name=f"{name}_join")([x, pooled]), name, relu=0)


def _deconvolution(x, filters, name):
    x = layers.Conv2DTranspose(filters, 3, strides=2, padding="same", name=f"{name}_conv")(x)
    return blocks.norm_relu(x, name, relu=0)


def _resize(x, filters, name):
    x = layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_resize")(x)
    return blocks.conv(x, filters, 1, name, relu=0, bias=True)
