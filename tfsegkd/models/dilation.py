"""Strides traded for dilations, so that a classifier's backbone keeps its resolution."""

from collections.abc import Iterable
from typing import NamedTuple


class Position(NamedTuple):
    """The position of a block in its backbone.

    Args:
        name: 'stride8' for the last block at stride 8, 'backbone_5' for block 5 if it is not the last.
        stride: The block's own stride.
        dilation: The dilation of the kernel with the stride.
        after: The dilation of the kernels after it.
        reached: The stride of its output.
    """

    name: str
    stride: int
    dilation: int
    after: int
    reached: int


def dilate(strides: Iterable[int], reached: int, output_stride: int) -> list[Position]:
    """Places blocks of the given strides so that no output is coarser than `output_stride`.

    Args:
        strides: Each block's stride in the classifier, 1 or 2.
        reached: The stride of the first block's input.
        output_stride: The largest stride of the outputs.
    """
    positions, dilation = [], 1
    for number, stride in enumerate(strides):
        spread = dilation
        if stride == 2 and reached == output_stride:
            # The block that would stride still reads the old grid; kernels after it are dilated by 2.
            stride, dilation = 1, dilation * 2
        reached *= stride
        positions.append(Position(f"backbone_{number}", stride, spread, dilation, reached))
    last = {position.reached: number for number, position in enumerate(positions)}
    for stride, number in last.items():
        positions[number] = positions[number]._replace(name=f"stride{stride}")
    return positions
