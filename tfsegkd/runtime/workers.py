"""Subprocesses for work that leaks memory or may crash."""

import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

_one_at_a_time = threading.Lock()


def run(script: str, request: dict[str, Any], seconds: float | None = None) -> dict[str, Any]:
    """Runs a script of this directory in a new Python process and returns its `answer(request)`.

    `worker_process` describes the script. After `seconds` it is stopped.

    Raises:
        ValueError: if `answer` raises; the message is one line.
        RuntimeError: if the script ended without an answer.
    """

    def work(asked, answered, log):
        with log.open("wb") as file:
            try:
                command = [*_python(script), str(asked), str(answered)]
                options = {"env": _environment(), "stdout": file, "stderr": file, "check": False}
                return subprocess.run(command, timeout=seconds, **options).returncode
            except subprocess.TimeoutExpired:
                raise RuntimeError(f"{script} did not answer in {seconds:g} seconds.") from None

    return _answer(script, request, work)


def run_again(script: str, request: dict[str, Any]) -> dict[str, Any]:
    """Like `run`, for a script with a slow import that is used often: it is imported once."""

    def work(asked, answered, log):
        with _one_at_a_time:
            server = _fork_server(script, os.getpid())
            try:
                server.stdin.write(json.dumps([str(asked), str(answered), str(log)]) + "\n")
                server.stdin.flush()
                return int(server.stdout.readline())
            except (OSError, ValueError):
                _fork_server.cache_clear()
                how = ending(server.wait())
                raise RuntimeError(f"{script} stopped before it answered: {how}.") from None
            except BaseException:
                # Interrupted: later answers would be of an abandoned request.
                _fork_server.cache_clear()
                server.kill()
                raise

    return _answer(script, request, work)


@functools.cache
def _fork_server(script: str, process: int) -> subprocess.Popen:
    """Returns the server process; each process has its own."""
    # It ends when its input is closed.
    return subprocess.Popen(
        _python(script),
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _answer(script, request, work):
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as directory:
        asked, answered, log = (Path(directory, name) for name in ("request.json", "answer.json", "log.txt"))
        asked.write_text(json.dumps(request))
        code = work(asked, answered, log)
        if code != 0 or not answered.exists():
            raise RuntimeError(f"{script} stopped before it answered: {_cause(code, log)}.")
        answer = json.loads(answered.read_text())
    if "error" in answer:
        raise ValueError(answer["error"])
    return answer


def _python(script):
    # -P: the names of the files in this folder shadow nothing that the child imports.
    folder = Path(__file__).parent
    return [sys.executable, "-P", str(folder / "worker_process.py"), str(folder / script)]


def _environment():
    # The child uses the same sys.path.
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }


def _cause(code, log):
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines and code > 0 else ending(code)


def ending(code: int) -> str:
    """Describes the exit code of a child process."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"killed by {name}" + (", often a sign of too little memory" if name == "SIGKILL" else "")
