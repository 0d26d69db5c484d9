"""The decoder of the students for phones."""

from collections.abc import Callable

from tfsegkd._keras import keras
from tfsegkd.layers import ResizeLike
from tfsegkd.models import blocks

layers = keras.layers
_CONTEXT = 96
_FILTERS = {16: 96, 8: 64, 4: 48}


def light_decoder(features: dict, deepest: int, wide: Callable[[int], int]):
    """Adds the global context, then doubles the resolution and joins a skip, up to stride 4.

    Args:
        features: The last feature of the encoder at each stride, {4: …, 8: …, 16: …[, 32: …]}.
        deepest: The stride of the first step: 16 or 32.
        wide: Scales the channels.

    Returns:
        The decoder's last feature, at stride 4. Its layers: 'context', and 'decoder16', 'decoder8', 'decoder'
        if there are these steps.
    """
    x = _context(features[deepest], wide(_CONTEXT))
    for stride, filters in _FILTERS.items():
        if stride >= deepest:
            continue
        x = layers.UpSampling2D(2, interpolation="bilinear", name=f"up{stride}")(x)
        skip = blocks.conv(features[stride], wide(filters // 2), 1, f"skip{stride}")
        x = layers.Concatenate(name=f"join{stride}")([x, skip])
        x = blocks.separable(x, wide(filters), "decoder" if stride == 4 else f"decoder{stride}")
    return x


def _context(x, filters):
    """Adds the global context to every position."""
    local = blocks.conv(x, filters, 1, "context_local", relu=None)
    everywhere = layers.GlobalAveragePooling2D(keepdims=True, name="context_pool")(x)
    everywhere = layers.Conv2D(filters, 1, name="context_global")(everywhere)
    everywhere = ResizeLike(name="context_resize")([everywhere, local])
    x = layers.Add(name="context_add")([local, everywhere])
    return layers.ReLU(6.0, name="context")(x)
