"""U-Net."""

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.models import blocks
from tfsegkd.models.registry import register

layers = keras.layers
FEATURE_LAYERS = ("stage1", "stage2", "stage3", "stage4", "context", "decoder", "logits")


@register("unet", feature_layers=FEATURE_LAYERS)
def unet(num_classes: int, input_shape: tuple[int, int, int], width: int = 64) -> keras.Model:
    """The classic encoder and decoder with skips and learned upsampling.

    Args:
        num_classes: How many classes the logits have.
        input_shape: (H, W, 3) in pixels; any size works.
        width: Channels of the first stage; each of the four further stages doubles them. 64 is the paper's
            network with 31.0 M parameters, 32 that of Buda et al. with 7.76 M, 8 a student of 0.5 M.

    Returns:
        A functional network: float32 pixels 0…255 in, logits (N, H, W, num_classes) out.

    Example:
        model = models.unet(num_classes=11, input_shape=(32, 32, 3), width=2)
        model.output_shape  # (None, 32, 32, 11)

    Reference:
        Ronneberger et al., MICCAI 2015, https://arxiv.org/abs/1505.04597, fig. 1.
        Buda et al., Computers in Biology and Medicine 2019,
        https://doi.org/10.1016/j.compbiomed.2019.05.002, with 32 channels, 'same' padding and BatchNorm.
        Differs: 'same' padding, and BatchNorm in place of the convolutions' biases.
    """
    checks.whole(width, 1, "width")
    inputs, x = blocks.pixels(input_shape, mean=127.5, std=127.5, stride=16)
    skips = []
    for stage in range(1, 5):
        x = _double(x, width * 2 ** (stage - 1), f"stage{stage}")
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"pool{stage}")(x)
    x = _double(x, width * 16, "context")
    for stage in range(4, 0, -1):
        filters = width * 2 ** (stage - 1)
        x = layers.Conv2DTranspose(filters, 2, strides=2, name=f"up{stage}")(x)
        x = layers.Concatenate(name=f"skip{stage}")([skips[stage - 1], x])
        x = _double(x, filters, f"decoder{stage}" if stage > 1 else "decoder")
    return keras.Model(inputs, blocks.logits(x, inputs, num_classes, factor=1), name="unet")


def _double(x, filters, name):
    x = blocks.conv(x, filters, 3, f"{name}_1", relu=0)
    return blocks.conv(x, filters, 3, name, relu=0)
