"""What each type of layer does with the scale of the numbers it gets.

An int8 tensor has one scale. Which layers may change it, and which may not, is a matter of TFLite's kernels.
A layer that is not filed here cannot be quantized.
"""

import enum
from collections.abc import Callable

from tfsegkd._keras import keras
from tfsegkd.layers import ChannelShuffle, CropLike, HardGate, MaxUnpooling, PadToStride, ResizeLike

layers = keras.layers


class Kind(enum.Enum):
    """How the output of a layer relates to its first input."""

    CARRIES = "the same values, elsewhere, on the same scale"
    AVERAGES = "new values on the same scale"
    JOINS = "one scale for all inputs and the output"
    COMPUTES = "new values on a scale of its own"


_KINDS: dict[type, Kind | Callable] = {}
# These look at their further inputs for a size only.
_SIZED_BY_SECOND: set[type] = {CropLike, ResizeLike}
# Which attribute holds the kernel of a layer, and which of its parts have their own scale. TFLite's
# transposed convolution takes one scale in every delegate, as does its fully connected layer.
KERNELS = {
    layers.Conv2D: ("kernel", "channel"),
    layers.DepthwiseConv2D: ("depthwise_kernel", "depthwise"),
    layers.Conv2DTranspose: ("kernel", "tensor"),
    layers.Dense: ("kernel", "tensor"),
}


def register(kind: Kind | Callable, *types: type) -> None:
    """Files layers by what they do with a scale, so that networks which have them can be quantized.

    Args:
        kind: A `Kind`, or a function that tells it from a layer.
        types: Layer classes, whose `call` must be a single operation that TFLite has in int8.
    """
    _KINDS.update(dict.fromkeys(types, kind))


def _by_interpolation(layer):
    return Kind.CARRIES if layer.interpolation == "nearest" else Kind.AVERAGES


register(
    Kind.CARRIES,
    layers.MaxPooling2D,
    layers.GlobalMaxPooling2D,
    layers.ZeroPadding2D,
    layers.Cropping2D,
    layers.Reshape,
    layers.Flatten,
    layers.Permute,
    layers.Dropout,
    layers.SpatialDropout2D,
    PadToStride,
    CropLike,
    ChannelShuffle,
    MaxUnpooling,
)
register(Kind.AVERAGES, ResizeLike)
register(_by_interpolation, layers.UpSampling2D, layers.Resizing)
register(Kind.JOINS, layers.Concatenate, layers.Maximum, layers.Minimum)
register(
    Kind.COMPUTES,
    *KERNELS,
    layers.BatchNormalization,
    layers.ReLU,
    layers.LeakyReLU,
    layers.Softmax,
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.GlobalAveragePooling2D,
    HardGate,
)
register(
    lambda layer: Kind.CARRIES if activation(layer) == "linear" else Kind.COMPUTES,
    layers.Activation,
)


def kind(layer: keras.layers.Layer) -> Kind:
    """What `layer` does with the scale of its input.

    Raises:
        KeyError: if its type is not filed.
    """
    found = _KINDS[type(layer)]
    return found if isinstance(found, Kind) else found(layer)


def is_known(layer: keras.layers.Layer) -> bool:
    return type(layer) in _KINDS


def known() -> list[str]:
    """The names of the types that are filed."""
    return sorted(one.__name__ for one in _KINDS)


def is_sized_by_second(layer: keras.layers.Layer) -> bool:
    return type(layer) in _SIZED_BY_SECOND


def activation(layer: keras.layers.Layer) -> str | None:
    """The name of a layer's own activation; None if it has none to have."""
    if type(layer) is layers.Softmax:
        return "softmax"
    function = getattr(layer, "activation", None)
    return function and getattr(function, "__name__", type(function).__name__)


def is_linear(layer: keras.layers.Layer) -> bool:
    """Whether `layer` has no activation of its own."""
    return activation(layer) in (None, "linear")
