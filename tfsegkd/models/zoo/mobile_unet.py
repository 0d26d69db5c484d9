"""A small student for phones."""

from tfsegkd._keras import keras
from tfsegkd.models import blocks
from tfsegkd.models.registry import register
from tfsegkd.models.zoo.light_decoder import light_decoder

FEATURE_LAYERS = ("stride4", "stride8", "stride16", "context", "decoder", "logits")


@register("mobile_unet", feature_layers=FEATURE_LAYERS)
def mobile_unet(
    num_classes: int, input_shape: tuple[int, int, int], width_multiplier: float = 1.0
) -> keras.Model:
    """An inverted-residual encoder to stride 16 and a light decoder with skips to stride 4.

    About 0.27 M parameters. Every operation runs in int8 on XNNPACK in one partition: ReLU6 fuses into the
    convolutions, the global context is a Mean, and all resizing is bilinear.

    Args:
        num_classes: How many classes the logits have.
        input_shape: (H, W, 3) in pixels; any size works.
        width_multiplier: Scales the channels of every layer, rounded to multiples of 8.

    Returns:
        A functional network: float32 pixels 0…255 in, logits (N, H, W, num_classes) out.

    Example:
        model = models.mobile_unet(num_classes=11, input_shape=(32, 32, 3), width_multiplier=0.25)
        model.output_shape  # (None, 32, 32, 11)
    """
    wide = blocks.widths(width_multiplier)
    inputs, x = blocks.pixels(input_shape, mean=127.5, std=127.5, stride=16)
    x = blocks.conv(x, wide(16), 3, "stem", stride=2)
    x = blocks.inverted_residual(x, wide(16), "stride2", expansion=1)
    features = {}
    for stride, channels, dilations in ((4, 24, (1, 1)), (8, 40, (1, 1, 1)), (16, 80, (1, 1, 2, 4))):
        for number, dilation in enumerate(dilations, start=1):
            x = blocks.inverted_residual(
                x,
                wide(channels),
                f"stride{stride}" + ("" if number == len(dilations) else f"_{number}"),
                stride=2 if number == 1 else 1,
                expansion=4,
                dilation=dilation,
            )
        features[stride] = x
    x = light_decoder(features, 16, wide)
    return keras.Model(inputs, blocks.logits(x, inputs, num_classes, factor=4), name="mobile_unet")
