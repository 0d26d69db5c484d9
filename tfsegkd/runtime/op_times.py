"""How long each op of a .tflite takes."""

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
    """One op.

    Args:
        op: Its type and the name of what it gives, which holds the layer's, as in `OpReport`.
        median_ms: For one image on this machine, one thread.
    """

    op: str
    median_ms: float


def op_times(network: str | os.PathLike, runs: int = 20) -> tuple[OpTime, ...]:
    """Times each op of a .tflite as a network of its own, all in turn, on one thread.

    LiteRT does not tell Python what its delegate spends its time on. So every op is cut out with its weights
    and run alone: what a delegate gains by joining ops is missing, and each pays for being called. Compare
    ops with each other; the whole is what `latency` measures.

    Args:
        network: Path of a .tflite.
        runs: Timed runs of each op.

    Returns:
        The ops in the order in which they run.

    Raises:
        ValueError: if the file does not exist or is not a .tflite that LiteRT can run.
    """
    profile(network)  # says what is wrong with the file
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as directory:
        files = {}
        for number, (name, content) in enumerate(ops_alone(Path(network).read_bytes())):
            # A number tells ops of one name apart.
            files[number, name] = Path(directory, f"{number}.tflite")
            files[number, name].write_bytes(content)
        found = latency({str(number): path for (number, _), path in files.items()}, runs)
    return tuple(OpTime(name, found[str(number)].median_ms) for number, name in files)


def ops_alone(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Each op's name, and a .tflite of it alone."""
    editor = Editor(content)
    _settle_shapes(editor, content)
    for operator in editor.operators:
        name = f"{editor.kind(operator)} {editor.name(operator.outputs[0])}"
        yield name, editor.extract(operator).pack()


def _settle_shapes(editor: Editor, content: bytes) -> None:
    """Where shapes are open, the network is run once and they become those that it has then."""
    if all(tensor.shapeSignature is None for tensor in editor.tensors):
        return
    kernels = importlib.import_module(_keras.Interpreter.__module__).OpResolverType
    # A delegate would keep to itself what it has found.
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
