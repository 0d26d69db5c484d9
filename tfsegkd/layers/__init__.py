"""The few Keras layers that are ours, each serialisable."""

from tfsegkd.layers.channels import ChannelShuffle, HardGate
from tfsegkd.layers.fixed_range import FixedRange
from tfsegkd.layers.int8 import GridGain, StripMean
from tfsegkd.layers.pooling import AdaptiveMean, MaxUnpooling
from tfsegkd.layers.repetition import RepeatPixels
from tfsegkd.layers.spatial import CropLike, PadToStride, ResizeLike

__all__ = [
    "AdaptiveMean",
    "ChannelShuffle",
    "CropLike",
    "FixedRange",
    "GridGain",
    "HardGate",
    "MaxUnpooling",
    "PadToStride",
    "RepeatPixels",
    "ResizeLike",
    "StripMean",
]
