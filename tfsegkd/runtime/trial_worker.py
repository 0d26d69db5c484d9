"""Runs each .tflite once in a subprocess, because LiteRT crashes on some damaged files.

Run by `workers.run`; does not need this package or TensorFlow.
"""

import importlib

import numpy as np

try:
    import resource
except ImportError:  # Windows; `tfsegkd.posix`, which would know, loads TensorFlow with the package
    resource = None


def try_out(request: dict) -> None:
    # A file may need any amount of memory or time: no answer is an answer, too.
    if resource:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        memory = request["memory"] if hard == resource.RLIM_INFINITY else min(hard, request["memory"])
        resource.setrlimit(resource.RLIMIT_AS, (memory, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    module = importlib.import_module(request["interpreter"])
    for path in request["paths"]:
        run_once(module.Interpreter(model_path=path, num_threads=1))


def run_once(interpreter) -> None:
    interpreter.allocate_tensors()
    for end in interpreter.get_input_details():
        interpreter.set_tensor(end["index"], np.zeros(end["shape"], end["dtype"]))
    interpreter.invoke()
    for end in interpreter.get_output_details():
        interpreter.get_tensor(end["index"])


def answer(request: dict) -> dict:
    try:
        try_out(request)
    except Exception as error:  # any error is part of the answer
        raise ValueError(str(error) or type(error).__name__) from error
    return {}
