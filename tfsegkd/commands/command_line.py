"""Flags that several commands share, and how their errors are shown."""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable

from absl import app, flags, logging

from tfsegkd import checks, data
from tfsegkd.commands.flag_names import in_flags
from tfsegkd.commands.flagfiles import expand

FLAGS = flags.FLAGS

# What --web_runtime is for, in every command that writes try.html.
WEB_RUNTIME = (
    "The directory of the unpacked npm package @litertjs/core, for try.html to run offline; from npm, if "
    "that is on the path, unless given."
)

# How Arm instructions are counted, in every command that does.
ARM = "on an emulated Arm core; needs Debian's qemu-user and gcc."

# The title of each group of flags, with the flags that there were before it.
_GROUPS: list[tuple[str, frozenset[str]]] = []
# Packages whose flags are not the command's.
_FOREIGN = ("absl", "tensorflow")
# Errors whose message tells the user what to do.
_USER_ERRORS = (ValueError, TypeError, OSError, ImportError, FloatingPointError, MemoryError)


def group(title: str) -> None:
    """Lists the flags that are defined after this call under `title` in --help."""
    _GROUPS.append((title, frozenset(FLAGS)))


def define_data() -> None:
    """Defines --dataset and --data_dir."""
    flags.DEFINE_string("dataset", "road_scenes", f"The data set, one of {data.names()}, with options.")
    flags.DEFINE_string(
        "data_dir", None, "The directory of the data set; the option data_dir of a data set overrides it."
    )


def check_data() -> None:
    """Checks that a directory has the name of its data set; the default data set is generated.

    Raises:
        ValueError: if --data_dir is given without --dataset.
    """
    if FLAGS.data_dir and FLAGS["dataset"].using_default_value:
        raise ValueError(
            f"--data_dir={FLAGS.data_dir} needs the name of its data set. Received: no --dataset, which is "
            f"then {FLAGS.dataset}, generated images. Give --dataset=folder, or one of {data.names()}."
        )


def define_trust() -> None:
    """Defines --allow_lambda and --trust_model."""
    flags.DEFINE_bool("allow_lambda", False, "Load Lambda layers of saved networks, which are Python code.")
    flags.DEFINE_bool("trust_model", False, "Load SavedModels, whose graphs can read and write files.")


def renamed(old: str, new: str) -> None:
    """Makes the old name of a flag work, with a warning; --help shows the new one only."""
    flags.DEFINE_flag(_Renamed(old, FLAGS[new]))


class _Renamed(flags.Flag):
    def __init__(self, old: str, current: flags.Flag):
        help_text = f"Is now called --{current.name}."
        super().__init__(current.parser, current.serializer, old, None, help_text, boolean=current.boolean)
        self._current = current

    def parse(self, argument):
        print(f"warning: --{self.name} is now called --{self._current.name}", file=sys.stderr)
        self._current.parse(argument)
        self._current.using_default_value = False
        self._current.present += 1


def allowed() -> dict:
    """Returns the flags of `define_trust` as arguments of functions that load networks."""
    return {"allow_lambda": FLAGS.allow_lambda, "trust_model": FLAGS.trust_model}


def size(text: str, flag: str) -> tuple[int, int]:
    """Reads 'HEIGHTxWIDTH'.

    Raises:
        ValueError: for anything else.
    """
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise ValueError(f"--{flag}={text!r} must be HEIGHTxWIDTH in pixels, such as 192x256.")
    return int(parts[0]), int(parts[1])


def number(text: str, flag: str) -> float:
    """Reads a number above 0.

    Raises:
        ValueError: for anything else.
    """
    try:
        return checks.positive(float(text), f"--{flag}")
    except ValueError:
        raise ValueError(f"--{flag}={text!r} must be a number above 0, such as 1.25.") from None


def print_choices(choices: dict[str, str]) -> None:
    """Prints a line per choice: its name and a sentence."""
    width = max(map(len, choices))
    for name, sentence in choices.items():
        print(f"{name:{width}}  {sentence}")


def values() -> dict:
    """Returns the values of a command's own flags, without those of absl and TensorFlow."""
    return {flag.name: flag.value for flag in _own_flags()}


def _own_flags() -> list[flags.Flag]:
    by_module = FLAGS.flags_by_module_dict().items()
    own = [flag for module, found in by_module if module.split(".")[0] not in _FOREIGN for flag in found]
    return [flag for flag in own if not isinstance(flag, _Help | _Renamed)]


def run(main: Callable[..., None], define_flags: Callable[[], None], takes_words: bool = False) -> None:
    """Runs a command; errors that a user can fix are printed in one line, without a traceback.

    Args:
        main: The command; --help starts with the docstring of its module.
        define_flags: Defines its flags.
        takes_words: Whether it takes a list of positional arguments.
    """

    def guarded(arguments):
        # TensorFlow's log would drown the output of the command.
        logging.set_verbosity(logging.ERROR)
        try:
            if len(arguments) > 1 and not takes_words:
                raise ValueError(f"Unexpected arguments {arguments[1:]}. All options begin with --.")
            _expand_home()
            main(*([arguments[1:]] if takes_words else []))
        except _USER_ERRORS as error:
            if FLAGS.debug:
                raise
            _fail(in_flags(str(error), FLAGS))

    define_flags()
    if _GROUPS:
        group("Help")
    flags.DEFINE_bool("debug", False, "Show the traceback of an error.")
    app.define_help_flags()
    flags.DEFINE_flag(_Help(main.__globals__["__doc__"].strip()))
    app.run(guarded, flags_parser=_parse_or_exit)


def _expand_home() -> None:
    """Replaces ~ at the start of paths, which a shell leaves in --flag=~/path and in flagfiles."""

    def expanded(value):
        return os.path.expanduser(value) if isinstance(value, str) else value

    for flag in _own_flags():
        is_list = isinstance(flag.value, list)
        # The value alone: an assignment to FLAGS would count as given.
        flag.value = [*map(expanded, flag.value)] if is_list else expanded(flag.value)


def _fail(message) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)


def parsed(arguments: list[str]) -> list[str]:
    """Parses flags and flagfiles; returns the remaining arguments, the command's name first.

    Raises:
        flags.Error: for arguments that cannot be parsed; the message suggests a similar value.
    """
    try:
        return FLAGS([*arguments[:1], *expand(arguments[1:])])
    except flags.Error as error:
        message = re.sub(r"^flag --\w+=None: Flag ", "", " ".join(str(error).split()))
        raise flags.Error(f"{message}{_nearest(message)}") from None
    except ValueError as error:
        raise flags.Error(
            f"A flagfile cannot be read: {error}. Expected a flag on each line, in UTF-8."
        ) from None


def _nearest(message: str) -> str:
    """Returns the end of a message: a choice that is similar to the refused value."""
    found = re.match(r"flag --(\w+)=([^:]*): ", message)
    choices = getattr(FLAGS[found[1]].parser, "enum_values", None) if found else None
    return "." * (message[-1] not in ".?") + (checks.did_you_mean(found[2], choices) if choices else "")


def _parse_or_exit(arguments: list[str]) -> list[str]:
    try:
        return parsed(arguments)
    except flags.Error as error:
        _fail(f"{error} --help shows the options.")


class _Help(flags.BooleanFlag):
    """--help: the summary of a command, and its own flags by group."""

    def __init__(self, summary: str):
        super().__init__("help", False, "Show this.", short_name="?", allow_override=True)
        self._summary = summary

    def parse(self, argument):
        if self._parse(argument):
            print(help_text(self._summary, shutil.get_terminal_size().columns))
            sys.exit(0)


def help_text(summary: str, columns: int) -> str:
    """Returns the text of --help.

    Args:
        summary: A description of the command.
        columns: The width of the terminal.
    """
    width = min(max(columns, 60), 110)
    starts = _GROUPS or [("Options", frozenset())]
    ends = [*(before for _, before in starts[1:]), frozenset(FLAGS)]
    parts = [summary]
    for (title, before), after in zip(starts, ends, strict=True):
        members = [flag for flag in _own_flags() if flag.name in after - before]
        if not _GROUPS:
            # The command's own flags before shared ones.
            members.sort(key=lambda flag: FLAGS.find_module_defining_flag(flag.name) == __name__)
        parts.append("\n".join([f"{title}:", *(line for flag in members for line in _help_of(flag, width))]))
    return "\n\n".join(
        [
            *parts,
            "--flagfile=FILE reads flags from a file, which those after it replace; --helpfull shows absl's "
            "flags, too.",
        ]
    )


def _help_of(flag: flags.Flag, width: int) -> list[str]:
    # absl puts the choices before the help of a flag, and a note on repetition after it.
    text = re.sub(r"^<[^>]*>: |;\s+repeat this option to specify a list of values$", "", flag.help)
    left = f"  --[no]{flag.name}" if flag.boolean and flag.default else f"  --{flag.name}"
    if not flag.boolean:
        default = flag.default if isinstance(flag.default, list) else [flag.default]
        left += f"={','.join(str(value) for value in default if value is not None) or '…'}"
        choices = getattr(flag.parser, "enum_values", ())
        text += f" One of {', '.join(choices)}." if choices else ""
    indent = 30
    lines = textwrap.wrap(text, width - indent, break_long_words=False, break_on_hyphens=False)
    if len(left) >= indent:
        return [left, *(" " * indent + line for line in lines)]
    return [f"{left:{indent}}{lines[0]}", *(" " * indent + line for line in lines[1:])]
