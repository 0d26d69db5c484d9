"""Child processes, checked with scripts that do what workers should not."""

import pytest

from tfsegkd.runtime import workers


def test_worker_finds_what_we_find_and_not_its_neighbours(tmp_path, monkeypatch):
    # The folder of the scripts must not shadow modules, and a path added here must reach the child.
    script = tmp_path / "probe.py"
    script.write_text(
        "import json, sys\n"
        "json.dump({'path': sys.path, 'asked': json.load(open(sys.argv[1]))}, open(sys.argv[2], 'w'))\n"
    )
    monkeypatch.syspath_prepend("/an/added/path")
    answer = workers.run(str(script), {"number": 3})
    assert answer["asked"] == {"number": 3}
    assert "/an/added/path" in answer["path"]
    assert str(tmp_path) not in answer["path"]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", RuntimeError, "SIGKILL.*memory"),
        ("raise KeyError('gone')", RuntimeError, "KeyError: 'gone'"),
        (
            "import sys; open(sys.argv[2], 'w').write('{\"error\": \"no such op\"}')",
            ValueError,
            "^no such op$",
        ),
    ],
)
def test_failures_of_a_worker_are_one_line(tmp_path, source, error, message):
    script = tmp_path / "fails.py"
    script.write_text(source)
    with pytest.raises(error, match=message) as raised:
        workers.run(str(script), {})
    assert "\n" not in str(raised.value)
