"""Files that are edited: what LiteRT computes from them then."""

import numpy as np
import pytest

from tfsegkd import _keras
from tfsegkd.runtime import Network
from tfsegkd.runtime.model_file import Editor, schema


@pytest.fixture
def content(files):
    return files["float"].read_bytes()


def negated(content):
    editor = Editor(content)
    (logits,) = editor.outputs
    opposite = editor.add_like(logits)
    editor.append(editor.make("NEG", [logits], [opposite], schema.NegOptionsT()))
    editor.set_output(opposite)
    return editor


def test_an_operator_is_added_and_taken_away(content, images):
    expected = Network(content).predict(images)
    edited = negated(content)
    np.testing.assert_array_equal(Network(edited.pack()).predict(images), -expected)
    (operator,) = edited.find("NEG")
    (opposite,) = edited.outputs
    assert edited.producer(opposite) is operator
    edited.set_output(int(operator.inputs[0]))
    edited.replace(operator)
    assert not edited.find("NEG")
    np.testing.assert_array_equal(Network(edited.pack()).predict(images), expected)


def test_an_operator_becomes_several_in_its_place(content, images):
    expected = Network(content).predict(images)
    editor = Editor(content)
    kinds = [editor.kind(operator) for operator in editor.operators]
    last = editor.producer(editor.outputs[0])
    between = editor.add_like(int(last.inputs[0]))
    doubled = editor.add_tensor("doubled", editor.shape(between), schema.TensorType.FLOAT32)
    two = editor.add_tensor("two", (), schema.TensorType.FLOAT32, np.float32(2))
    first = editor.make("MUL", [last.inputs[0], two], [doubled], schema.MulOptionsT())
    second = editor.make("NEG", [doubled], [between], schema.NegOptionsT())
    third = editor.make("RESIZE_BILINEAR", [between, last.inputs[1]], last.outputs, last.builtinOptions)
    editor.replace(last, first, second, third)
    assert [editor.kind(one) for one in editor.operators] == [*kinds[:-1], "MUL", "NEG", kinds[-1]]
    np.testing.assert_allclose(Network(editor.pack()).predict(images), -2 * expected, rtol=1e-5, atol=1e-6)
    assert editor.values(two) == 2 and editor.values(doubled) is None


def test_what_is_taken_out_leaves_the_file_alone(content):
    editor = Editor(content)
    kernel = editor.values(int(editor.find("CONV_2D")[0].inputs[1]))
    before = editor.pack()
    alone = editor.extract(editor.find("CONV_2D")[0])
    number = int(alone.operators[0].inputs[1])
    np.testing.assert_array_equal(alone.values(number), kernel)
    alone.operators[0].inputs[1] = alone.add_like(number, values=0 * kernel)
    alone.drop_unused()
    assert not alone.is_constant(number)
    assert editor.pack() == before


def test_metadata_are_set_once_and_removed(content):
    editor = Editor(content)
    count = len(editor.model.metadata or ())
    for text in (b"old", b"new"):
        editor.set_metadata("OURS", text)
    packed = _keras.tflite_schema.Model.GetRootAs(editor.pack(), 0)
    entries = [packed.Metadata(number) for number in range(packed.MetadataLength())]
    (ours,) = [entry for entry in entries if entry.Name() == b"OURS"]
    assert packed.Buffers(ours.Buffer()).DataAsNumpy().tobytes() == b"new"
    editor.set_metadata("OURS", None)
    assert len(editor.model.metadata) == count


def test_a_part_of_the_channels_keeps_its_scales(files):
    editor = Editor(files["int8"].read_bytes())
    kernel = int(editor.find("CONV_2D")[0].inputs[1])
    values, scales = editor.values(kernel), editor.tensors[kernel].quantization.scale
    part = editor.add_like(kernel, values[2:5].shape, values[2:5], slice(2, 5))
    packed = Editor(editor.pack())
    np.testing.assert_array_equal(packed.values(part), values[2:5])
    np.testing.assert_array_equal(packed.tensors[part].quantization.scale, scales[2:5])
