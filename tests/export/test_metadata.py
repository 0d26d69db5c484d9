"""The metadata, read back without the code that wrote it."""

import zipfile

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import table as flatbuffers_table
from flatbuffers.number_types import Float32Flags, Int8Flags, Uint8Flags, Uint32Flags, UOffsetTFlags

from tfsegkd.export import embed_metadata, read_labels
from tfsegkd.runtime import Network


class Reader:
    """A flatbuffer table, read by field number."""

    def __init__(self, content: bytes, position: int | None = None):
        root = UOffsetTFlags.packer_type.unpack_from(content, 0)[0] if position is None else position
        self.table = flatbuffers_table.Table(bytearray(content), root)

    def _field(self, number):
        offset = self.table.Offset(4 + 2 * number)
        return self.table.Pos + offset if offset else None

    def scalar(self, number, flags):
        return self.table.Get(flags, self._field(number))

    def string(self, number):
        return self.table.String(self._field(number)).decode()

    def child(self, number):
        position = self._field(number)
        return Reader(bytes(self.table.Bytes), self.table.Indirect(position))

    def children(self, number):
        if self._field(number) is None:
            return []
        vector, count = self._vector(number)
        positions = [self.table.Indirect(vector + 4 * index) for index in range(count)]
        return [Reader(bytes(self.table.Bytes), position) for position in positions]

    def floats(self, number):
        vector, count = self._vector(number)
        return [self.table.Get(Float32Flags, vector + 4 * index) for index in range(count)]

    def data(self, number):
        vector, count = self._vector(number)
        return bytes(self.table.Bytes[vector : vector + count])

    def _vector(self, number):
        offset = self.table.Offset(4 + 2 * number)
        return self.table.Vector(offset), self.table.VectorLen(offset)


def metadata_of(path) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    entries = {entry.name: entry.buffer for entry in model.metadata}
    return bytes(model.buffers[entries[b"TFLITE_METADATA"]].data)


def test_model_metadata(exported, aware_model):
    content = metadata_of(exported[0])
    assert content[4:8] == b"M001"
    model = Reader(content)
    assert model.string(0) == aware_model.name
    assert model.string(7) == "1.5.0"
    (subgraph,) = model.children(3)
    (image,), (logits,) = subgraph.children(2), subgraph.children(3)
    assert image.child(3).scalar(0, Uint8Flags) == 2  # ImageProperties
    properties = image.child(3).child(1)
    assert properties.scalar(0, Int8Flags) == 1  # RGB
    size = properties.child(1)
    assert (size.scalar(0, Uint32Flags), size.scalar(1, Uint32Flags)) == (96, 64)  # width, height
    (labels,) = logits.children(6)
    assert labels.string(0) == "labels.txt"
    assert labels.scalar(2, Int8Flags) == 2  # TENSOR_AXIS_LABELS


def test_segmenter_metadata_asks_for_softmax(exported):
    (subgraph,) = Reader(metadata_of(exported[0])).children(3)
    (custom,) = subgraph.children(9)
    assert custom.string(0) == "SEGMENTER_METADATA"
    data = custom.data(1)
    assert data[4:8] == b"V001"
    assert Reader(data).scalar(0, Int8Flags) == 2  # SOFTMAX


def test_only_a_float_input_has_normalization(exported, exported_float_io):
    units = {}
    for path, report in (exported, exported_float_io):
        (subgraph,) = Reader(metadata_of(path)).children(3)
        units[report.inputs] = subgraph.children(2)[0].children(4)
    assert units["uint8"] == []
    (unit,) = units["float32"]
    assert unit.scalar(0, Uint8Flags) == 1  # NormalizationOptions
    assert (unit.child(1).floats(0), unit.child(1).floats(1)) == ([0.0], [1.0])


def test_labels_are_a_stored_file_in_a_zip(exported, info):
    with zipfile.ZipFile(exported[0]) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.getinfo("labels.txt").compress_type == zipfile.ZIP_STORED
        assert archive.read("labels.txt").decode() == "\n".join(info.class_names)


def test_network_is_unchanged_and_aligned(converted, images, info):
    content = embed_metadata(converted, "tiny", info.class_names)
    np.testing.assert_array_equal(Network(content).predict(images), Network(converted).predict(images))
    model = schema.Model.GetRootAs(content, 0)
    start = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    for index in range(model.BuffersLength()):
        if not model.Buffers(index).DataIsNone():
            address = model.Buffers(index).DataAsNumpy().__array_interface__["data"][0]
            assert (address - start) % 16 == 0
    assert embed_metadata(converted, "tiny", info.class_names) == content


def test_file_without_labels_has_none(tmp_path):
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(b"TFL3" * 10)
    assert read_labels(bare) == ()


@pytest.mark.parametrize("name", ["", "two\nlines", "  "])
def test_names_that_are_no_line_are_refused(converted, name):
    names = ("sky", "road", "tree", "car", name)
    with pytest.raises(ValueError, match="one line of text"):
        embed_metadata(converted, "tiny", names)
