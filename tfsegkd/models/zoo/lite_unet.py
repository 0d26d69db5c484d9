"""A pretrained student for phones."""

from functools import partial

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.models import backbones, blocks
from tfsegkd.models.registry import register
from tfsegkd.models.zoo.light_decoder import light_decoder

FEATURE_LAYERS = ("stride4", "stride8", "stride16", "context", "decoder", "logits")
_BACKBONE = "efficientnet_lite0"
# The stride after each number of stages of the backbone.
_ENDS = {4: 16, 5: 16, 7: 32}


@register("lite_unet", feature_layers=FEATURE_LAYERS)
def lite_unet(
    num_classes: int,
    input_shape: tuple[int, int, int],
    stages: int = 5,
    width: int = 48,
    weights: str | None = "imagenet",
) -> keras.Model:
    """The first stages of EfficientNet-Lite0, pretrained, and a light decoder with skips to stride 4.

    With 11 classes about 0.76 M parameters. Every operation runs in int8 on XNNPACK in one partition: ReLU6
    fuses into the convolutions, the global context is a mean, and all resizing is bilinear.

    Args:
        num_classes: How many classes the logits have.
        input_shape: (H, W, 3) in pixels; any size works.
        stages: 4, 5 or 7: after how many stages the backbone ends; after 4 and 5 at stride 16, after 7 at
            stride 32.
        width: Channels at the end of the decoder, a multiple of 8 best; its other parts keep their ratio
            to it. The width of the backbone is fixed.
        weights: 'imagenet' for the backbone, from the `[pretrained]` extra, or None for random ones.

    Returns:
        A functional network: float32 pixels 0…255 in, logits (N, H, W, num_classes) out.

    Raises:
        ValueError: for an unknown choice, or images smaller than the backbone's stride.
        ImportError: if the weights' extra is not installed.

    Example:
        model = models.lite_unet(num_classes=11, input_shape=(32, 32, 3), stages=4, weights=None)
        model.output_shape  # (None, 32, 32, 11)
    """
    checks.one_of(stages, tuple(_ENDS), "stages")
    checks.whole(width, 8, "width")
    wide = partial(blocks.scaled, width_multiplier=width / 48)
    stride = _ENDS[stages]
    inputs, features = backbones.backbone(_BACKBONE, input_shape, stride, weights, stages=stages)
    x = light_decoder(features, stride, wide)
    model = keras.Model(inputs, blocks.logits(x, inputs, num_classes, factor=4), name="lite_unet")
    backbones.load_weights(model, _BACKBONE, stride, weights, stages=stages)
    return model
