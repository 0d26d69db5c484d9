"""Classes of annotations by name."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfsegkd import checks
from tfsegkd.data.labels import distinct_colors, read_labels
from tfsegkd.data.source import IGNORE_LABEL, DatasetInfo

UNLABELLED_AS = ("background", "void")
_BACKGROUND = {"background", "_background_", "__background__"}
_VOID = {"void", "ignore", "_ignore_", "__ignore__"}


@dataclass(frozen=True)
class Vocabulary:
    """The names and labels of a data set's classes.

    Args:
        info: The classes.
        labels: The label of each used name in the annotations, including void.
        rest: The label of pixels without annotation.
        notes: The notes.
    """

    info: DatasetInfo
    labels: Mapping[str, int]
    rest: int
    notes: tuple[str, ...]


def without_background(names: Iterable[str], unlabelled: str) -> dict[str, int]:
    """Returns the names without 'background' if pixels without annotation are void."""
    return {name: 1 for name in names if unlabelled == "background" or name.lower() not in _BACKGROUND}


def vocabulary(
    dataset: str, found: Mapping[str, int], root: Path, classes: Sequence[str] | None, unlabelled: str
) -> Vocabulary:
    """Assigns labels to the names of annotations.

    The classes are those of `classes`, of a `labels.txt` in `root`, or all names of annotations, in this
    order of preference. Pixels without annotation have the class 'background', which comes first unless it is
    listed, or void. 'void' and '__ignore__' are void.

    Args:
        dataset: The data set's name, for messages.
        found: The number of annotations of each name in all splits, in label order.
        root: The data set's directory.
        classes: The names to use; others are not drawn.
        unlabelled: One of `UNLABELLED_AS`.

    Raises:
        TypeError: if `classes` is not a list of names.
        ValueError: for fewer than two classes, or more than 255.
    """
    checks.one_of(unlabelled, UNLABELLED_AS, f"unlabelled of {dataset}")
    if classes is not None and (
        isinstance(classes, str) or not all(isinstance(name, str) for name in classes)
    ):
        raise TypeError(
            f"classes of {dataset} must be a list of names, as in {dataset}(classes=['road', 'car']). "
            f"Received: {classes!r}."
        )
    listed = classes or (read_labels(root / "labels.txt") if (root / "labels.txt").is_file() else None)
    names = list(dict.fromkeys(listed or (name for name in found if name.lower() not in _VOID)))
    rest = IGNORE_LABEL
    if unlabelled == "background":
        own = next((name for name in names if name.lower() in _BACKGROUND), None)
        if own is None or not listed:
            names = [own or "background", *(name for name in names if name != own)]
        rest = names.index(own or "background")
    if not 2 <= len(names) <= IGNORE_LABEL:
        raise ValueError(
            f"The annotations have the classes {names[:8]}. Expected 2 to {IGNORE_LABEL}. Annotate more, or, "
            f"of one class, let what is not annotated be the other: {dataset}(unlabelled=background)."
        )
    labels = {name: label for label, name in enumerate(names)}
    labels |= {name: IGNORE_LABEL for name in found if name.lower() in _VOID and name not in labels}
    what = "void" if rest == IGNORE_LABEL else repr(names[rest])
    notes = [f"{len(names)} classes: {_few(names)}; pixels without annotation are {what}."]
    if out := [f"{name} ({count})" for name, count in found.items() if name not in labels]:
        notes.append(f"Not used: {_few(out)}.")
    lower = [name.lower() for name in names]
    if twins := [name for name in names if lower.count(name.lower()) > 1]:
        notes.append(f"These classes differ only in capitals: {_few(twins)}.")
    info = DatasetInfo(dataset, tuple(names), distinct_colors(len(names)))
    return Vocabulary(info, labels, rest, notes=tuple(notes))


def _few(names):
    return ", ".join(map(str, names[:12])) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
