"""Settings that the rows of a study must share, so that only the method differs."""

from collections.abc import Iterable, Mapping, Sequence

# The data, the schedule and the evaluation.
_ALWAYS = (
    "dataset",
    "train_split",
    "val_dataset",
    "val_split",
    "input_size",
    "crop_size",
    "batch_size",
    "student",
    "budget",
    "class_balanced",
    "weight_decay",
    "min_scale",
    "max_scale",
    "flip",
    "color_jitter",
    "unlabelled",
    "unlabelled_in_batch",
    "epochs",
    "learning_rate",
)
# If both rows have the stage.
_OF_STAGE = {
    "teacher": (
        "teacher",
        "teacher_dataset",
        "teacher_size",
        "teacher_classes",
        "teacher_windows",
        "teacher_flip",
        "teacher_scales",
        "teacher_epochs",
        "teacher_learning_rate",
    ),
    "prune": ("prune_epochs", "prune_learning_rate", "dense"),
    "quantize": ("qat_epochs", "qat_learning_rate", "dense"),
    "group": (),
}
NAMES = tuple(dict.fromkeys((*_ALWAYS, *(name for names in _OF_STAGE.values() for name in names))))


def by_name(words: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Returns the values of the flags of a command line, by name, in their order.

    Two command lines of equal content are equal, however their flags are ordered.
    """
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        name, equals, value = word.lstrip("-").partition("=")
        if not equals:
            name, value = (name[2:], "False") if name[:2] == "no" and name[2:] in NAMES else (name, "True")
        found[name] = (*found.get(name, ()), value)
    return found


def words_of(**values: object) -> list[str]:
    """Returns the words of a command line that set these values."""
    return [f"--{name}" if value is True else f"--{name}={value}" for name, value in values.items()]


def asked(words: Iterable[str]) -> dict[str, object]:
    """Returns the settings of a command line; the last value of a repeated flag counts."""
    given = {name: values[-1] for name, values in by_name(words).items()}
    stages = given.get("stages", "").split(",")
    return dict.fromkeys(NAMES, "not given") | given | {"stages": stages}


def unequal(one: Mapping, other: Mapping, varies: Sequence[str] = ()) -> dict[str, tuple]:
    """Returns the settings in which two rows differ but must not.

    Args:
        one, other: Settings by name, with the list `stages`; as of `asked`, or the `flags` of a report.
        varies: Settings that may differ.

    Returns:
        Both values, by setting. Settings that an older report lacks are left out.
    """
    stages = set(one.get("stages") or ()) & set(other.get("stages") or ())
    names = [*_ALWAYS, *(name for stage, of in _OF_STAGE.items() if stage in stages for name in of)]
    found = {}
    for name in dict.fromkeys(names):
        known = name in one and name in other
        if known and name not in varies and one[name] != other[name]:
            found[name] = (one[name], other[name])
    return found


def check_equal(one: str, settings: Mapping, other: str, others: Mapping, varies: Sequence[str]) -> None:
    """Checks that two rows have equal settings.

    Args:
        one, other: The names of the rows.
        settings, others: Their settings, as of `unequal`.
        varies: Settings that may differ.

    Raises:
        ValueError: if another setting differs; the message names it.
    """
    differ = unequal(settings, others, varies)
    if differ:
        named = "; ".join(f"{name}: {a} and {b}" for name, (a, b) in differ.items())
        raise ValueError(
            f"{one!r} and {other!r} have different settings: {named}. Expected rows that differ in the "
            f"method only. Make them equal, or add to `varies`: {','.join(differ)}."
        )
