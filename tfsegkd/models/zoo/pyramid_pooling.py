"""Pyramid pooling, which PSPNet and Fast-SCNN share."""

from collections.abc import Callable

from tfsegkd._keras import keras
from tfsegkd.layers import AdaptiveMean, ResizeLike
from tfsegkd.models import blocks

layers = keras.layers


def pyramid_pooling(x, bins: tuple[int, ...], name: str, conv: Callable = blocks.conv):
    """Joins `x` with its means over coarser and coarser windows.

    Args:
        bins: The grids of windows: 1 is the whole image, 6 is 6×6 windows. Each gives an equal share of
            as many channels as `x` has.
        conv: Makes the 1×1 convolutions: (x, filters, kernel, name).

    Reference:
        Zhao et al., CVPR 2017, https://arxiv.org/abs/1612.01105, section 3.2.
        Differs: resizes without aligning corners.
    """
    branches = [x]
    for number in bins:
        if number == 1:
            y = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool1")(x)
        else:
            y = AdaptiveMean(number, name=f"{name}_pool{number}")(x)
        y = conv(y, x.shape[-1] // len(bins), 1, f"{name}_bin{number}")
        branches.append(ResizeLike(name=f"{name}_resize{number}")([y, x]))
    return layers.Concatenate(name=f"{name}_join")(branches)
