"""Profiles of .tflite files: ops, types and delegate partitions."""

import os
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfsegkd.runtime.network import load_interpreter

_DELEGATE = "DELEGATE"
# They only convert between float and int8.
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
_FLOATS = (np.float16, np.float32, np.float64)


@dataclass(frozen=True)
class OpReport:
    """The profile of a .tflite.

    Args:
        ops: The number of ops by type.
        float_ops: The float ops, each as "TYPE name", where the name contains that of the layer.
        delegate_partitions: The number of partitions of the delegate (XNNPACK). One is best, because each
            border costs time.
        outside_delegate: The ops outside of the delegate, on slower kernels, named as in `float_ops`.
        peak_bytes: The peak memory of activations in bytes, a lower bound for any runtime.

    Example:
        report = runtime.profile("student.tflite")
        report.delegate_partitions  # 1
    """

    ops: dict[str, int]
    float_ops: list[str]
    delegate_partitions: int
    outside_delegate: list[str]
    peak_bytes: int


def profile(network: str | os.PathLike | bytes) -> OpReport:
    """Returns the profile of a .tflite, read from the file.

    Args:
        network: The path or content of a .tflite.

    Returns:
        The ops, and how the delegate takes them.

    Raises:
        ValueError: if the file does not exist or is not a .tflite that LiteRT can run.

    Example:
        report = runtime.profile("student.tflite")
        report.ops["CONV_2D"]  # 4
    """
    interpreter = load_interpreter(network)
    nodes = interpreter._get_ops_details()
    # After delegation the list has each op of the file, followed by one entry per partition.
    ops = [node for node in nodes if node["op_name"] != _DELEGATE]
    partitions = [node for node in nodes if node["op_name"] == _DELEGATE]
    tensors = {tensor["index"]: tensor["name"] for tensor in interpreter.get_tensor_details()}
    names = {op["index"]: f"{op['op_name']} {_output_name(op, tensors)}" for op in ops}
    delegated = {index for partition in partitions for index in _members(partition, ops)}
    return OpReport(
        ops=dict(sorted(Counter(op["op_name"] for op in ops).items())),
        float_ops=[names[op["index"]] for op in ops if _computes_on_floats(op)],
        delegate_partitions=len(partitions),
        outside_delegate=[name for index, name in names.items() if index not in delegated],
        peak_bytes=_peak_bytes(interpreter, ops),
    )


def _peak_bytes(interpreter: Any, ops: list[dict[str, Any]]) -> int:
    """Returns the peak memory of activations, each from its producer to its last consumer."""
    first = {int(end["index"]): 0 for end in interpreter.get_input_details()}
    last = {int(end["index"]): len(ops) for end in interpreter.get_output_details()}
    for position, op in enumerate(ops):
        first.update((int(tensor), position) for tensor in op["outputs"])
        last.update((int(tensor), max(position, last.get(int(tensor), 0))) for tensor in op["inputs"])
    sizes = {
        tensor["index"]: int(np.prod(tensor["shape"])) * np.dtype(tensor["dtype"]).itemsize
        for tensor in interpreter.get_tensor_details()
    }
    return max(
        sum(
            sizes.get(tensor, 0)
            for tensor, begin in first.items()
            if begin <= position <= last.get(tensor, begin)
        )
        for position in range(max(len(ops), 1))
    )


def _output_name(op: dict[str, Any], tensors: dict[int, str]) -> str:
    return next((tensors[index] for index in op["outputs"] if index in tensors), "")


def _computes_on_floats(op: dict[str, Any]) -> bool:
    return op["op_name"] not in _CONVERSIONS and any(
        dtype in _FLOATS for dtype in (*op["operand_types"], *op["result_types"])
    )


def _members(partition: dict[str, Any], ops: list[dict[str, Any]]) -> set[int]:
    """Returns the ops of a partition: those between its inputs and outputs."""
    producers = {int(tensor): op for op in ops for tensor in op["outputs"]}
    given = set(map(int, partition["inputs"]))
    members, tensors = set(), list(map(int, partition["outputs"]))
    while tensors:
        tensor = tensors.pop()
        if tensor in given or tensor not in producers:
            continue
        op = producers[tensor]
        if op["index"] not in members:
            members.add(op["index"])
            tensors.extend(map(int, op["inputs"]))
    return members
