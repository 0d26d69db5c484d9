"""Teachers that are .tflite files, also those that output labels only."""

import os
import threading
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfsegkd import _keras, models
from tfsegkd.distillation.teachers.base import Teacher, checked_logits, digest, resized
from tfsegkd.distillation.teachers.external import chosen_output
from tfsegkd.distillation.terms import LOGITS
from tfsegkd.runtime.network import decoded, encoded, load_interpreter

# Operators that may follow ARG_MAX and change no label.
_PASS_THROUGH = ("CAST", "EXPAND_DIMS", "RESHAPE", "SQUEEZE")


class TfliteTeacher(Teacher):
    """A .tflite that segments one image (1, H, W, 3) at a time; its only layer is 'logits'.

    Images are resized to its input size. An integer input gets the pixels themselves, whatever its scale is,
    because such files are used this way; a float input gets 0…255. If the output is labels, the logits are
    read from the input of ARG_MAX. It has no gradient.

    Args:
        path: The file.
        output: The name of the output; not needed if there is only one.
        num_threads: The number of threads; None means all.

    Raises:
        ValueError: for a file that is missing, damaged or has other inputs or outputs.
    """

    def __init__(self, path: str | os.PathLike, output: str | None = None, num_threads: int | None = None):
        self.name = Path(path).stem
        num_threads = num_threads or os.cpu_count() or 1
        interpreter = load_interpreter(path, num_threads)
        content = Path(path).read_bytes()
        self._fingerprint = digest("tflite", content, output or "")
        ends = {end["name"]: end for end in interpreter.get_output_details()}
        end = ends[chosen_output(list(ends), output, f"The teacher {str(path)!r}")]
        if not _are_logits(end, content):
            content, index = _with_logits(content, end["index"], str(path))
            interpreter = load_interpreter(content, num_threads)
            end = next(end for end in interpreter.get_output_details() if end["index"] == index)
        self._interpreter, self._input, self._output = interpreter, _input(interpreter, str(path)), end
        self.input_size = tuple(map(int, self._input["shape"][1:3]))
        self._running = threading.Lock()

    def feature_extractor(self, names):
        other = [layer for layer in names if layer != LOGITS]
        if other:
            raise ValueError(
                f"Layer {other[0]!r} not found in teacher {self.name!r}. A .tflite has ['logits'] only. "
                f"Set it in `terms=loss@teacher_layer:student_layer`."
            )

        def run(images):
            resized_images = resized(tf.cast(images, tf.float32), self.input_size)
            logits = tf.numpy_function(self._predict, [resized_images], tf.float32)
            logits.set_shape((images.shape[0], *self._output["shape"][1:]))
            return {LOGITS: checked_logits(logits, images, self.name, models.heads.UNKNOWN)}

        return run

    def fingerprint(self):
        return self._fingerprint

    def _predict(self, images: np.ndarray) -> np.ndarray:
        logits = np.empty((len(images), *self._output["shape"][1:]), np.float32)
        # tf.data may call from several threads, and the interpreter has one set of buffers.
        with self._running:
            for index, image in enumerate(images):
                self._interpreter.set_tensor(self._input["index"], encoded(image[None], self._input))
                self._interpreter.invoke()
                logits[index] = decoded(self._interpreter.get_tensor(self._output["index"]), self._output)[0]
        return logits


def _input(interpreter, path: str) -> dict:
    ends = interpreter.get_input_details()
    shapes = [tuple(map(int, end["shape_signature"])) for end in ends]
    if (
        len(ends) != 1
        or len(shapes[0]) != 4
        or (shapes[0][0] not in (1, -1) or shapes[0][3] != 3 or min(shapes[0][1:]) < 1)
        or ends[0]["dtype"] not in (np.uint8, np.int8, np.float32)
    ):
        raise ValueError(
            f"{path!r} cannot be a teacher: expected one input (1, H, W, 3) of a fixed size, uint8, int8 or "
            f"float32. Received: {shapes} of {[end['dtype'].__name__ for end in ends]}. Convert the network "
            f"again with such an input."
        )
    return ends[0]


def _are_logits(end: dict, content: bytes) -> bool:
    quantized_or_float = end["quantization"][0] or np.issubdtype(end["dtype"], np.floating)
    if len(end["shape"]) != 4 or not quantized_or_float:
        return False
    # One channel is the score of a class against the background, or the label of each pixel.
    return end["shape"][3] > 1 or not _is_chosen(bytearray(content), end["index"])


def _is_chosen(content: bytearray, output: int) -> bool:
    """Whether an output is labels computed by ARG_MAX."""
    _, producers, kind = _operators(content)
    producer = producers.get(_before_pass_through(output, producers, kind))
    return producer is not None and kind(producer) == "ARG_MAX"


def _operators(content: bytearray):
    """Returns a file's graph, the producer of each tensor, and a function from an operator to its kind."""
    schema = _keras.tflite_schema
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}
    operators = [graph.Operators(index) for index in range(graph.OperatorsLength())]
    producers = {int(tensor): operator for operator in operators for tensor in operator.OutputsAsNumpy()}

    def kind(operator):
        code = model.OperatorCodes(operator.OpcodeIndex())
        # Old files have the operator code in the first field, new ones in the second.
        return names[max(code.DeprecatedBuiltinCode(), code.BuiltinCode())]

    return graph, producers, kind


def _before_pass_through(tensor: int, producers, kind) -> int:
    while tensor in producers and kind(producers[tensor]) in _PASS_THROUGH:
        tensor = int(producers[tensor].Inputs(0))
    return tensor


def _with_logits(content: bytes, output: int, path: str) -> tuple[bytes, int]:
    """Returns the file with the logits as its output instead of the labels.

    This is as fast as before: to preserve all tensors would switch off memory planning.
    """
    content = bytearray(content)
    graph, producers, kind = _operators(content)
    tensor = _before_pass_through(output, producers, kind)
    producer = producers.get(tensor)
    logits = int(producer.Inputs(0)) if producer is not None and kind(producer) == "ARG_MAX" else None
    shape = graph.Tensors(logits).ShapeAsNumpy() if logits is not None else ()
    if len(shape) != 4 or np.prod(shape[:3]) != np.prod(graph.Tensors(tensor).ShapeAsNumpy()):
        received = graph.Tensors(output).ShapeAsNumpy().tolist()
        raise ValueError(
            f"{path!r} cannot be a teacher: expected an output of logits (1, Y, X, C), or of labels chosen "
            f"by ARG_MAX from such logits. Received: an output {received} of another kind. Convert "
            f"the network again without what follows its logits."
        )
    # The view writes into the file's content; the table of outputs keeps its length.
    outputs = graph.OutputsAsNumpy()
    outputs[outputs == output] = logits
    return bytes(content), logits
