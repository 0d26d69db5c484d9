"""Measures the latency of networks alternately, in a process of its own.

Run by `workers.run`; does not need this package or TensorFlow.
"""

import ctypes
import importlib
import platform
import time

import numpy as np

_stack = ctypes.create_string_buffer(
    8192
)  # too small for the 8 KB of AMX's registers, large enough for all others


class _SignalStack(ctypes.Structure):
    """Linux' stack_t."""

    _fields_ = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


def do_without_matrix_unit() -> None:
    """Disables the matrix unit of x86 servers (AMX) for this process.

    Phones do not have it, and int8 layers with few channels take up to three times as long with it. Linux
    denies its registers to a process with a signal stack that is too small for them.
    """
    if platform.system() == "Linux" and platform.machine() == "x86_64":
        stack = _SignalStack(ctypes.addressof(_stack), 0, len(_stack))
        ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None)


def prepare(interpreter) -> None:
    """Sets random inputs once, because only the invocation is measured."""
    interpreter.allocate_tensors()
    generator = np.random.default_rng(0)
    for end in interpreter.get_input_details():
        pixels = generator.integers(0, 256, end["shape"])
        interpreter.set_tensor(end["index"], pixels.astype(end["dtype"]))


def measure(request: dict) -> dict[str, list[float]]:
    module = importlib.import_module(request["interpreter"])
    interpreters = {
        name: module.Interpreter(model_path=path, num_threads=request["num_threads"])
        for name, path in request["paths"].items()
    }
    for interpreter in interpreters.values():
        prepare(interpreter)
    milliseconds = {name: [] for name in interpreters}
    for turn in range(request["warmup"] + request["runs"]):
        for name, interpreter in interpreters.items():
            start = time.perf_counter()
            interpreter.invoke()
            elapsed = 1000 * (time.perf_counter() - start)
            if turn >= request["warmup"]:
                milliseconds[name].append(elapsed)
    return milliseconds


def answer(request: dict) -> dict:
    do_without_matrix_unit()
    try:
        return {"milliseconds": measure(request)}
    except RuntimeError as error:
        raise ValueError(str(error)) from error
