"""Files that are whole or not there."""

import json

import pytest

from tfsegkd.atomic import write_atomically, write_json


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "deep" / "model.keras"
    seen = []

    def write(temporary):
        seen.append(temporary)
        temporary.write_text("new")

    for _ in range(2):
        write_atomically(path, write)
    assert path.read_text() == "new" and names(path.parent) == ["model.keras"]
    # Keras chooses its format by the suffix; the rename is atomic within one directory.
    assert all(temporary.suffix == ".keras" and temporary.parent == path.parent for temporary in seen)


@pytest.mark.parametrize("fault", [OSError("disk full"), KeyboardInterrupt()])
def test_a_writer_that_fails_leaves_the_old_file_alone(fault, tmp_path):
    path = tmp_path / "report.json"
    path.write_text("old")

    def write(temporary):
        temporary.write_text("ha")
        raise fault

    with pytest.raises(type(fault)):
        write_atomically(path, write)
    assert path.read_text() == "old" and names(tmp_path) == ["report.json"]


def test_what_is_no_json_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "report.json"
    write_json(path, {"name": "Straße", "values": [1, 2.5, None]})
    assert "Straße" in path.read_text(encoding="utf-8")
    with pytest.raises(TypeError):
        write_json(path, {"model": object()})
    assert json.loads(path.read_text(encoding="utf-8"))["values"] == [1, 2.5, None]
    assert names(tmp_path) == ["report.json"]
