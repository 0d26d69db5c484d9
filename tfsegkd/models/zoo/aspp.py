"""Atrous spatial pyramid pooling, which the DeepLab family shares."""

from collections.abc import Callable

from tfsegkd._keras import keras
from tfsegkd.layers import ResizeLike
from tfsegkd.models import blocks

layers = keras.layers


def fitting_rates(grid: tuple[int, int]) -> tuple[int, int, int]:
    """Dilations that reach over `grid`, (height, width), as far as the paper's 6, 12 and 18 over its 33×33.

    A branch whose dilation exceeds the grid reads only padding besides its center.
    """
    step = min(6, max(1, round(min(grid) * 6 / 33)))
    return step, 2 * step, 3 * step


def aspp(
    x,
    filters: int,
    rates: tuple[int, ...],
    dropout: float,
    conv: Callable = blocks.conv,
    spread: Callable = blocks.separable,
):
    """Atrous spatial pyramid pooling: convolutions of several dilations, and the mean over the image.

    Args:
        filters: Channels of each branch and of the result.
        rates: Dilations of the 3×3 branches, in positions of the grid of `x`.
        dropout: The share of the result's channels dropped while training.
        conv: Makes the 1×1 convolutions: (x, filters, kernel, name).
        spread: Makes the 3×3 branches: (x, filters, name, dilation=…).

    Reference:
        Chen et al. 2017, https://arxiv.org/abs/1706.05587, fig. 5.
    """
    branches = [conv(x, filters, 1, "aspp_1x1")]
    branches += [spread(x, filters, f"aspp_{rate}", dilation=rate) for rate in rates]
    everywhere = layers.GlobalAveragePooling2D(keepdims=True, name="aspp_pool")(x)
    everywhere = conv(everywhere, filters, 1, "aspp_global")
    branches.append(ResizeLike(name="aspp_resize")([everywhere, x]))
    x = layers.Concatenate(name="aspp_join")(branches)
    x = conv(x, filters, 1, "aspp")
    return layers.Dropout(dropout, name="aspp_dropout")(x)
