"""The user's own latencies of files."""

import hashlib

import pytest

from tfsegkd.runtime import DeviceTable, kind_of_table


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "phone.csv"
        path.write_text(text)
        return path

    return write


def test_a_file_is_known_by_its_name(write, tmp_path):
    table = DeviceTable(write("file,ms,note\nsmall.tflite,2.5,cold\nlarge.tflite,\n"))
    assert table.milliseconds(tmp_path / "small.tflite") == 2.5
    assert table.milliseconds("large.tflite") is None and table.milliseconds("other.tflite") is None


def test_with_a_fingerprint_only_that_content_is_meant(write, tmp_path):
    old, new = tmp_path / "old" / "net.tflite", tmp_path / "new" / "net.tflite"
    for path in (old, new):
        path.parent.mkdir()
        path.write_text(path.parent.name)
    digest = hashlib.sha256(b"old").hexdigest()
    table = DeviceTable(write(f"file,ms,sha256\nnet.tflite,4,{digest}\n"))
    assert table.milliseconds(old) == 4 and table.milliseconds(new) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("layer,ms\nstem,1\n", "Expected the columns file,ms"),
        ("name;time\na;1\n", "has the header 'name;time'"),
        ("", "has the header ''"),
        ("file,ms\na.tflite,fast\n", "Line 2 .*'fast'"),
        ("file,ms\na.tflite,-1\n", "Line 2 "),
        ("file,ms\na.tflite,1\na.tflite,2\n", "Line 3 .*Expected a unique file"),
        ("file,ms\na.tflite,\n", "has no latency"),
    ],
)
def test_what_cannot_be_read_is_refused(write, content, message):
    with pytest.raises(ValueError, match=message):
        DeviceTable(write(content))


def test_the_heading_tells_what_a_table_is_about(write, tmp_path):
    assert kind_of_table(write("layer,ms\nstem,1\n")) == "layer"
    assert kind_of_table(write("ms,file\n1,a\n")) == "file"
    with pytest.raises(FileNotFoundError, match="layer,ms or file,ms"):
        kind_of_table(tmp_path / "none.csv")
