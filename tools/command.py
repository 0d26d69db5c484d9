"""Flags that several tools share, and how their faults are shown."""

import os
import sys
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app, flags, logging

from tfsegkd import checks, data

FLAGS = flags.FLAGS

# Errors whose message tells the user what to do.
_SAID_WELL = (ValueError, TypeError, OSError, ImportError, FloatingPointError, MemoryError)


def define_data() -> None:
    """--dataset and --data_dir."""
    flags.DEFINE_string("dataset", "road_scenes", f"Data set, one of {data.names()}, with options.")
    flags.DEFINE_string(
        "data_dir", None, "Where the data set's files lie; a data set's own option data_dir counts instead."
    )


def define_trust() -> None:
    """--allow_lambda and --trust_model."""
    flags.DEFINE_bool("allow_lambda", False, "Load Lambda layers of saved networks, which are Python code.")
    flags.DEFINE_bool("trust_model", False, "Load SavedModels, whose graphs can read and write files.")


def allowed() -> dict:
    """What of saved networks is allowed, as the arguments of whoever loads them."""
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
    """Prints a name and a sentence on each line."""
    width = max(map(len, choices))
    for name, sentence in choices.items():
        print(f"{name:{width}}  {sentence}")


def values() -> dict:
    """The values of a tool's own flags, without those that absl and TensorFlow bring along."""
    foreign = ("absl", "tensorflow")
    by_module = FLAGS.flags_by_module_dict().items()
    own = [flag for module, found in by_module if module.split(".")[0] not in foreign for flag in found]
    return {flag.name: flag.value for flag in own}


def run(main: Callable[..., None], takes_words: bool = False) -> None:
    """Runs a tool; what the user can mend is one line, without a traceback.

    Args:
        main: The tool.
        takes_words: Whether it takes a list of what stands on the line beside the options.
    """

    def guarded(arguments):
        # What TensorFlow says of its own workings would drown what the tool says.
        logging.set_verbosity(logging.ERROR)
        if len(arguments) > 1 and not takes_words:
            raise app.UsageError(f"Unexpected arguments {arguments[1:]}. All options begin with --.")
        try:
            main(*([arguments[1:]] if takes_words else []))
        except _SAID_WELL as error:
            if FLAGS.debug:
                raise
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)

    flags.DEFINE_bool("debug", False, "Show the traceback of an error.")
    app.run(guarded)
