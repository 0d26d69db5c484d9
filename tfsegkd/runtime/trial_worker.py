"""Runs each .tflite once, in a process that it may crash: LiteRT trusts what a file says of itself.

Run by `workers.run`; needs nothing of this package and does not load TensorFlow.
"""

import importlib
import resource

import numpy as np


def try_out(request: dict) -> None:
    # Part of the answer is the lack of one: a file may ask for any memory, or never end.
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
    except Exception as error:  # whatever it is, it belongs in the answer
        raise ValueError(str(error) or type(error).__name__) from error
    return {}
