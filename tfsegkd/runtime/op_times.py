"""Latency of each op of a .tflite."""

import importlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tfsegkd import _keras
from tfsegkd.runtime.model_file import Editor
from tfsegkd.runtime.profiling import profile
from tfsegkd.runtime.timing import latency


@dataclass(frozen=True)
class OpTime:
    """The latency of an op.

    Args:
        op: Its type and the name of its output, which contains the layer's name, as in `OpReport`.
        median_ms: The median for one image on this machine, one thread.

    Example:
        runtime.OpTime(op="CONV_2D", median_ms=0.5).op  # 'CONV_2D'
    """

    op: str
    median_ms: float


def op_times(network: str | os.PathLike, runs: int = 20) -> tuple[OpTime, ...]:
    """Measures the latency of each op of a .tflite as a separate network, on one thread.

    LiteRT has no Python interface to profile its delegate. So every op is extracted with its weights and run
    alone: without the fusion of the delegate, and with the overhead of a call each. Use it to compare ops;
    `latency` measures the whole network.

    Args:
        network: The path of a .tflite.
        runs: The number of timed runs of each op.

    Returns:
        The ops in execution order.

    Raises:
        ValueError: if the file does not exist or is not a .tflite that LiteRT can run.

    Example:
        slowest = max(runtime.op_times("student.tflite", runs=2), key=lambda one: one.median_ms)
    """
    profile(network)  # reports faults of the file
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as directory:
        files = {}
        for number, (name, content) in enumerate(ops_alone(Path(network).read_bytes())):
            # A number makes names unique.
            files[number, name] = Path(directory, f"{number}.tflite")
            files[number, name].write_bytes(content)
        found = latency({str(number): path for (number, _), path in files.items()}, runs)
    return tuple(OpTime(name, found[str(number)].median_ms) for number, name in files)


def ops_alone(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yields the name of each op, and a .tflite of it alone."""
    editor = Editor(content)
    resolve_shapes(editor, content)
    for operator in editor.operators:
        name = f"{editor.kind(operator)} {editor.name(operator.outputs[0])}"
        yield name, editor.extract(operator).pack()


def resolve_shapes(editor: Editor, content: bytes) -> None:
    """Replaces unknown shapes by those of one run of the network."""
    if all(tensor.shapeSignature is None for tensor in editor.tensors):
        return
    kernels = importlib.import_module(_keras.Interpreter.__module__).OpResolverType
    # A delegate would not expose the shapes.
    interpreter = _keras.Interpreter(
        model_content=content,
        experimental_op_resolver_type=kernels.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    interpreter.invoke()
    for found in interpreter.get_tensor_details():
        if found["index"] < len(editor.tensors):
            editor.tensors[found["index"]].shape = found["shape"]
    for tensor in editor.tensors:
        tensor.shapeSignature = None
