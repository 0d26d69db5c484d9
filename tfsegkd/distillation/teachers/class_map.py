"""Class maps: from the channels of a teacher of other classes to the student's classes."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from tfsegkd import checks
from tfsegkd.distillation.teachers.base import Teacher, Wrapper, digest
from tfsegkd.distillation.teachers.mixture import NEVER
from tfsegkd.distillation.terms import LOGITS

ClassMap = Mapping[str, Sequence[int | str] | int | str]
_INDEX = re.compile("[0-9]{1,9}")


class Mapped(Wrapper):
    """A teacher whose logits are mapped to the student's classes.

    The probabilities of several channels for one class are added (logsumexp of the logits). Channels for no
    class are dropped: the softmax distributes their probability among the others in proportion.

    Args:
        teacher: The teacher; its other layers are unchanged.
        channels: The teacher's channels for each class of the student, see `read_class_map`. Only a member of
            an `Ensemble` may have no channel for a class.
    """

    def __init__(self, teacher: Teacher, channels: Sequence[Sequence[int]]):
        super().__init__(teacher)
        self.channels = tuple(map(tuple, channels))

    def feature_extractor(self, names):
        return self._with_classes(self.teacher.feature_extractor(names))

    def log_feature_extractor(self, names):
        return self._with_classes(self.teacher.log_feature_extractor(names))

    def _with_classes(self, run_teacher):
        def run(images):
            outputs = dict(run_teacher(images))
            if LOGITS in outputs:
                outputs[LOGITS] = self._mapped(outputs[LOGITS])
            return outputs

        return run

    def covered(self, num_classes):
        return [bool(channels) for channels in self.channels]

    def _mapped(self, logits):
        classes = [
            tf.reduce_logsumexp(tf.gather(logits, channels, axis=-1), axis=-1)
            if channels
            else tf.fill(tf.shape(logits)[:-1], NEVER)
            for channels in self.channels
        ]
        return tf.stack(classes, axis=-1)

    def fingerprint(self):
        return digest("mapped", self.teacher.fingerprint(), str(self.channels))

    def scaled(self, scale):
        return Mapped(self.teacher.scaled(scale), self.channels)


def read_class_map(
    class_map: ClassMap | str | os.PathLike,
    class_names: Sequence[str],
    num_channels: int,
    teacher_classes: Sequence[str] | str | os.PathLike | None = None,
    partial: bool = False,
) -> list[list[int]]:
    """Returns the teacher's channels for each class of the student, in the student's order.

    Args:
        class_map: A table from the student's classes to one or several of the teacher's, each an index or a
            name; or the path of a file with one: JSON, or lines such as `Car: 13, truck  # a comment`.
        class_names: The student's classes in order.
        num_channels: The number of the teacher's channels.
        teacher_classes: The names of the teacher's classes in order, or the path of a file with one per line;
            needed where the table uses these names.
        partial: Whether the table may leave out some of the student's classes, but not all.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a table that cannot be read, misses a class, names an unknown one, or uses a channel
            twice.
    """
    what = "class_map" if isinstance(class_map, Mapping) else f"class_map {os.fspath(class_map)!r}"
    table = class_map if isinstance(class_map, Mapping) else _read(Path(class_map))
    table = {
        name: list(given) if isinstance(given, list | tuple) else [given] for name, given in table.items()
    }
    unknown = sorted(set(table) - set(class_names))
    missing = [name for name in class_names if not table.get(name)]
    if unknown or (missing and not partial) or len(missing) == len(class_names):
        raise ValueError(
            f"{what} must map the student's classes {list(class_names)}. Missing: {missing}; "
            f"unknown: {unknown}. Correct the table."
        )
    names = _names(teacher_classes)
    if names is not None and len(names) != num_channels:
        raise ValueError(
            f"teacher_classes must name the teacher's {num_channels} channels. Received: {len(names)} names. "
            f"Name them all, a background included."
        )
    channels = [
        [_channel(what, name, given, num_channels, names) for given in table.get(name, ())]
        for name in class_names
    ]
    used = sorted(channel for group in channels for channel in group)
    twice = sorted({channel for channel in used if used.count(channel) > 1})
    if twice:
        raise ValueError(f"{what} uses the teacher's channels {twice} twice. Give each to one class.")
    return channels


def _channel(what, name, given, num_channels, names):
    if isinstance(given, str) and names is None:
        raise ValueError(
            f"{what} gives {name!r} the teacher's class {given!r} by name. Pass `teacher_classes`, the names "
            f"of the teacher's {num_channels} classes in order, or use their indices."
        )
    channel = given
    if isinstance(given, str):
        channel = names.index(given) if given in names else None
    if isinstance(channel, bool) or not isinstance(channel, int) or not 0 <= channel < num_channels:
        raise ValueError(
            f"{what} gives {name!r} the teacher's class {given!r}. Expected an index from 0 to "
            f"{num_channels - 1}{f' or one of {names}' if names else ''}. Correct the table."
        )
    return channel


def _names(teacher_classes):
    if teacher_classes is None or not isinstance(teacher_classes, str | os.PathLike):
        return None if teacher_classes is None else list(teacher_classes)
    return [
        line.strip() for line in _text(Path(teacher_classes), "teacher_classes").splitlines() if line.strip()
    ]


def _read(path: Path) -> dict:
    text = _text(path, "class_map")
    if path.suffix != ".json":
        return _read_lines(path, text)
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"class_map {str(path)!r} is no JSON: {error}. Correct the file.") from None
    if not isinstance(table, dict):
        raise ValueError(
            f"class_map {str(path)!r} must be a JSON object from classes to channels. Received: a "
            f"{type(table).__name__}. Correct the file."
        )
    return table


def _text(path: Path, what: str) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"No {what} file at {str(path)!r}. Check the path.")
    return checks.text_of(path, "classes, a line each, or JSON")


def _read_lines(path: Path, text: str) -> dict[str, list[int | str]]:
    table = {}
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        name, colon, given = (part.strip() for part in line.partition(":"))
        items = [item.strip() for item in given.split(",")]
        if not (name and colon and all(items)) or name in table:
            raise ValueError(
                f"Line {number} of {str(path)!r} is {line!r}. Expected each class once, as 'Car: 13, 14'."
            )
        table[name] = [int(item) if _INDEX.fullmatch(item) else item for item in items]
    return table
