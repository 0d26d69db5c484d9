"""Other endings of an int8 network, made in its file: labels, or logits before the last enlargement."""

import numpy as np

from tfsegkd.export.metadata import METADATA
from tfsegkd.runtime.model_file import Editor, schema


def with_labels(content: bytes) -> bytes:
    """A network that gives the label of each pixel, uint8, in place of logits.

    The app then looks for no largest logit itself. Two operations run outside of the delegate for that.

    Args:
        content: A .tflite with one output of logits (1, Y, X, C), int8 or float.

    Raises:
        ValueError: if there are more than 256 classes.
    """
    editor = Editor(content)
    logits = editor.outputs[0]
    *size, num_classes = editor.shape(logits)
    if num_classes > 256:
        raise ValueError(f"A label of 8 bits tells 256 classes apart. Received: {num_classes} classes.")
    int32, uint8 = schema.TensorType.INT32, schema.TensorType.UINT8
    axis = editor.add_tensor("labels/axis", (), int32, np.int32(3))
    wide = editor.add_tensor("labels/int32", size, int32)
    labels = editor.add_tensor("labels", size, uint8)
    largest, narrow = schema.ArgMaxOptionsT(), schema.CastOptionsT()
    largest.outputType, narrow.inDataType, narrow.outDataType = int32, int32, uint8
    editor.append(
        editor.make("ARG_MAX", [logits, axis], [wide], largest),
        editor.make("CAST", [wide], [labels], narrow),
    )
    return _with_output(editor, labels)


def without_last_resize(content: bytes) -> tuple[bytes, int] | None:
    """A network without the bilinear enlargement at its end, and how many times smaller its logits are.

    The app enlarges the logits, or the labels, itself, for instance while it draws. None if the network does
    not end so, or is not smaller by a whole factor before.

    Args:
        content: A .tflite with one image input (1, H, W, 3) and one output of logits (1, Y, X, C).
    """
    editor = Editor(content)
    image, logits = editor.inputs[0], editor.outputs[0]
    enlargement = _enlargement(editor, logits)
    if not enlargement:
        return None
    small = int(enlargement[-1].inputs[0])
    (height, width), (rows, columns) = (editor.shape(tensor)[1:3] for tensor in (image, small))
    stride = height // rows
    if stride < 2 or (rows * stride, columns * stride) != (height, width):
        return None
    for operator in enlargement:
        editor.replace(operator)
    return _with_output(editor, small), stride


def _enlargement(editor: Editor, tensor: int) -> list[schema.OperatorT]:
    """The operators that enlarge what becomes `tensor`, the last first: one, or two steps between views."""
    found = []
    for kind in ("RESHAPE", "RESIZE_BILINEAR") * 2:
        operator = editor.producer(tensor)
        if operator is None or editor.kind(operator) != kind:
            operator = editor.producer(editor.outputs[0])
            single = operator is not None and editor.kind(operator) == "RESIZE_BILINEAR"
            return [operator] if single else []
        found.append(operator)
        tensor = int(operator.inputs[0])
    return found


def _with_output(editor: Editor, tensor: int) -> bytes:
    """The file of a network whose output is another tensor; what it says of the old output is left out."""
    editor.set_output(tensor)
    editor.set_metadata(METADATA, None)
    return editor.pack()
