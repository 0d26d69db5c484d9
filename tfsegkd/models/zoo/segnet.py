"""SegNet."""

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.models import blocks
from tfsegkd.models.registry import register

layers = keras.layers
FEATURE_LAYERS = ("stage3", "stage4", "stage5", "decoder5", "decoder3", "decoder", "logits")

# convolutions and channels, in widths, of the five stages: VGG16 without its dense layers
_STAGES = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))


@register("segnet", feature_layers=FEATURE_LAYERS)
def segnet(
    num_classes: int, input_shape: tuple[int, int, int], width: int = 64, unpooling: str = "mask"
) -> keras.Model:
    """VGG16 as the encoder and its mirror image as the decoder, which unpools to the positions of the maxima.

    Args:
        num_classes: How many classes the logits have.
        input_shape: (H, W, 3) in pixels; any size works.
        width: Channels of the first stage. 64 is the paper's network with 29.4 M parameters.
        unpooling: 'mask' puts values back at the positions of the maxima; 'upsample' enlarges bilinearly,
            which runs in one partition in int8.

    Returns:
        A functional network: float32 pixels 0…255 in, logits (N, H, W, num_classes) out.

    Raises:
        ValueError: for an unknown unpooling.

    Example:
        model = models.segnet(num_classes=11, input_shape=(32, 32, 3), width=2)
        model.output_shape  # (None, 32, 32, 11)

    Reference:
        Badrinarayanan et al., PAMI 2017, https://arxiv.org/abs/1511.00561, fig. 2.
        Differs: BatchNorm in place of the convolutions' biases; positions of maxima found by comparison.
    """
    checks.whole(width, 1, "width")
    inputs, x = blocks.pixels(input_shape, mean=127.5, std=127.5, stride=32)
    pools = []
    for stage, (convs, widths) in enumerate(_STAGES, start=1):
        x = _convs(x, [width * widths] * convs, f"stage{stage}")
        before, x = x, layers.MaxPooling2D(2, name=f"pool{stage}")(x)
        pools.append((before, x))
    for stage in range(5, 0, -1):
        convs, widths = _STAGES[stage - 1]
        x = blocks.unpool(x, *pools[stage - 1], name=f"unpool{stage}", unpooling=unpooling)
        below = _STAGES[max(stage - 2, 0)][1]
        # The first stage's second convolution is the classifier.
        filters = [width * widths] * (convs - 1) + ([width * below] if stage > 1 else [])
        x = _convs(x, filters, f"decoder{stage}" if stage > 1 else "decoder")
    return keras.Model(inputs, blocks.logits(x, inputs, num_classes, factor=1, kernel=3), name="segnet")


def _convs(x, filters, name):
    for number, channels in enumerate(filters, start=1):
        x = blocks.conv(x, channels, 3, name if number == len(filters) else f"{name}_{number}", relu=0)
    return x
