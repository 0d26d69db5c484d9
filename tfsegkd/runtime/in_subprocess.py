"""Work in a copy of this process, which takes its memory along.

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
    """Whether TensorFlow has computed anything in this process, or asked for its devices."""
    return context._context is not None and context._context._context_handle is not None


def in_subprocess(work: Callable[[], Any]) -> Any:
    """Does some work in a process of its own and returns what it returns.

    The process is a copy of this one, so that `work` sees all that there is here; what it changes in memory
    is lost. It ends with this one, even if that is killed. A process in which TensorFlow has begun to compute
    cannot be copied, nor can any where there is no safe fork; there `work` is done in place.

    Args:
        work: What to do. Its result must be one that pickle can carry.

    Raises:
        Exception: what `work` raises, with the traceback of there as a note.
        ChildProcessError: if the process stops without an answer; the message says how it ended.
        RuntimeError: if it raises what cannot be carried.
    """
    if computes() or sys.platform != "linux":
        return work()
    fork = get_context("fork")
    ours, theirs = fork.Pipe()
    child = fork.Process(target=_answer, args=(work, ours, theirs))
    with ours:
        with theirs, warnings.catch_warnings():
            # The threads that Python warns of are those of NumPy, which knows about forks.
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
    """The life of the copy."""
    ours.close()
    threading.Thread(target=_end_with_parent, args=(theirs,), daemon=True).start()
    try:
        theirs.send((work(), None, None))
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGINT)  # the one above has been interrupted as well, and says so
    except Exception as error:
        theirs.send((None, _carried(error), traceback.format_exc()))


def _end_with_parent(theirs: Connection) -> None:
    # Nothing is ever sent this way: the end of the pipe is the end of the process above.
    theirs.poll(None)
    os.kill(os.getpid(), signal.SIGKILL)


def _carried(error: Exception) -> Exception:
    """The error itself if it survives the way, else one with its words."""
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:  # whatever a class does when it is packed
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
