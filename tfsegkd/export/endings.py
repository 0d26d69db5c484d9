"""Other endings of an int8 network, made in its file: labels, or logits before the last enlargement."""

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from tfsegkd.runtime.model_file import pack, unpack

_METADATA = "TFLITE_METADATA"
_OPERATORS = schema.BuiltinOperator


def with_labels(content: bytes) -> bytes:
    """A network that gives the label of each pixel, uint8, in place of logits.

    The app then looks for no largest logit itself. Two operations run outside of the delegate for that.

    Args:
        content: A .tflite with one output of logits (1, Y, X, C), int8 or float.

    Raises:
        ValueError: if there are more than 256 classes.
    """
    model = unpack(content)
    graph = model.subgraphs[0]
    logits = graph.tensors[graph.outputs[0]]
    *place, num_classes = map(int, logits.shape)
    if num_classes > 256:
        raise ValueError(f"A label of 8 bits tells 256 classes apart. Received: {num_classes} classes.")
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.int32(3).tobytes(), np.uint8)
    model.buffers.append(buffer)
    axis = _add_tensor(graph, "labels/axis", [], schema.TensorType.INT32, len(model.buffers) - 1)
    wide = _add_tensor(graph, "labels/int32", place, schema.TensorType.INT32)
    labels = _add_tensor(graph, "labels", place, schema.TensorType.UINT8)

    largest = schema.ArgMaxOptionsT()
    largest.outputType = schema.TensorType.INT32
    _add_operator(
        model,
        _OPERATORS.ARG_MAX,
        [graph.outputs[0], axis],
        wide,
        schema.BuiltinOptions.ArgMaxOptions,
        largest,
    )
    narrow = schema.CastOptionsT()
    narrow.inDataType, narrow.outDataType = schema.TensorType.INT32, schema.TensorType.UINT8
    _add_operator(model, _OPERATORS.CAST, [wide], labels, schema.BuiltinOptions.CastOptions, narrow)
    return _ending_in(model, labels)


def without_last_resize(content: bytes) -> tuple[bytes, int] | None:
    """A network without the bilinear enlargement at its end, and how many times smaller its logits are.

    The app enlarges the logits, or the labels, itself, for instance while it draws. None if the network does
    not end so, or is not smaller by a whole factor before.

    Args:
        content: A .tflite with one image input (1, H, W, 3) and one output of logits (1, Y, X, C).
    """
    model = unpack(content)
    graph = model.subgraphs[0]
    height, width = map(int, graph.tensors[graph.inputs[0]].shape[1:3])
    last = next(op for op in graph.operators if graph.outputs[0] in op.outputs)
    code = model.operatorCodes[last.opcodeIndex]
    if max(code.builtinCode, code.deprecatedBuiltinCode) != _OPERATORS.RESIZE_BILINEAR:
        return None
    rows, columns = map(int, graph.tensors[last.inputs[0]].shape[1:3])
    stride = height // rows
    if stride < 2 or (rows * stride, columns * stride) != (height, width):
        return None
    graph.operators = [op for op in graph.operators if op is not last]
    return _ending_in(model, int(last.inputs[0])), stride


def _add_tensor(graph, name, shape, number_format, buffer=0) -> int:
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.buffer = name.encode(), number_format, buffer
    tensor.shape = np.array(shape, np.int32)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _add_operator(model, code, inputs, output, options_type, options) -> None:
    kind = schema.OperatorCodeT()
    # Readers of older files look for the number in the narrow field.
    kind.builtinCode, kind.deprecatedBuiltinCode, kind.version = code, min(code, 127), 1
    model.operatorCodes.append(kind)
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs, operator.outputs = list(map(int, inputs)), [output]
    operator.builtinOptionsType, operator.builtinOptions = options_type, options
    model.subgraphs[0].operators.append(operator)


def _ending_in(model: schema.ModelT, tensor: int) -> bytes:
    """The file of a network whose output is another tensor; what it says of the old output is left out."""
    model.subgraphs[0].outputs = [tensor]
    for signature in model.signatureDefs or ():
        signature.outputs[0].tensorIndex = tensor
    model.metadata = [entry for entry in model.metadata or () if _name(entry) != _METADATA]
    return pack(model)


def _name(entry) -> str:
    return entry.name.decode() if isinstance(entry.name, bytes) else entry.name
