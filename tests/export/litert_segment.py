"""Segments one image with both interfaces of LiteRT. Runs wherever ai-edge-litert is, with NumPy alone.

Usage: litert_segment.py IMAGE.npy ANSWER.npz MODEL.tflite...

The answer holds, for each model, what the interpreter and what the compiled model gave: interpreter_0, ….
"""

import sys

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.interpreter import Interpreter


def main(image_path: str, answer_path: str, *models: str) -> None:
    image = np.load(image_path)[None]
    answer = {}
    for number, model in enumerate(models):
        interpreter = Interpreter(model_path=model)
        interpreter.allocate_tensors()
        into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        interpreter.set_tensor(into["index"], image.astype(into["dtype"]))
        interpreter.invoke()
        answer[f"interpreter_{number}"] = interpreter.get_tensor(out["index"])

        with CompiledModel.from_file(model) as compiled:
            inputs, outputs = compiled.create_input_buffers(0), compiled.create_output_buffers(0)
            inputs[0].write(np.ascontiguousarray(image.astype(into["dtype"])))
            compiled.run_by_index(0, inputs, outputs)
            flat = outputs[0].read(int(np.prod(out["shape"])), out["dtype"])
            answer[f"compiled_{number}"] = flat.reshape(out["shape"])
    np.savez(answer_path, **answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
