"""Metadata and labels inside of a .tflite."""

import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np

from tfsegkd.runtime.model_file import Editor, schema

LABELS_FILE = "labels.txt"
_LARGEST_LABELS = 1 << 20
METADATA = "TFLITE_METADATA"
# The version of the metadata schema with all fields that are used here.
_MIN_PARSER_VERSION = "1.5.0"
_MIN_SEGMENTER_PARSER_VERSION = "1.0.0"
# Numbers of the metadata schema; others are inline.
_IMAGE_PROPERTIES, _NORMALIZATION_OPTIONS, _RGB, _TENSOR_AXIS_LABELS, _SOFTMAX = 2, 1, 1, 2, 2

_NONE = 0
# Operators that may follow a softmax.
_PASSING = ("DEQUANTIZE", "QUANTIZE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")


def embed_metadata(content: bytes, name: str, class_names: Sequence[str]) -> bytes:
    """Writes labels and MediaPipe's metadata into a .tflite; the network is not changed.

    Apps can then read class names from the file, and MediaPipe's ImageSegmenter accepts it.

    Args:
        content: A .tflite with one image input and one output of logits.
        name: The network's name.
        class_names: The name of each class, by label.

    Returns:
        The new .tflite.

    Raises:
        ValueError: if there is not one name per class, or a name has several lines.

    Example:
        content = export.embed_metadata(Path("student.tflite").read_bytes(), "scenes", info.class_names)
        export.read_labels(content) == info.class_names  # True

    Reference:
        https://ai.google.dev/edge/litert/conversion/tensorflow/metadata
    """
    editor = Editor(content)
    image, logits = editor.inputs[0], editor.outputs[0]
    _check_names(class_names, editor.shape(logits)[-1])
    metadata = _model_metadata(name, editor.tensors[image], len(class_names), _ends_in_softmax(editor))
    editor.set_metadata(METADATA, metadata)
    return _append_file(editor.pack(), LABELS_FILE, "\n".join(class_names))


def read_labels(network: str | os.PathLike | bytes) -> tuple[str, ...]:
    """Returns the class names in a .tflite; none if it has no labels.

    Args:
        network: A .tflite, or its bytes.

    Returns:
        The names in label order.

    Raises:
        ValueError: if they cannot be read.

    Example:
        export.read_labels("model_int8.tflite")[:2]  # ('sky', 'building')
    """
    content = network if isinstance(network, bytes) else Path(network).read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if archive.getinfo(LABELS_FILE).file_size > _LARGEST_LABELS:
                raise ValueError("they are too long")
            return tuple(archive.read(LABELS_FILE).decode().splitlines())
    except (zipfile.BadZipFile, KeyError):
        return ()
    except Exception as error:  # a damaged archive can raise any exception
        name = f"{len(content)} bytes" if isinstance(network, bytes) else repr(str(network))
        raise ValueError(
            f"The labels in {name} cannot be read: {error}. Expected a class name on each line. "
            f"Export the network again."
        ) from None


def _check_names(class_names: Sequence[str], num_classes: int) -> None:
    if len(class_names) != num_classes:
        fix = "Export with the metadata of the data set it was trained on."
        if num_classes == 1:
            fix = "A single channel becomes the logits of two classes by tfsegkd.models.adopt(model)."
        raise ValueError(
            f"The network has {num_classes} classes, and there are {len(class_names)} class names: "
            f"{list(class_names)}. {fix}"
        )
    wrong = next((name for name in class_names if not name.strip() or len(name.splitlines()) != 1), None)
    if wrong is not None:
        raise ValueError(f"A class name must be one line of text. Received: {wrong!r}. Rename the class.")


def _append_file(content: bytes, name: str, text: str) -> bytes:
    """Appends a zip archive with a file, where readers of the metadata look for it."""
    stream = io.BytesIO(content)
    # Uncompressed, because readers do not decompress; a fixed date, so that equal networks are equal files.
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_STORED
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(entry, text.encode())
    return stream.getvalue()


def _ends_in_softmax(editor: Editor) -> bool:
    """Whether the output is probabilities, so that MediaPipe must not apply a softmax."""
    operator = editor.producer(editor.outputs[0])
    while operator is not None and editor.kind(operator) in _PASSING:
        operator = editor.producer(int(operator.inputs[0]))
    return operator is not None and editor.kind(operator) == "SOFTMAX"


def _model_metadata(name: str, image: schema.TensorT, num_classes: int, probabilities: bool) -> bytes:
    """Builds the ModelMetadata flatbuffer, with the field numbers of TFLite's metadata schema."""
    builder = flatbuffers.Builder(1024)
    subgraph = _table(
        builder,
        {
            2: _vector(builder, [_image_metadata(builder, image)]),
            3: _vector(builder, [_logits_metadata(builder, num_classes)]),
            9: _vector(builder, [_segmenter_metadata(builder, probabilities)]),
        },
    )
    model = _table(
        builder,
        {
            0: builder.CreateString(name),
            1: builder.CreateString("Predicts the class of each pixel of an image."),
            3: _vector(builder, [subgraph]),
            7: builder.CreateString(_MIN_PARSER_VERSION),
        },
    )
    builder.Finish(model, file_identifier=b"M001")
    return bytes(builder.Output())


def _image_metadata(builder: flatbuffers.Builder, image: schema.TensorT) -> int:
    height, width = map(int, image.shape[1:3])
    size = _table(builder, {0: np.uint32(width), 1: np.uint32(height)})
    properties = _table(builder, {0: np.int8(_RGB), 1: size})
    fields = {
        0: builder.CreateString("image"),
        1: builder.CreateString("The image to segment, RGB, 0…255."),
        3: _table(builder, {0: np.uint8(_IMAGE_PROPERTIES), 1: properties}),
        5: _table(builder, {0: _floats(builder, [255.0]), 1: _floats(builder, [0.0])}),
    }
    if image.type == schema.TensorType.FLOAT32:
        # Required for float inputs; (pixel - 0) / 1, because the network contains the normalization.
        options = _table(builder, {0: _floats(builder, [0.0]), 1: _floats(builder, [1.0])})
        unit = _table(builder, {0: np.uint8(_NORMALIZATION_OPTIONS), 1: options})
        fields[4] = _vector(builder, [unit])
    return _table(builder, fields)


def _logits_metadata(builder: flatbuffers.Builder, num_classes: int) -> int:
    labels = _table(
        builder,
        {
            0: builder.CreateString(LABELS_FILE),
            1: builder.CreateString("The names of the classes, in order."),
            2: np.int8(_TENSOR_AXIS_LABELS),
        },
    )
    fields = {
        0: builder.CreateString("logits"),
        1: builder.CreateString(f"For each pixel, the logits of {num_classes} classes."),
        6: _vector(builder, [labels]),
    }
    return _table(builder, fields)


def _segmenter_metadata(builder: flatbuffers.Builder, probabilities: bool) -> int:
    """Builds MediaPipe's option that decides whether it applies a softmax."""
    inner = flatbuffers.Builder(64)
    version = inner.CreateString(_MIN_SEGMENTER_PARSER_VERSION)
    activation = np.int8(_NONE if probabilities else _SOFTMAX)
    inner.Finish(_table(inner, {0: activation, 1: version}), file_identifier=b"V001")
    data = np.frombuffer(bytes(inner.Output()), np.uint8)
    builder.Prep(16, len(data))
    fields = {1: builder.CreateNumpyVector(data), 0: builder.CreateString("SEGMENTER_METADATA")}
    return _table(builder, fields)


def _table(builder: flatbuffers.Builder, fields: dict[int, Any]) -> int:
    """Writes a table: an int is the offset of an earlier object, a NumPy scalar is a value."""
    builder.StartObject(max(fields) + 1)
    for number, value in fields.items():
        if isinstance(value, np.uint32):
            builder.PrependUint32Slot(number, int(value), 0)
        elif isinstance(value, np.uint8):
            builder.PrependUint8Slot(number, int(value), 0)
        elif isinstance(value, np.int8):
            builder.PrependInt8Slot(number, int(value), 0)
        else:
            builder.PrependUOffsetTRelativeSlot(number, value, 0)
    return builder.EndObject()


def _vector(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _floats(builder: flatbuffers.Builder, values: list[float]) -> int:
    return builder.CreateNumpyVector(np.array(values, np.float32))
