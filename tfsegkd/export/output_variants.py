"""Output variants of a .tflite: labels, or logits before the last resize."""

import numpy as np

from tfsegkd.export.metadata import METADATA
from tfsegkd.runtime.model_file import Editor, schema

# What `lower_for_arm` makes of the last enlargement, and what the converter writes.
_ENLARGEMENTS = (
    ("RESHAPE", "RESIZE_BILINEAR", "RESHAPE", "RESIZE_BILINEAR"),
    ("RESHAPE", "RESIZE_BILINEAR", "SLICE", "RESHAPE", "CONV_2D", "CONCATENATION"),
    ("RESIZE_BILINEAR",),
)


def with_labels(content: bytes) -> bytes:
    """Returns a .tflite that outputs the label of each pixel, uint8, instead of logits.

    The app then needs no argmax. Two operations run outside of the delegate.

    Args:
        content: A .tflite with one output of logits (1, Y, X, C), int8 or float.

    Raises:
        ValueError: if there are more than 256 classes.
    """
    editor = Editor(content)
    logits = editor.outputs[0]
    *size, num_classes = editor.shape(logits)
    if num_classes > 256:
        raise ValueError(f"Labels of 8 bits allow 256 classes. Received: {num_classes} classes.")
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
    """Returns a .tflite without the final bilinear resize, and the factor by which its logits are smaller.

    The app resizes the logits or the labels, for instance when it draws. None if the network has no such
    resize, or its factor is not an integer.

    Args:
        content: A .tflite with one image input (1, H, W, 3) and one output of logits (1, Y, X, C).
    """
    editor = Editor(content)
    image, logits = editor.inputs[0], editor.outputs[0]
    found = _enlargement(editor, logits)
    if found is None:
        return None
    enlargement, small = found
    (height, width), (rows, columns) = (editor.shape(tensor)[1:3] for tensor in (image, small))
    stride = height // rows
    if stride < 2 or (rows * stride, columns * stride) != (height, width):
        return None
    for operator in enlargement:
        editor.replace(operator)
    return _with_output(editor, small), stride


def _enlargement(editor: Editor, tensor: int) -> tuple[list[schema.OperatorT], int] | None:
    """Returns the operators of the last enlargement, last first, and the tensor that they enlarge."""
    for form in _ENLARGEMENTS:
        found, small = [], tensor
        for kind in form:
            operator = editor.producer(small)
            if operator is None or editor.kind(operator) != kind:
                break
            found.append(operator)
            small = int(operator.inputs[1 if kind == "CONCATENATION" else 0])
        else:
            if form[-1] != "CONCATENATION":
                return found, small
            borders = [editor.producer(int(found[-1].inputs[index])) for index in (0, -1)]
            if all(one is not None and small in one.inputs for one in borders):
                return found + borders, small
    return None


def _with_output(editor: Editor, tensor: int) -> bytes:
    """Returns the .tflite with another output tensor, without the metadata of the old one."""
    editor.set_output(tensor)
    editor.set_metadata(METADATA, None)
    return editor.pack()
