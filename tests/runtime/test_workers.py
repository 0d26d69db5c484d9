"""Child processes, checked with scripts that do what workers should not."""

import os
import signal

import pytest

from tfsegkd.runtime import workers

# A worker as ours are: what it does stands in main, which the script calls.
_MAIN = "import json, os, signal, sys\ndef main(asked, answered):\n    {}\n"
_CALL = "if __name__ == '__main__': main(*sys.argv[1:])\n"
_BOTH = pytest.mark.parametrize("run", [workers.run, workers.run_again])


def _script(directory, work):
    script = directory / "worker.py"
    script.write_text(_MAIN.format(work) + _CALL)
    return str(script)


@_BOTH
def test_worker_finds_what_we_find_and_not_its_neighbours(tmp_path, monkeypatch, run):
    # The folder of the scripts must not shadow modules, and a path added here must reach the child.
    work = "json.dump({'path': sys.path, 'asked': json.load(open(asked))}, open(answered, 'w'))"
    monkeypatch.syspath_prepend("/an/added/path")
    answer = run(_script(tmp_path, work), {"number": 3})
    assert answer["asked"] == {"number": 3}
    assert "/an/added/path" in answer["path"]
    assert str(tmp_path) not in answer["path"]


@_BOTH
@pytest.mark.parametrize(
    ("work", "error", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", RuntimeError, "SIGKILL.*memory"),
        ("raise KeyError('gone')", RuntimeError, "KeyError: 'gone'"),
        ("open(answered, 'w').write('{\"error\": \"no such op\"}')", ValueError, "^no such op$"),
        ("pass", RuntimeError, "stopped before it answered: exit code 0"),
    ],
)
def test_failures_of_a_worker_are_one_line(tmp_path, run, work, error, message):
    with pytest.raises(error, match=message) as raised:
        run(_script(tmp_path, work), {})
    assert "\n" not in str(raised.value)


def test_a_worker_that_takes_too_long_is_stopped(tmp_path):
    with pytest.raises(RuntimeError, match="did not answer in 1 seconds"):
        workers.run(_script(tmp_path, "import time; time.sleep(60)"), {}, 1)


def test_what_is_run_again_is_imported_once_and_shares_nothing_else(tmp_path):
    script = _script(tmp_path, "json.dump({'pid': os.getpid(), 'parent': os.getppid()}, open(answered, 'w'))")
    one, two = (workers.run_again(script, {}) for _ in range(2))
    assert one["parent"] == two["parent"]
    assert len({one["pid"], two["pid"], one["parent"], os.getpid()}) == 4


def test_after_the_death_of_the_one_that_imports_there_is_another(tmp_path):
    script = _script(tmp_path, "json.dump({'parent': os.getppid()}, open(answered, 'w'))")
    first = workers.run_again(script, {})["parent"]
    os.kill(first, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="stopped before it answered: killed by SIGKILL"):
        workers.run_again(script, {})
    assert workers.run_again(script, {})["parent"] != first


def test_an_interrupted_request_is_not_answered_by_the_next(tmp_path):
    work = "import time; time.sleep(json.load(open(asked))['seconds']); open(answered, 'w').write('{}')"
    script = _script(tmp_path, work)
    workers.run_again(script, {"seconds": 0})
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            workers.run_again(script, {"seconds": 60})
    finally:
        signal.signal(signal.SIGALRM, before)
    # Were the answer that of the first, this one would not have been waited for.
    assert workers.run_again(script, {"seconds": 0.2}) == {}
