"""Imports a worker once and runs each request in a fork: TensorFlow takes longer to import than to convert.

Run as a script by `workers.run_again`; needs nothing of this package. The worker must not compute while it is
imported. Of each request a line tells the paths of its question, its answer and its log; the line that comes
back is the exit code.
"""

import importlib.util
import json
import os
import sys
import traceback


def main(worker: str) -> None:
    spec = importlib.util.spec_from_file_location("worker", worker)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for line in sys.stdin:
        asked, answered, log = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(_work(module, asked, answered, log))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _work(module, asked: str, answered: str, log: str) -> int:
    with open(log, "a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        module.main(asked, answered)
    except Exception:  # into the log, whatever it is
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    main(sys.argv[1])
