"""Locks of files and the memory of a process, which the standard library has for POSIX systems only.

Elsewhere nothing is locked, so that two runs in one directory are not kept apart, and no memory is counted.
"""

from typing import IO

try:
    import fcntl
    import resource
except ImportError:  # Windows
    fcntl = resource = None


def lock(file: IO, wait: bool) -> None:
    """Locks an open file; the system releases the lock when the process ends, however it ends.

    Args:
        file: An open file.
        wait: Whether to wait until another process has released it.

    Raises:
        BlockingIOError: if another process holds it and `wait` is False.
    """
    if fcntl:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


def peak_memory(with_children: bool = False) -> int:
    """The most memory that this process has had at once, in KiB; 0 where it is not counted.

    Args:
        with_children: Whether a process that it has waited for counts, too.
    """
    if not resource:
        return 0
    of = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)[: 1 + with_children]
    return max(resource.getrusage(who).ru_maxrss for who in of)
