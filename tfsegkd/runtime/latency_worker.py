"""Times networks in turn, in a process that does nothing else.

Run as a script by `workers.run`; needs nothing of this package and does not load TensorFlow.
"""

import importlib
import json
import sys
import time
from pathlib import Path

import numpy as np


def prepare(interpreter) -> None:
    """Feeds an interpreter with noise, once: feeding is not what is timed."""
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


def main(request_path: str, answer_path: str) -> None:
    request = json.loads(Path(request_path).read_text())
    try:
        answer = {"milliseconds": measure(request)}
    except (ValueError, RuntimeError) as error:
        answer = {"error": " ".join(str(error).split())}
    Path(answer_path).write_text(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
