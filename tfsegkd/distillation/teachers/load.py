"""`load_teacher`: teachers from networks, files and functions."""

import contextlib
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import h5py

from tfsegkd import _keras, models
from tfsegkd._keras import keras
from tfsegkd.data import Source
from tfsegkd.distillation.teachers.averages import Ensemble, Views
from tfsegkd.distillation.teachers.base import Teacher
from tfsegkd.distillation.teachers.class_map import ClassMap, Mapped, read_class_map
from tfsegkd.distillation.teachers.external import FunctionTeacher, Normalized, SavedModelTeacher
from tfsegkd.distillation.teachers.fitting import fit_weights
from tfsegkd.distillation.teachers.member import Member, parse_members
from tfsegkd.distillation.teachers.networks import Keras3Teacher, KerasTeacher
from tfsegkd.distillation.teachers.sized import AtSize
from tfsegkd.distillation.teachers.tflite import TfliteTeacher
from tfsegkd.distillation.teachers.windows import Windows
from tfsegkd.distillation.terms import LOGITS
from tfsegkd.graph.keras_graph import is_functional

_WITH_OUTPUTS = (KerasTeacher, Keras3Teacher, SavedModelTeacher, TfliteTeacher)
Loadable = Teacher | Member | Callable | str | os.PathLike | Sequence


def load_teacher(
    teacher: Loadable,
    class_map: ClassMap | str | os.PathLike | None = None,
    num_classes: int | None = None,
    *,
    class_names: Sequence[str] | None = None,
    teacher_classes: Sequence[str] | str | os.PathLike | None = None,
    normalize: tuple | None = None,
    windows: bool = False,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    weights: Sequence | Literal["fit"] | None = None,
    held_out: Source | None = None,
    output: str | None = None,
    num_threads: int | None = None,
    name: str | None = None,
    allow_lambda: bool = False,
    trust_model: bool = False,
) -> Teacher:
    """Returns a `Teacher` for a network, file or function that segments images.

    Args:
        teacher: A functional tf_keras network, a Keras 3 network, or the path of a saved one; the path of a
            SavedModel or of a `.tflite`; a function from images (N, H, W, 3), 0…255, to logits or to a
            dictionary of layers; a list of any of these, which is averaged (see `Ensemble`), each alone or as
            a `Member` with its own class map, input size, windows and weight; the text of such a list (see
            `parse_members`); or a Teacher.
        class_map: The teacher's channels for each of the student's classes, where they differ: a table
            `{"Car": [13, 14]}` or the path of one (see `read_class_map` and `Mapped`). For a list, if all
            members predict the same classes.
        num_classes: The number of the student's classes, for a check.
        class_names: The student's classes in order; needed with `class_map`.
        teacher_classes: The teacher's classes in order, or a file with one per line; needed where `class_map`
            uses these names.
        normalize: (mean, deviation), for a teacher whose input is (pixel − mean) / deviation; each is one
            number or three.
        windows: Whether a teacher of a fixed input size gets windows of this shape instead of the image
            resized to it (see `Windows`). More accurate, at the cost of several passes.
        flip: Whether to average over the mirror image (see `Views`).
        scales: The scales of the image to average over.
        weights: The weights of several teachers, instead of those of the members: a number each, a row per
            teacher with one for each class (see `Ensemble`), or 'fit' to fit such rows on `held_out`.
        held_out: Labelled images on which no teacher was trained, for weights='fit' (see `fit_weights`).
        output: The name of the output that is the logits, where there are several.
        num_threads: The number of threads for a `.tflite`; None means all.
        name: Identifies a function in a cache of its outputs.
        allow_lambda: Whether to load Lambda layers, which are Python code.
        trust_model: Whether to load a SavedModel, whose graph can read and write files.

    Returns:
        The teacher; a `Teacher` is returned as it is.

    Raises:
        FileNotFoundError: if there is nothing at the path.
        TypeError: for an object of another type.
        ValueError: for a file of an unknown kind, options that do not apply, other classes than expected,
            or contents that are not allowed.

    Example:
        distillation.load_teacher("teacher.keras", flip=True)
        distillation.load_teacher([teacher, student])  # whose probabilities are averaged
        distillation.load_teacher("teacher.keras,student.keras(weight=0.5)")
    """
    members = _members(teacher)
    if members is not None:
        if class_map is not None and any(member.class_map is not None for member in members):
            raise ValueError(
                f"`class_map={class_map!r}` is for all of {[member.label for member in members]}, and some "
                f"have one of their own. Give each member its own, and leave out `class_map`."
            )
        allowed = {"num_threads": num_threads, "allow_lambda": allow_lambda, "trust_model": trust_model}
        is_fitted = isinstance(weights, str)
        if is_fitted and (weights != "fit" or held_out is None or class_map is not None):
            raise ValueError(
                f"weights must be numbers, or 'fit' with held_out=, labelled images, and without a "
                f"class_map for all. Received: weights={weights!r}, held_out={held_out}, "
                f"class_map={class_map}."
            )
        own = None if class_map is not None else class_names
        teacher = _mixture(members, None if is_fitted else weights, own, allowed)
        if is_fitted and isinstance(teacher, Ensemble):
            teacher = teacher.weighted(fit_weights(teacher, held_out).weights)
    elif weights is not None:
        raise ValueError(f"weights={weights!r} are for several teachers. Received: one. Leave them out.")
    teacher = _open(teacher, output, num_threads, name, (allow_lambda, trust_model))
    if name is not None and type(teacher) is not FunctionTeacher:
        raise ValueError(
            f"name={name!r} is for a function. Received: {teacher.name!r}, which is known by its weights. "
            f"Leave it out."
        )
    if output is not None and type(teacher) not in _WITH_OUTPUTS:
        raise ValueError(
            f"output={output!r} is for a network, a SavedModel or a .tflite. Received: {teacher.name!r}, a "
            f"{type(teacher).__name__}. Leave it out."
        )
    teacher = _adapted(
        teacher, class_map, class_names, teacher_classes, normalize, windows, flip, tuple(scales)
    )
    if num_classes is not None and (channels := _num_channels(teacher)) != num_classes:
        raise ValueError(
            f"Teacher {teacher.name!r} predicts {channels} classes, the student {num_classes}. Expected "
            f"the same classes in the same order. Pass class_map= and class_names=, or use a teacher trained "
            f"on these classes."
        )
    return teacher


def _members(teacher: Loadable) -> list[Member] | None:
    """Returns the members if `teacher` is a list or has options; None for anything else."""
    if isinstance(teacher, str) and not Path(teacher).exists():
        members = parse_members(teacher)
        return None if len(members) == 1 and members[0].is_plain else members
    if isinstance(teacher, Member):
        return [teacher]
    if not isinstance(teacher, list | tuple):
        return None
    found = []
    for each in teacher:
        # A list within the list is an ensemble of its own.
        inner = None if isinstance(each, list | tuple) else _members(each)
        found += [Member(each)] if inner is None else inner
    return found


def _mixture(members: Sequence[Member], weights, class_names: Sequence[str] | None, allowed: dict) -> Teacher:
    """Returns the ensemble of the loaded members; a single one is returned itself."""
    loaded = [_loaded(member, class_names, len(members) > 1, allowed) for member in members]
    if len(loaded) == 1:
        return loaded[0]
    if weights is None and any(member.weight != 1 for member in members):
        weights = [member.weight for member in members]
    return Ensemble(loaded, weights, [member.name for member in members], class_names=class_names)


def _loaded(member: Member, class_names: Sequence[str] | None, partial: bool, allowed: dict) -> Teacher:
    teacher = load_teacher(member.teacher, output=member.output, **allowed)
    if isinstance(member.teacher, str | os.PathLike):
        # The file name is more specific than the name of the network.
        teacher.name = member.label
    elif member.name and type(teacher) is FunctionTeacher:
        teacher = FunctionTeacher(member.teacher, member.name)
    if member.size and isinstance(teacher, KerasTeacher):
        name, teacher = teacher.name, KerasTeacher(models.at_size(teacher.model, member.size))
        teacher.name = name
    teacher = _adapted(
        teacher,
        member.class_map,
        class_names,
        member.teacher_classes,
        member.normalize,
        member.windows,
        member.flip,
        tuple(member.scales),
        member.size,
        partial,
    )
    if class_names is not None and (channels := _num_channels(teacher)) != len(class_names):
        raise ValueError(
            f"Teacher {member.label!r} predicts {channels} classes, the student {len(class_names)}: "
            f"{list(class_names)}. Give it a class map, as in {_path_or_label(member)}(class_map=FILE)."
        )
    return teacher


def _path_or_label(member: Member) -> str:
    is_path = isinstance(member.teacher, str | os.PathLike)
    return os.fspath(member.teacher) if is_path else member.label


def _adapted(
    teacher: Teacher,
    class_map,
    class_names: Sequence[str] | None,
    teacher_classes,
    normalize: tuple | None,
    windows: bool,
    flip: bool,
    scales: tuple[float, ...],
    size: tuple[int, int] | None = None,
    partial: bool = False,
) -> Teacher:
    """Applies the options of `load_teacher` or of a `Member` to `teacher`."""
    changes = (
        class_map,
        normalize,
        windows or None,
        flip or None,
        size,
        None if scales == (1.0,) else scales,
    )
    if teacher.recorded and any(change is not None for change in changes):
        raise ValueError(
            f"Teacher {teacher.name!r} is recorded, and recorded outputs cannot be changed. Apply class_map, "
            f"normalize, windows, flip and scales before recording."
        )
    if teacher_classes is not None and class_map is None:
        raise ValueError(
            "`teacher_classes` are the names that a `class_map` uses, and there is no `class_map`. Give one, "
            "or leave out `teacher_classes`."
        )
    if normalize is not None:
        teacher = Normalized(teacher, *normalize)
    if windows:
        teacher = Windows(teacher)
    if size is not None:
        teacher = AtSize(teacher, size)
    if flip or scales != (1.0,):
        teacher = Views(teacher, flip, scales)
    if class_map is not None:
        if class_names is None:
            raise ValueError(
                "class_map needs the student's classes in order. Pass class_names=, such as "
                "data.load(…).info.class_names."
            )
        channels = read_class_map(class_map, class_names, _num_channels(teacher), teacher_classes, partial)
        teacher = Mapped(teacher, channels)
    return teacher


def _open(teacher: Loadable, output, num_threads, name, allowed) -> Teacher:
    if isinstance(teacher, str | os.PathLike):
        return _from_path(Path(teacher), output, num_threads, *allowed)
    return _in_memory(teacher, name, output)


def _in_memory(teacher, name, output=None) -> Teacher:
    if isinstance(teacher, Teacher):
        return teacher
    if isinstance(teacher, keras.Model):
        if not is_functional(teacher):
            raise TypeError(
                f"A tf_keras teacher must be a functional model. Received: {type(teacher).__name__}. Build "
                f"it with keras.Model(inputs, outputs), or pass lambda images: model(images, training=False)."
            )
        return KerasTeacher(teacher, output)
    if models.is_keras3(teacher):
        return Keras3Teacher(teacher, output)
    if callable(teacher):
        return FunctionTeacher(teacher, name)
    raise TypeError(
        f"A teacher must be a network, the path of one, or a function from images to logits. Received: "
        f"{type(teacher).__name__}. Wrap it in such a function."
    )


def _from_path(
    path: Path, output: str | None, num_threads: int | None, allow_lambda: bool, trust_model: bool
) -> Teacher:
    if not path.exists():
        raise FileNotFoundError(
            f"No teacher at {str(path)!r}. Expected a .keras, .h5 or .tflite file, or a SavedModel directory."
        )
    if path.suffix == ".tflite" and path.is_file():
        return TfliteTeacher(path, output, num_threads)
    if (path / "saved_model.pb").is_file() and not (path / "keras_metadata.pb").is_file():
        models.refuse_untrusted(path, trust_model)
        return SavedModelTeacher(path, output)
    if path.suffix not in (".keras", ".h5", ".hdf5") and not (path / "keras_metadata.pb").is_file():
        raise ValueError(
            f"{str(path)!r} is not a supported teacher. Expected a .keras, .h5 or .tflite file, or a "
            f"directory with a saved_model.pb. Save the network in one of these formats."
        )
    models.refuse_code(path, allow_lambda)
    if _keras_version(path).startswith("3"):
        return Keras3Teacher(_load_keras3(path, allow_lambda), output)
    return _in_memory(models.load(path, allow_lambda, trust_model), None, output)


def _keras_version(path: Path) -> str:
    """Returns the version of Keras that saved the file, or "" if it is not recorded."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if "metadata.json" in archive.namelist():
                metadata = json.loads(archive.read("metadata.json"))
                return str(metadata.get("keras_version", "")) if isinstance(metadata, dict) else ""
    elif path.is_file() and h5py.is_hdf5(path):
        # A damaged file has no version; loading it reports the fault.
        with contextlib.suppress(OSError, KeyError, ValueError, RuntimeError), h5py.File(path) as file:
            return str(file.attrs.get("keras_version", ""))
    return ""


def _load_keras3(path: Path, allow_lambda: bool):
    try:
        return _keras.keras3.models.load_model(path, compile=False, safe_mode=not allow_lambda)
    except Exception as error:  # a malformed description can raise nearly anything
        first = str(error).strip().split("\n")[0]
        raise ValueError(
            f"Cannot read {str(path)!r} as a Keras 3 model: {first} If it has custom layers, import "
            f"them first, or pass the loaded model."
        ) from error


def _num_channels(teacher: Teacher) -> int:
    # For any size, use a small image: nothing is computed.
    size = teacher.size or teacher.input_size or (64, 64)
    return int(teacher.shapes([LOGITS], (*size, 3))[LOGITS][-1])
