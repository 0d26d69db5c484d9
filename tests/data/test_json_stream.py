"""JSON files are read an element at a time, however they are cut into pieces."""

import json
import tracemalloc

import pytest

from tfsegkd.data.annotations import json_stream

CONTENT = {
    "info": {"a": [1, 2, {"b": "]}"}], "é": None},
    "images": [{"id": 1}, 22, 'x\\"y', [], [[1.5e-3, -7]], True],
    "none": [],
    "number": 12345,
}


def entries(content):
    for key, value in content.items():
        yield from ((key, each) for each in value) if isinstance(value, list) else [(key, value)]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1 << 20])
@pytest.mark.parametrize("indent", [None, 3])
def test_elements_are_those_of_the_whole_file(tmp_path, monkeypatch, chunk, indent):
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    path = tmp_path / "a.json"
    path.write_text("\ufeff" + json.dumps(CONTENT, indent=indent, ensure_ascii=False), encoding="utf-8")
    assert list(json_stream.elements(path)) == list(entries(CONTENT))
    path.write_text(" {} ")
    assert list(json_stream.elements(path)) == []


def test_a_large_file_is_never_held_as_a_whole(tmp_path):
    path = tmp_path / "large.json"
    element = json.dumps({"segmentation": [[0.25] * 400]})
    with open(path, "w") as file:
        file.write('{"annotations": [' + ",\n".join([element] * 8000) + "]}")
    size = path.stat().st_size
    assert size > 1.5e7
    tracemalloc.start()
    count = sum(1 for _ in json_stream.elements(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 8000 and peak < size / 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        '{"a": [1, 2',
        '{"a": [1 2]}',
        '{"a" 1}',
        "{1: 2}",
        '{"a": NaN}',
        '{"a": [1,]}',
        '{"a": tru}',
    ],
)
def test_what_is_no_json_object_is_named(tmp_path, text):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"bad\.json' cannot be read: .*Expected a JSON object"):
        list(json_stream.elements(path))


def test_bytes_that_are_no_text_are_named(tmp_path):
    path = tmp_path / "bad.json"
    path.write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(ValueError, match=r"bad\.json' cannot be read"):
        list(json_stream.elements(path))
    path.write_text('{"a": ' + "[" * 100_000)
    with pytest.raises(ValueError, match=r"bad\.json' cannot be read"):
        list(json_stream.elements(path))


def test_an_element_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "_LONGEST", 1000)
    monkeypatch.setattr(json_stream, "_CHUNK", 100)
    path = tmp_path / "bad.json"
    path.write_text('{"a": ["' + "x" * 5000)
    with pytest.raises(ValueError, match="more than 1000 characters"):
        list(json_stream.elements(path))
