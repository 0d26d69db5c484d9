"""`in_subprocess`: runs a function in a fork, which frees its memory afterwards.

TensorFlow 2.21 keeps the graphs of every training until the process ends.
"""

import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from tensorflow.python.eager import context

from tfsegkd.runtime.workers import ending


def computes() -> bool:
    """Whether TensorFlow has computed anything, or initialized its devices, in this process."""
    return context._context is not None and context._context._context_handle is not None


def in_subprocess(work: Callable[[], Any]) -> Any:
    """Calls a function in a fork of this process and returns its result.

    The fork can read all variables of this process; its changes are lost. It ends with this process, even if
    this one is killed. After TensorFlow has computed something, and on systems without a safe fork, the
    function is called in this process.

    Args:
        work: The function. Its result must be picklable.

    Raises:
        Exception: what `work` raises, with its traceback as a note.
        ChildProcessError: if the process ends without a result; the message says how.
        RuntimeError: if it raises an exception that cannot be pickled.
    """
    if computes() or sys.platform != "linux":
        return work()
    fork = get_context("fork")
    ours, theirs = fork.Pipe()
    child = fork.Process(target=_answer, args=(work, ours, theirs))
    with ours:
        with theirs, warnings.catch_warnings():
            # Python warns of the threads of NumPy, which handles forks.
            warnings.simplefilter("ignore", DeprecationWarning)
            child.start()
        try:
            result, error, where = ours.recv()
        except EOFError:
            child.join()
            raise ChildProcessError(f"a process stopped: {ending(child.exitcode)}") from None
        child.join()
    if error is None:
        return result
    error.add_note(where)
    raise error


def _answer(work: Callable[[], Any], ours: Connection, theirs: Connection) -> None:
    """Runs in the fork."""
    ours.close()
    threading.Thread(target=_end_with_parent, args=(theirs,), daemon=True).start()
    try:
        theirs.send((work(), None, None))
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGINT)  # the parent is interrupted, too, and reports it
    except Exception as error:
        theirs.send((None, _carried(error), traceback.format_exc()))


def _end_with_parent(theirs: Connection) -> None:
    # Nothing is sent in this direction: the end of the pipe is the end of the parent.
    theirs.poll(None)
    os.kill(os.getpid(), signal.SIGKILL)


def _carried(error: Exception) -> Exception:
    """Returns the error if it can be pickled, else one with its message."""
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:  # pickling can raise any exception
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
