"""Runs tools as their users do, many in one process that has imported TensorFlow once."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).parents[2] / "tools"

# Each command is run by a child of its own, which finds everything imported already.
_SERVER = """
import json, os, runpy, sys, traceback
import tfsegkd.commands.command_line
for line in sys.stdin:
    tool, arguments, files = json.loads(line)
    child = os.fork()
    if not child:
        for number, path in zip((1, 2), files):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv, sys.path[:0] = [tool, *arguments], [os.path.dirname(tool)]
        try:
            runpy.run_path(tool, run_name="__main__")
            code = 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
            code = 99
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


def environment() -> dict[str, str]:
    """The environment of a user who has installed the package."""
    return {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "TF_CPP_MIN_LOG_LEVEL")
    }


class Shell:
    """Runs `tools/<tool>.py` with flags.

    Args:
        directory: Where commands run and their output is kept.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=directory,
            env=environment(),
        )

    def __call__(self, tool: str, *flags: str) -> Result:
        files = [self.directory / name for name in ("out.txt", "err.txt")]
        request = [str(TOOLS / f"{tool}.py"), flags, [str(path) for path in files]]
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        if not answer:
            raise RuntimeError("The server ended. Run a tool by hand to see why.")
        return Result(int(answer), *(path.read_text(encoding="utf-8") for path in files))

    def close(self) -> None:
        self._server.stdin.close()
        self._server.wait(60)
