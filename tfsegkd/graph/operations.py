"""Operations of TensorFlow as Keras layers: AddV2 is an Add, ResizeBilinear an UpSampling2D.

`x + y`, `tf.add(x, y)` and `keras.ops.add(x, y)` are one operation, however they were written.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.graph.maps import (
    Affine,
    ChannelSelection,
    Clip,
    PoolPadding,
    UnsupportedLayerError,
    convolution,
    filled,
    permutation,
)
from tfsegkd.graph.nodes import Tensor
from tfsegkd.layers import ResizeLike

layers = keras.layers

SPLITS = ("Split", "SplitV")
_LOWEST = -1e30  # below it is what stands for minus infinity


@dataclass(frozen=True)
class Operation:
    """An operation of TensorFlow and what goes into it.

    Args:
        op: The operation.
        operands: Its inputs: tensors of the graph, or arrays that are the same for every image.
        selections: For each operand the channel of it that is meant, or None for all of it.
        same_size: height, width → a tensor that has this size whatever the input's size is, if there is one.
    """

    op: tf.Operation
    operands: Sequence[Tensor | np.ndarray]
    selections: Sequence[ChannelSelection | None]
    same_size: Callable[[int, int], Tensor | None]

    @property
    def tensors(self) -> list[Tensor]:
        return [operand for operand in self.operands if isinstance(operand, Tensor)]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its output, as traced."""
        return tuple(self.op.outputs[0].shape)

    def constant(self, number: int) -> np.ndarray:
        if isinstance(self.operands[number], Tensor):
            raise UnsupportedLayerError(f"its operand {number} depends on the image")
        return np.asarray(self.operands[number])


@dataclass(frozen=True)
class Chain:
    """Layers that do together what one operation does, in the order in which they run."""

    layers: Sequence[keras.layers.Layer]


# What a rule gives: a layer, a Chain or an elementary map, and what it is called on; or a tensor, the result.
Made = tuple[Any, Tensor | list[Tensor]] | Tensor


def translate(operation: Operation) -> Made:
    """The layer that does what an operation does, and what to call it on.

    Raises:
        UnsupportedLayerError: if there is none.
    """
    if any(operation.selections) and operation.op.type != "Pack":
        raise UnsupportedLayerError("it takes a single channel")
    rule = _RULES.get(operation.op.type)
    if rule is None:
        raise UnsupportedLayerError("no Keras layer does this")
    return rule(operation)


def _same(operation):
    return operation.tensors[0]


def _binary(joined, affine):
    """A layer for two tensors, and what the operation is when one side is a constant."""

    def rule(operation):
        tensors = operation.tensors
        if len(tensors) == len(operation.operands):
            if joined is None or len({len(tensor.shape) for tensor in tensors}) > 1:
                raise UnsupportedLayerError("no Keras layer does this to two tensors of these shapes")
            return joined(), tensors
        index = next(i for i, operand in enumerate(operation.operands) if not isinstance(operand, Tensor))
        return affine(_per_channel(operation.constant(index), tensors[0]), index), tensors[0]

    return rule


def _per_channel(constant, tensor):
    if constant.size == 1:
        return constant.reshape(())
    if constant.size != constant.shape[-1] or constant.size != tensor.shape[-1]:
        raise UnsupportedLayerError(f"its constant of shape {constant.shape} differs from place to place")
    return constant.reshape(-1)


def _plus(constant, _):
    return Affine(np.float32(1), constant)


def _minus(constant, index):
    return Affine(np.float32(1), -constant) if index else Affine(np.float32(-1), constant)


def _times(constant, _):
    return Affine(constant, np.float32(0))


def _over(constant, index):
    if not index:
        raise UnsupportedLayerError("it divides by what depends on the image")
    return Affine(np.float32(1) / constant, np.float32(0))


def _at_least(constant, _):
    return Clip(_number(constant), math.inf)


def _at_most(constant, _):
    return Clip(-math.inf, _number(constant))


def _number(constant):
    if constant.ndim:
        raise UnsupportedLayerError("its bound differs from channel to channel")
    return float(constant)


def _squared(operation):
    return layers.Multiply(), [operation.tensors[0]] * 2


def _negated(operation):
    return Affine(np.float32(-1), np.float32(0)), operation.tensors[0]


def _layer(make):
    return lambda operation: (make(operation.op), operation.tensors[0])


def _concatenate(operation):
    *parts, axis = operation.operands
    if not all(isinstance(part, Tensor) for part in parts):
        raise UnsupportedLayerError("it joins constants")
    axis = int(axis) % len(parts[0].shape)
    if not axis:
        raise UnsupportedLayerError("it joins images of a batch")
    return layers.Concatenate(-1 if axis == len(parts[0].shape) - 1 else axis), parts


def _stack(operation):
    """Single channels put together again, in another order."""
    source, axis = operation.operands[0], operation.op.get_attr("axis")
    same = all(operation.selections) and all(operand is source for operand in operation.operands)
    if not same or axis not in (-1, 3):
        raise UnsupportedLayerError("it makes an axis of several tensors")
    return permutation([selection.channel for selection in operation.selections], source.shape[-1]), source


def _resize(method):
    def rule(operation):
        op, tensor = operation.op, operation.tensors[0]
        # tf.image.resize asks for half pixel centers, and no Keras layer does without.
        if op.get_attr("align_corners") or not op.get_attr("half_pixel_centers"):
            raise UnsupportedLayerError("it aligns pixels in another way than tf.image.resize")
        height, width = operation.shape[1:3]
        if (height, width) == tensor.shape[1:3]:
            return tensor
        return enlarge(tensor, (height, width), operation.same_size(height, width), method=method)

    return rule


def enlarge(tensor: Tensor, size: tuple[int, int], reference: Tensor | None, method: str = "bilinear"):
    """The layer that resizes `tensor`, and what to call it on.

    Args:
        size: (height, width).
        reference: A tensor of that size, if there is one: the network then fits other sizes too.
    """
    factors = [there / here for there, here in zip(size, tensor.shape[1:3], strict=True)]
    if all(factor.is_integer() for factor in factors):
        return layers.UpSampling2D(tuple(map(int, factors)), interpolation=method), tensor
    if reference is not None and method == "bilinear":
        return ResizeLike(), [tensor, reference]
    return layers.Resizing(*size, interpolation=method), tensor


def _reshape(operation):
    tensor = operation.tensors[0]
    before, after = tuple(operation.op.inputs[0].shape), operation.shape
    if before[0] != after[0]:
        raise UnsupportedLayerError("it mixes the images of a batch")
    return tensor if before == after else (layers.Reshape(after[1:]), tensor)


def _transpose(operation):
    order = [int(axis) for axis in operation.constant(1)]
    if order[0] != 0:
        raise UnsupportedLayerError("it moves the images of a batch to another axis")
    return layers.Permute(tuple(order[1:])), operation.tensors[0]


def _gathered(over_image, over_channels):
    """Over height and width by a layer for that; over the channels, of which one is left, by layers."""

    def rule(operation):
        (tensor,), keepdims = operation.tensors, operation.op.get_attr("keep_dims")
        rank = len(tensor.shape)
        axes = sorted(int(axis) % rank for axis in np.atleast_1d(operation.constant(1)))
        if rank == 4 and axes == [1, 2] and over_image is not None:
            return over_image(keepdims=keepdims), tensor
        if rank == 4 and axes == [3] and keepdims:
            return over_channels(tensor), tensor
        raise UnsupportedLayerError(
            f"it gathers over the axes {axes} instead of height and width, or channels"
        )

    return rule


def _weighed(weight):
    def over_channels(tensor):
        count = tensor.shape[-1]
        kernel = np.full((1, 1, count, 1), weight(count), np.float32)
        return convolution(kernel, (1, 1), "valid", dilations=(1, 1))

    return over_channels


def _largest(tensor):
    """A pool along the channels, which lie beside each other for it."""
    _, height, width, count = tensor.shape
    return Chain(
        [
            layers.Reshape((height * width, count, 1)),
            layers.MaxPooling2D((1, count)),
            layers.Reshape((height, width, 1)),
        ]
    )


def _depth_to_space(operation):
    """As a transposed convolution that puts every channel in its place."""
    (tensor,), side = operation.tensors, _block(operation)
    count = tensor.shape[-1] // side**2
    kernel = np.zeros((side, side, count, tensor.shape[-1]), np.float32)
    for index in range(tensor.shape[-1]):
        kernel[index // count // side, index // count % side, index % count, index] = 1
    layer = layers.Conv2DTranspose(count, side, strides=side, use_bias=False, trainable=False)
    return filled(layer, tensor.shape[-1], [kernel]), tensor


def _space_to_depth(operation):
    (tensor,), side = operation.tensors, _block(operation)
    count = tensor.shape[-1]
    kernel = np.zeros((side, side, count, count * side**2), np.float32)
    for index in range(count * side**2):
        kernel[index // count // side, index // count % side, index % count, index] = 1
    return convolution(kernel, (side, side), "valid", dilations=(1, 1)), tensor


def _block(operation):
    if operation.op.get_attr("data_format") != b"NHWC":
        raise UnsupportedLayerError("it has channels first")
    return operation.op.get_attr("block_size")


def parts(operation: Operation) -> list[Made]:
    """What each output of a split is: some channels, or a window of the image.

    Raises:
        UnsupportedLayerError: if it splits something else.
    """
    op, (tensor,) = operation.op, operation.tensors
    axis = int(operation.constant(2 if op.type == "SplitV" else 0)) % len(tensor.shape)
    ends = np.cumsum([output.shape[axis] for output in op.outputs]).tolist()
    ranges = list(zip([0, *ends[:-1]], ends, strict=True))
    if len(tensor.shape) == 4 and axis == 3:
        return [(permutation(range(*one), tensor.shape[3]), tensor) for one in ranges]
    if len(tensor.shape) == 4 and axis in (1, 2):
        size, still = tensor.shape[axis], [(0, 0), (0, 0)]
        crops = [[*still[: axis - 1], (first, size - last), *still[axis:]] for first, last in ranges]
        return [(layers.Cropping2D(tuple(crop)), tensor) for crop in crops]
    raise UnsupportedLayerError("it splits something else than channels or the image")


def _pad(operation):
    amounts = operation.constant(1)
    value = operation.constant(2) if len(operation.operands) > 2 else 0
    if len(amounts) == 4 and not amounts[[0, 3]].any() and np.ndim(value) == 0 and value <= _LOWEST:
        return PoolPadding(tuple(map(tuple, amounts[1:3].tolist()))), operation.tensors[0]
    if np.any(value) or len(amounts) != 4 or amounts[[0, 3]].any():
        raise UnsupportedLayerError("it pads with something else than zeros around the image")
    return layers.ZeroPadding2D(tuple(map(tuple, amounts[1:3].tolist()))), operation.tensors[0]


def padded_pool(amounts, size, strides) -> Chain:
    """A max pool over an image that is padded by what is below everything in it.

    Raises:
        UnsupportedLayerError: for a padding that is not half of the pool on each side.
    """
    if any(pair != (side // 2, side // 2) for pair, side in zip(amounts, size, strict=True)):
        raise UnsupportedLayerError("it pads a max pool by something else than half of its size")
    # Keras' own padding is below everything too. With strides it would begin elsewhere.
    at_each = layers.MaxPooling2D(size, 1, "same")
    return Chain([at_each] if strides == (1, 1) else [at_each, layers.MaxPooling2D(1, strides)])


def _pool(make):
    def rule(operation):
        op = operation.op
        _, *size, _ = op.get_attr("ksize")
        _, *strides, _ = op.get_attr("strides")
        return make(tuple(size), tuple(strides), _padding(op)), operation.tensors[0]

    return rule


def _padding(op):
    """'valid' or 'same', as Keras has it."""
    padding = op.get_attr("padding").decode().lower()
    if padding == "explicit" or op.get_attr("data_format") != b"NHWC":
        raise UnsupportedLayerError("it pads on its own or has channels first")
    return padding


def _convolution(operation):
    op, kernel = operation.op, operation.constant(1)
    padding = _padding(op)
    strides, dilations = (tuple(op.get_attr(name)[1:3]) for name in ("strides", "dilations"))
    if kernel.shape[2] != operation.tensors[0].shape[-1]:
        raise UnsupportedLayerError("it convolves channels in groups")
    return convolution(kernel, strides, padding, dilations=dilations), operation.tensors[0]


def _slice(operation):
    """A window of the image, its channels the other way round, or one of them."""
    tensor, shape = operation.tensors[0], tuple(operation.op.inputs[0].shape)
    if len(shape) == 4 and operation.shape == shape[:3]:
        return ChannelSelection(_selected(operation) % shape[3]), tensor
    if operation.op.get_attr("new_axis_mask") and np.prod(operation.shape[1:]) == np.prod(shape[1:]):
        return layers.Reshape(operation.shape[1:]), tensor  # all of it, with axes of length 1
    slices = _slices(operation, len(shape))
    ranges = [range(size)[one] for one, size in zip(slices, shape, strict=True)]
    whole = [list(one) == list(range(size)) for one, size in zip(ranges, shape, strict=True)]
    if all(whole):
        return tensor
    if len(shape) == 4 and whole[0] and whole[3] and all(one.step >= 1 for one in ranges[1:3]):
        return _window(ranges[1:3], shape[1:3]), tensor
    if len(shape) == 4 and all(whole[:3]):
        return permutation(list(ranges[3]), shape[3]), tensor
    raise UnsupportedLayerError("it takes something else than a window of the image")


def _window(ranges, shape):
    """A part of the image, or every so many rows and columns of it."""
    cut = tuple((one.start, size - one[-1] - 1) for one, size in zip(ranges, shape, strict=True))
    steps = tuple(one.step for one in ranges)
    if steps == (1, 1):
        return layers.Cropping2D(cut)
    # A pool of one position takes what stands there.
    thinned = layers.MaxPooling2D(1, steps)
    return Chain([layers.Cropping2D(cut), thinned]) if np.any(cut) else thinned


def _selected(operation):
    begin, op = operation.constant(1), operation.op
    lasts = 1 << len(begin) - 1
    if op.get_attr("shrink_axis_mask") != lasts or op.get_attr("new_axis_mask"):
        raise UnsupportedLayerError("it takes a single row or column")
    return int(begin[-1])


def _slices(operation, rank):
    op = operation.op
    begin, end, step = (operation.constant(number) for number in (1, 2, 3))
    bits = {
        name: op.get_attr(f"{name}_mask") for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    if bits["new_axis"] or bits["shrink_axis"]:
        raise UnsupportedLayerError("it changes the number of axes")
    found = []
    for index in range(len(begin)):
        if bits["ellipsis"] >> index & 1:
            found += [slice(None)] * (rank - len(begin) + 1)
            continue
        first = None if bits["begin"] >> index & 1 else int(begin[index])
        last = None if bits["end"] >> index & 1 else int(end[index])
        found.append(slice(first, last, int(step[index])))
    return found + [slice(None)] * (rank - len(found))


_RULES: dict[str, Callable[[Operation], Made]] = {
    **dict.fromkeys(("Identity", "IdentityN", "EnsureShape"), _same),
    "Cast": _same,  # also to half precision: what is made of the network computes in float32
    **dict.fromkeys(("Add", "AddV2", "BiasAdd"), _binary(layers.Add, _plus)),
    "AddN": lambda operation: (layers.Add(), operation.tensors),
    "Sub": _binary(layers.Subtract, _minus),
    "Mul": _binary(layers.Multiply, _times),
    "RealDiv": _binary(None, _over),
    "Maximum": _binary(layers.Maximum, _at_least),
    "Minimum": _binary(layers.Minimum, _at_most),
    "Square": _squared,
    "Neg": _negated,
    "Relu": lambda operation: (Clip(0.0, math.inf), operation.tensors[0]),
    "Relu6": lambda operation: (Clip(0.0, 6.0), operation.tensors[0]),
    "LeakyRelu": _layer(lambda op: layers.LeakyReLU(round(op.get_attr("alpha"), 7))),
    "Elu": _layer(lambda op: layers.ELU()),
    **{
        kind: _layer(lambda op, kind=kind: layers.Activation(kind.lower()))
        for kind in ("Sigmoid", "Tanh", "Selu", "Softplus", "Softsign")
    },
    "Softmax": _layer(lambda op: layers.Softmax()),
    "ConcatV2": _concatenate,
    "Pack": _stack,
    "ResizeBilinear": _resize("bilinear"),
    "ResizeNearestNeighbor": _resize("nearest"),
    **dict.fromkeys(("Reshape", "Squeeze", "ExpandDims"), _reshape),
    "Transpose": _transpose,
    "Mean": _gathered(layers.GlobalAveragePooling2D, _weighed(lambda count: 1 / count)),
    "Max": _gathered(layers.GlobalMaxPooling2D, _largest),
    "Sum": _gathered(None, _weighed(lambda count: 1.0)),
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    **dict.fromkeys(("Pad", "PadV2"), _pad),
    "MaxPool": _pool(layers.MaxPooling2D),
    "AvgPool": _pool(layers.AveragePooling2D),
    "StridedSlice": _slice,
    "Conv2D": _convolution,
}
