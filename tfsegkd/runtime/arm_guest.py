"""Runs .tflite files on an emulated Arm core: the script that Python executes inside of the emulator.

Started by `arm.py` with the paths of a request and a result; does not need this package. Its marks are system
calls that fail, at which the emulator's plugin stores the count.
"""

import contextlib
import importlib
import json
import os
import sys

import numpy as np

MARK = 1_000_000_000


def mark(number):
    with contextlib.suppress(OSError):
        os.getpgid(MARK + number)


def ready(module, path):
    """Returns an interpreter with input data."""
    interpreter = module.Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    random = np.random.default_rng(0)
    for end in interpreter.get_input_details():
        interpreter.set_tensor(end["index"], filling(random, end["shape"], np.dtype(end["dtype"])))
    return interpreter


def filling(random, shape, dtype):
    if dtype.itemsize == 1 and dtype.kind in "iu":
        return random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, shape).astype(dtype)
    # Wider integers are indices and sizes, for which zero is always valid.
    return random.random(shape).astype(dtype) * 255 if dtype.kind == "f" else np.zeros(shape, dtype)


def count(module, paths):
    """Sets marks 2n and 2n + 1 around an invocation of the n-th file; the last two are adjacent."""
    errors = {}
    for number, path in enumerate(paths):
        try:
            interpreter = ready(module, path)
            # The first invocation packs weights.
            interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            errors[number] = " ".join(str(error).split())
            continue
        mark(2 * number)
        interpreter.invoke()
        mark(2 * number + 1)
    mark(2 * len(paths))
    mark(2 * len(paths) + 1)
    return {"errors": errors}


def run(module, path, inputs, outputs):
    interpreter = ready(module, path)
    given, made = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    results = []
    for values in np.load(inputs, mmap_mode="r"):
        interpreter.set_tensor(given["index"], values[None])
        interpreter.invoke()
        results.append(interpreter.get_tensor(made["index"])[0])
    np.save(outputs, np.stack(results))
    return {}


def main(request_path, answer_path):
    with open(request_path, encoding="utf-8") as file:
        request = json.load(file)
    module = importlib.import_module(request["interpreter"])
    answer = {"count": count, "run": run}[request["task"]](module, **request["arguments"])
    with open(answer_path, "w", encoding="utf-8") as file:
        json.dump(answer, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
