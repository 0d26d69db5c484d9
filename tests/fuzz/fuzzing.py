"""Inputs by the thousand: what is wrong with one is said in our words; nothing hangs or leaves its box."""

import contextlib
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
# Inputs of each check in the default suite; the slow one takes as many as the check says.
QUICK = 15
_SECONDS = 60  # no input may keep us busy as long as that
_MEMORY = 1 << 30  # nor may all inputs of a check together ask for more than that
# What users are told of; a subclass such as UnicodeDecodeError is Python talking to itself.
_OURS = (ValueError, TypeError, FloatingPointError, MemoryError, ImportError)
_OUR_CODE = tuple(str(ROOT / folder) + os.sep for folder in ("tfsegkd", "tools"))
# Nothing that reads a file has any business here.
_DEEDS = {
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "socket.connect",
    "socket.bind", "ctypes.dlopen", "pickle.find_class", "marshal.loads", "shutil.rmtree", "os.remove",
    "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.truncate",
}  # fmt: skip

planned: dict[str, int] = {}
generated: dict[str, int] = {}
_watching: list["_Box"] = []


def fuzz(strategy: st.SearchStrategy, count: int) -> Callable:
    """Makes a test of a check of one input: a few inputs in the default suite, `count` in the slow one.

    The check takes the input and an empty directory, in which it runs and where alone it may write.
    """

    def decorate(check):
        planned[check.__name__] = count

        @pytest.mark.parametrize("examples", [QUICK, pytest.param(count, marks=pytest.mark.slow, id="all")])
        def test(examples, tmp_path_factory, monkeypatch):
            box = tmp_path_factory.mktemp("outside") / "box"
            box.mkdir()
            monkeypatch.chdir(box)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                # The default suite is the same every day; the slow one looks elsewhere each time.
                derandomize=examples == QUICK,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            )
            @given(strategy)
            def examine(case):
                generated[check.__name__] = generated.get(check.__name__, 0) + 1
                with _boxed(box), _in_time():
                    check(case, box)

            examine()
            grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
            assert grown < _MEMORY, f"{check.__name__} asked for {grown >> 20} MB"

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return decorate


@contextlib.contextmanager
def ours(*others: type[BaseException]) -> Iterator[None]:
    """Lets pass what works, and errors that are raised by our code with a whole sentence for the user.

    Args:
        others: Errors of others that the tools show as well as their own.
    """
    try:
        yield
    except others:
        return
    except Exception as error:
        fault = _fault(error)
        if fault:
            raise AssertionError(f"{fault}: {type(error).__name__}: {error}") from error


def _fault(error) -> str | None:
    if isinstance(error, OSError):
        # The system's own messages name the file.
        said = error.filename is not None
    else:
        said = type(error) in _OURS or type(error).__module__.startswith("tfsegkd.")
    if isinstance(error, AssertionError) or (
        not said and type(error) not in (*_OURS, FileNotFoundError, OSError)
    ):
        return "not an error for users"
    if isinstance(error, OSError) and error.filename is not None:
        return None
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    if not trace.tb_frame.f_code.co_filename.startswith(_OUR_CODE):
        return f"raised in {trace.tb_frame.f_code.co_filename}"
    message = str(error)
    return None if len(message.split()) > 4 and message.rstrip()[-1] in ".)?" else "no sentence"


class _Box:
    def __init__(self, directory: Path):
        self.directory, self.deeds = str(directory), []

    def saw(self, event, arguments):
        if event == "open":
            path, mode, flags = arguments
            writes = mode and any(letter in mode for letter in "wax+")
            writes = writes or (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if writes and not isinstance(path, int) and not self._allowed(os.fsdecode(path)):
                self.deeds.append(f"wrote {os.fsdecode(path)!r}")
        elif event in _DEEDS:
            named = [os.fsdecode(word) for word in arguments if isinstance(word, str | bytes | os.PathLike)]
            if not named or not all(map(self._allowed, named)):
                self.deeds.append(f"{event} {named}")

    def _allowed(self, path):
        path = os.path.abspath(path)
        scratch = os.path.join(tempfile.gettempdir(), "tfsegkd_")
        # What Python, TensorFlow and Hypothesis keep for themselves.
        own = any(part in path for part in ("__pycache__", "__autograph_generated", os.sep + ".hypothesis"))
        own = own or path in (os.devnull, tempfile.gettempdir())
        return own or path.startswith((self.directory, scratch))


@contextlib.contextmanager
def working_children() -> Iterator[None]:
    """Inside, processes may be started: those that try out what might crash ours."""
    box, _watching[-1] = _watching[-1], _Box(Path(os.sep))
    try:
        yield
    finally:
        _watching[-1] = box


def _hear(event, arguments):
    if _watching:
        _watching[-1].saw(event, arguments)


sys.addaudithook(_hear)


@contextlib.contextmanager
def _boxed(directory):
    """Fails if anything is written beside `directory`, or done that a reader of files does not do."""
    box = _Box(directory)
    _watching.append(box)
    try:
        yield
    finally:
        _watching.pop()
    assert not box.deeds, box.deeds
    assert os.listdir(directory.parent) == [directory.name], "a file was written beside the directory"


@contextlib.contextmanager
def _in_time():
    def stop(*_):
        raise AssertionError(f"no answer after {_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@st.composite
def damaged(draw, content: bytes, most: int = 8) -> bytes:
    """`content` with some bytes changed, left out, doubled, or cut off."""
    data = bytearray(content)
    how = draw(st.sampled_from(("bytes", "words", "cut", "drop", "double")))
    if how == "cut":
        return bytes(data[: draw(st.integers(0, len(data)))])
    for _ in range(draw(st.integers(1, most))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        size = draw(st.integers(1, 16))
        if how == "bytes":
            data[place : place + 1] = bytes([draw(st.integers(0, 255))])
        elif how == "words":
            word = draw(st.sampled_from((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x10000, 0x40000000)))
            place -= place % 4
            data[place : place + 4] = word.to_bytes(4, "little")
        elif how == "drop":
            del data[place : place + size]
        else:
            data[place:place] = data[place : place + size]
    return bytes(data)


def edited(lines: st.SearchStrategy[str], most: int = 12) -> st.SearchStrategy[bytes]:
    """A text file of such lines, with any ends of lines, in UTF-8 or in something else."""
    text = st.builds(
        lambda lines, end, begin: begin + end.join(lines),
        st.lists(lines, max_size=most),
        st.sampled_from(("\n", "\r\n", "\r", "\n\n")),
        st.sampled_from(("", "\ufeff", "\n", " ")),
    )
    return st.one_of(
        text.map(lambda text: text.encode("utf-8", "surrogatepass")),
        text.map(lambda text: text.encode("utf-16", "surrogatepass")),
        st.binary(max_size=60),
    )


# Anything that JSON can hold, numbers that are none included.
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def altered(draw, tree, values: st.SearchStrategy = json_values, most: int = 3):
    """A JSON tree of which some parts are others, gone or doubled."""
    import copy

    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, most))):
        places = list(_places(tree))
        if not places:
            break
        parent, key = draw(st.sampled_from(places))
        how = draw(st.sampled_from(("other", "other", "gone", "moved")))
        if how == "other":
            parent[key] = draw(values)
        elif how == "gone":
            del parent[key]
        else:
            source, place = draw(st.sampled_from(places))
            with contextlib.suppress(LookupError):
                parent[key] = copy.deepcopy(source[place])
    return tree


def _places(tree):
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in list(keys):
        yield tree, key
        yield from _places(tree[key])
