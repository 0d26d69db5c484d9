"""The few Keras layers that are ours, each serialisable."""

from tfsegkd.layers.fixed_range import FixedRange
from tfsegkd.layers.spatial import CropLike, PadToStride, ResizeLike

__all__ = ["CropLike", "FixedRange", "PadToStride", "ResizeLike"]
