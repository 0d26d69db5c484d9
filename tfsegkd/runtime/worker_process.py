"""The process of a worker: imports a script once and has it answer requests.

Run as a script by `workers`; needs nothing of this package. The script has a function `answer`, from request
to answer, both JSON; a ValueError of it goes to the caller, any other error ends the process. It must not
compute while it is imported.

    worker_process.py SCRIPT REQUEST ANSWER   answers one request
    worker_process.py SCRIPT                  answers a request for each line, in a fork of its own

TensorFlow takes longer to import than to convert, which is what forks are for. A line names the paths of the
request, of its answer and of its log; the line that comes back is the exit code.
"""

import importlib.util
import json
import os
import sys
import traceback
from pathlib import Path


def main(script: str, *paths: str) -> None:
    spec = importlib.util.spec_from_file_location("worker", script)
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    if paths:
        _answer(worker, *paths)
        return
    for line in sys.stdin:
        asked, answered, log = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(_answer_in_fork(worker, asked, answered, log))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _answer(worker, asked: str, answered: str) -> None:
    request = json.loads(Path(asked).read_text())
    try:
        found = worker.answer(request)
    except ValueError as error:
        found = {"error": " ".join(str(error).split()) or "ValueError"}
    Path(answered).write_text(json.dumps(found))


def _answer_in_fork(worker, asked: str, answered: str, log: str) -> int:
    with open(log, "a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        _answer(worker, asked, answered)
    except Exception:  # into the log, whatever it is
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    main(*sys.argv[1:])
