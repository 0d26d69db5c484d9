"""Child processes, checked with scripts that do what workers should not."""

import os
import signal

import pytest

from tfsegkd.runtime import workers

_ANSWER = "import json, os, signal, sys\ndef answer(request):\n    {}\n"
_BOTH = pytest.mark.parametrize("run", [workers.run, workers.run_again])


def _script(directory, work):
    script = directory / "worker.py"
    script.write_text(_ANSWER.format(work))
    return str(script)


@_BOTH
def test_worker_finds_what_we_find_and_not_its_neighbours(tmp_path, monkeypatch, run):
    # The folder of the scripts must not shadow modules, and a path added here must reach the child.
    work = "return {'path': sys.path, 'asked': request}"
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
        ("raise ValueError('no\\nsuch op')", ValueError, "^no such op$"),
        ("os._exit(0)", RuntimeError, "stopped before it answered: exit code 0"),
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
    script = _script(tmp_path, "return {'pid': os.getpid(), 'parent': os.getppid()}")
    one, two = (workers.run_again(script, {}) for _ in range(2))
    assert one["parent"] == two["parent"]
    assert len({one["pid"], two["pid"], one["parent"], os.getpid()}) == 4


def test_after_the_death_of_the_one_that_imports_there_is_another(tmp_path):
    script = _script(tmp_path, "return {'parent': os.getppid()}")
    first = workers.run_again(script, {})["parent"]
    os.kill(first, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="stopped before it answered: killed by SIGKILL"):
        workers.run_again(script, {})
    assert workers.run_again(script, {})["parent"] != first


def test_an_interrupted_request_is_not_answered_by_the_next(tmp_path):
    work = "import time; time.sleep(request['seconds']); return {}"
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
