"""Runs each .tflite once, in a process that it may crash: LiteRT trusts what a file says of itself.

Run as a script by `workers.run`; needs nothing of this package and does not load TensorFlow.
"""

import importlib
import json
import resource
import sys
from pathlib import Path

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


def main(request_path: str, answer_path: str) -> None:
    try:
        try_out(json.loads(Path(request_path).read_text()))
        answer = {}
    except Exception as error:  # whatever it is, it belongs in the answer
        answer = {"error": " ".join(str(error).split()) or type(error).__name__}
    Path(answer_path).write_text(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
