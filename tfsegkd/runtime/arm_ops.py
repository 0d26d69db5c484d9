"""Ops of a .tflite as files of their own, reduced to what their instructions on a core depend on.

An op takes the same number for all weights and images: its type, shapes and options choose the kernel. A
kernel repeats itself for the rows of an image: two strips of a large op give the number for all rows.
"""

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfsegkd.runtime.model_file import Editor, schema
from tfsegkd.runtime.op_times import resolve_shapes

# Products from which on an op is counted in strips.
_LARGE = 2**24
# Kernels work on 4 or 6 positions at once: of strips that hold a multiple of both, each costs alike.
_TILE, _LEAST = 12, 48


@dataclass(frozen=True)
class OpAlone:
    """One op.

    Args:
        name: Its type and the name of its output, as in `OpReport`.
        key: What its instructions depend on; ops of one key take the same.
        parts: Factors and functions that make files; the op takes the sum of what they take by these factors.
    """

    name: str
    key: str
    parts: tuple[tuple[float, Callable[[], bytes]], ...]


def ops_by_kind(content: bytes) -> list[OpAlone]:
    """The ops of a .tflite in the order in which they run."""
    editor = Editor(content)
    resolve_shapes(editor, content)
    found = []
    for operator in editor.operators:
        alone = editor.extract(operator)
        name = f"{editor.kind(operator)} {editor.name(int(operator.outputs[0]))}"
        found.append(OpAlone(name, _key(alone), _parts(alone)))
    return found


def _parts(alone: Editor) -> tuple[tuple[float, Callable[[], bytes]], ...]:
    operator = alone.operators[0]
    output = alone.shape(int(operator.outputs[0]))
    if len(output) != 4 or _products(alone, operator) < _LARGE:
        return ((1.0, alone.pack),)
    every = operator.builtinOptions.strideH if alone.kind(operator) == "TRANSPOSE_CONV" else 1
    height, columns = output[1], output[2] // every
    # An enlargement by one might be a copy.
    copied = alone.shape(int(operator.inputs[0]))[1] if alone.kind(operator) == "RESIZE_BILINEAR" else 0
    fits = (
        rows
        for rows in range(every + height % every, height, every)
        if rows != copied and (rows // every * columns) >= _LEAST and rows // every * columns % _TILE == 0
    )
    low = next(fits, height)
    high = next(fits, height)
    if low + high > 0.6 * height:
        return ((1.0, alone.pack),)
    slope = (height - low) / (high - low)
    return (1 - slope, lambda: _strip(alone, low)), (slope, lambda: _strip(alone, high))


def _products(alone: Editor, operator: schema.OperatorT) -> int:
    """How many products an op of the kinds that can be cut into strips computes; 0 for others."""
    kind, results = alone.kind(operator), int(np.prod(alone.shape(int(operator.outputs[0]))))
    if kind == "RESIZE_BILINEAR":
        return 4 * results
    if kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"):
        return 0
    kernel = alone.shape(int(operator.inputs[1]))
    return results * int(np.prod(kernel[1:3] if kind == "DEPTHWISE_CONV_2D" else kernel[1:]))


def _strip(alone: Editor, rows: int) -> bytes:
    """The op with only so many rows in its output."""
    kept = [copy.copy(tensor) for tensor in alone.tensors], list(alone.model.buffers)
    operator = alone.operators[0]
    kind, less = alone.kind(operator), alone.shape(int(operator.outputs[0]))[1] - rows
    try:
        _set_height(alone, int(operator.outputs[0]), -less)
        if kind == "RESIZE_BILINEAR":
            _set_value(alone, int(operator.inputs[1]), 0, rows)
        elif kind == "TRANSPOSE_CONV":
            _set_value(alone, int(operator.inputs[0]), 1, rows)
            _set_height(alone, int(operator.inputs[2]), -less // operator.builtinOptions.strideH)
        else:
            _set_height(alone, int(operator.inputs[0]), -less * operator.builtinOptions.strideH)
        return alone.pack()
    finally:
        alone.graph.tensors[:], alone.model.buffers[:] = kept


def _set_height(alone: Editor, tensor: int, more: int) -> None:
    batch, height, width, channels = alone.shape(tensor)
    alone.tensors[tensor].shape = np.array([batch, height + more, width, channels], np.int32)


def _set_value(alone: Editor, tensor: int, index: int, value: int) -> None:
    values = alone.values(tensor).copy()
    values[index] = value
    alone.tensors[tensor].buffer = alone.add_buffer(values.tobytes())


def _key(alone: Editor) -> str:
    operator = alone.operators[0]
    # Which tensors have one scale: some kernels then copy where they would have to compute.
    scales: dict[Any, int] = {}
    parts = [alone.kind(operator), operator.builtinOptionsType, _plain(operator.builtinOptions)]
    for number in (*operator.inputs, *operator.outputs):
        if number < 0:
            parts.append(None)
            continue
        tensor = alone.tensors[number]
        found = tensor.quantization
        scale = () if found is None or found.scale is None else tuple(map(float, found.scale))
        offset = () if found is None or found.zeroPoint is None else tuple(map(int, found.zeroPoint))
        values = alone.values(int(number))
        # Sizes, axes and paddings, of which the others are scaled.
        matter = values is not None and values.dtype.kind == "i" and values.itemsize > 1 and not scale
        per_channel = len(scale) > 1
        parts.append(
            [
                int(tensor.type),
                list(alone.shape(int(number))),
                alone.is_constant(int(number)),
                len(scale) if per_channel else scales.setdefault((scale, offset), len(scales)),
                values.ravel().tolist() if matter else None,
            ]
        )
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _plain(options: Any) -> Any:
    if options is None:
        return None
    return {name: np.asarray(value).tolist() for name, value in sorted(vars(options).items())}
