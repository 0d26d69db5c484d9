"""The stages of a recipe; each creates one network."""

import copy
import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf

from tfsegkd import checks, models
from tfsegkd._keras import keras
from tfsegkd.atomic import read_json, sha256, write_json
from tfsegkd.data import NO_AUGMENTATION, DatasetInfo, Source, WithoutLabels, training_batches
from tfsegkd.data.statistics import Subset
from tfsegkd.deprecation import renamed_arguments
from tfsegkd.distillation import (
    Distiller,
    FittedWeights,
    KerasTeacher,
    Member,
    TeacherCache,
    Term,
    fit_weights,
    load_teacher,
    mirror_agreement,
    parse_members,
    parse_terms,
    preflight,
)
from tfsegkd.distillation import Teacher as LoadedTeacher
from tfsegkd.distillation.teachers import unlike
from tfsegkd.recipe.report import describe_members
from tfsegkd.recipe.state import Read, State, progress_directory
from tfsegkd.recipe.strategy import Workers, open_workers
from tfsegkd.recipe.training import Recorded, Schedule, TrainingData, train
from tfsegkd.runtime import is_quantization_aware

# What a stage reads: of each group the first file that exists.
Reads = tuple[tuple[str, ...], ...]

PREFLIGHT = ("refuse", "warn", "off")
# The file of tfsegkd.recipe.pruning.
PRUNED = "pruned.keras"
# The file of tfsegkd.recipe.grouping.
GROUPED = "grouped.keras"
# The file of fitted weights of several teachers.
TEACHER_WEIGHTS = "teacher_weights.json"
_CHECKED_BATCHES = 4


class Run:
    """A running recipe: its directory and the files of earlier stages.

    Args:
        directory: The run's directory.
        data: The data of all trainings.
        pretrained: The teacher, if it is external.
        workers: The workers that train together; this process alone by default.
        teacher_size: (height, width) of the images of a recorded teacher without an input size; by default
            that of the images.
        held_out: Labelled images on which nothing is trained; None if there are none.
        artefacts: The files that the run's own stages make, which are preferred to others in the directory.

    Attributes:
        read: The networks that a stage has read: the names to choose from, and the chosen one with its
            SHA-256. Copies of the run share it.
    """

    def __init__(
        self,
        directory: Path,
        data: TrainingData,
        pretrained: "PretrainedTeacher | None" = None,
        workers: Workers | None = None,
        teacher_size: tuple[int, int] | None = None,
        held_out: Source | None = None,
        artefacts: Sequence[str | None] = (),
    ):
        self.directory = directory
        self.artefacts = frozenset(artefacts)
        self.read: Read = {}
        self.data = data
        self.pretrained = pretrained
        self.workers = workers or open_workers()
        self.teacher_size = teacher_size
        self.held_out = held_out

    def note(self, text: str) -> None:
        """Prints what a stage is about to do."""
        print(text, flush=True)

    def at_size(self, size: Sequence[int]) -> "Run":
        """The run from here on, with networks of another size."""
        if tuple(size) == tuple(self.data.size):
            return self
        return self._with(size=tuple(size))

    def on(self, train: Source) -> "Run":
        """The run with other training images."""
        return self._with(train=train)

    def _with(self, **changes) -> "Run":
        """The run with some fields of its data replaced."""
        other = copy.copy(self)
        other.data = dataclasses.replace(self.data, **changes)
        return other

    def find(self, *files: str) -> Path:
        """Returns the first of `files` that exists; those that a stage of this run makes come first.

        Raises:
            FileNotFoundError: if there is none.
        """
        for file in sorted(files, key=lambda file: file not in self.artefacts):
            if (self.directory / file).exists():
                self.read[files] = file, fingerprint(str(self.directory / file))
                return self.directory / file
        raise missing(files, self.directory)

    def check_read(self, read: Read, artefact: Path) -> None:
        """Checks that a finished stage would read the same networks now, as far as they still exist.

        Args:
            read: What it has read.
            artefact: What it has made.

        Raises:
            ValueError: if it would read another one.
        """
        for files, found in read.items():
            if not any((self.directory / file).exists() for file in files):
                continue
            self.find(*files)
            (file, _), now = found, self.read[files]
            if now != found:
                other = now[0] if now[0] != file else f"another {file}"
                raise ValueError(
                    f"{str(artefact)!r} was made of {file}, and in this run it would be made of {other}. "
                    f"Delete it to make it again, or choose another `output_dir`."
                )

    def load(self, *files: str) -> keras.Model:
        """Loads the first of `files` that exists, at the size of training."""
        return models.at_size(models.load(self.find(*files)), self.data.training_shape[:2])

    def teacher(
        self, terms: Sequence[Term], cache: str | None
    ) -> tuple[LoadedTeacher | None, Recorded | None]:
        """Returns the teacher for `terms`, or its recorded outputs.

        Args:
            terms: The terms; without any there is no teacher.
            cache: The directory of recorded outputs; None runs the teacher in every step.
        """
        if not terms:
            return None, None
        data = self.data
        size = tuple(data.size if cache else data.training_shape[:2])
        fed_size = self.teacher_size if cache and self.teacher_size else size
        if self.pretrained:
            teacher = self.pretrained.load(data.train.info, fed_size, self.teacher_weights())
        else:
            teacher = load_teacher(models.at_size(models.load(self.find(Teacher.artefact)), fed_size))
        if cache is None:
            return teacher, None
        fed_size = (self.pretrained and self.pretrained.size) or teacher.size_for(data.train, fed_size)
        options = {
            "size": size,
            "layers": {term.layers[0] for term in terms},
            "teacher_size": fed_size,
        }

        def record(source):
            # Different outputs have different directories, so that all runs of a study can share a cache.
            what = [
                teacher.fingerprint(),
                source.fingerprint(),
                size,
                *([fed_size] if fed_size != size else ()),
            ]
            key = hashlib.sha256(" ".join(map(str, what)).encode())
            directory = Path(cache) / key.hexdigest()[:16]
            recorded = self.workers.chief_first(lambda: TeacherCache(directory, teacher, source, **options))
            print(f"  teacher cache: {recorded.added} of {len(source)} images recorded in {directory}")
            return recorded

        recorded = Recorded(record(data.train), data.unlabelled and record(data.unlabelled))
        for reason in recorded.train.inexact(data.augmentation):
            print(f"  the cache is inexact for {reason}", flush=True)
        return recorded.train, recorded

    def teacher_weights(self) -> list[list[float]] | None:
        """Returns the fitted weights of external teachers, fitted now if needed; None if not to be fitted."""
        if self.pretrained is None or self.pretrained.held_out is None:
            return None
        path = self.directory / TEACHER_WEIGHTS
        if not path.exists():

            def fit():
                found = self.pretrained.fit(self.data.train.info, tuple(self.data.size))
                print(f"  {found}", flush=True)
                write_json(path, dataclasses.asdict(found))

            self.workers.chief_first(fit)
        return read_json(path)["weights"]

    def unaugmented_batches(self, batch_size: int, recorded: Recorded | None = None) -> tf.data.Dataset:
        """Returns batches of training images without augmentation, at the size of training."""
        return training_batches(
            self.data.train,
            self.data.size,
            batch_size,
            crop_size=self.data.training_shape[:2],
            augmentation=NO_AUGMENTATION,
            seed=self.data.seed,
            maps=recorded and recorded.train,
        )

    def check(
        self,
        stage: "Distill",
        teacher: LoadedTeacher | None,
        student: keras.Model,
        terms: Sequence[Term],
        recorded: Recorded | None,
    ) -> None:
        """Runs the preflight checks before the first step of a stage.

        The check does not change the random state.

        Args:
            stage: The stage; its `preflight`, one of `PREFLIGHT`, decides what to do.

        Raises:
            ValueError: if there is an error and `preflight` is 'refuse'.
        """
        how, begun = stage.preflight, progress_directory(self.directory, stage.name).exists()
        if terms and how != "off" and not begun:
            balanced = getattr(stage, "balanced_terms", False)
            self._check(how, teacher, student, terms, recorded, balanced)
        keras.utils.set_random_seed(self.data.seed)

    def _check(self, how, teacher, student, terms, recorded, balanced):
        data = self.data
        count = len(data.train)
        batch_size = min(8, count)
        # The batches repeat, and no image is checked twice.
        number = min(_CHECKED_BATCHES, count // batch_size)
        batches = itertools.islice(self.unaugmented_batches(batch_size, recorded), number)
        options = {
            "num_training_images": count,
            "balanced": balanced,
            "mirror_agreements": self._mirror_agreements(teacher, recorded),
        }
        report = preflight(teacher, student, batches, data.train.info, terms, **options)
        print("  " + str(report).replace("\n", "\n  "), flush=True)
        rows = State(self.directory)
        teacher_row, alone = rows.row(Teacher.name), rows.row(StudentAlone.name)
        if teacher_row and "members" in teacher_row:
            print("  " + "\n  ".join(describe_members(teacher_row, alone)), flush=True)
        if how == "refuse":
            try:
                report.raise_for_errors()
            except ValueError as error:
                raise ValueError(f"{error} Or continue with `preflight=warn`.") from None

    def _mirror_agreements(self, teacher, recorded) -> tuple[float, float] | None:
        """Returns those of the teacher on labelled and unlabelled images, if there are both."""
        data = self.data
        if data.unlabelled is None or not data.train.labelled:
            return None
        teachers = (recorded.train, recorded.unlabelled) if recorded else (teacher, teacher)
        size = data.training_shape[:2]
        found = tuple(
            mirror_agreement(one, source, size)
            for one, source in zip(teachers, (data.train, data.unlabelled), strict=True)
        )
        return None if None in found else found


@dataclasses.dataclass(frozen=True)
class Rehearsal:
    """What a dry run makes in place of a stage.

    Args:
        make: Makes a network of the same cost sooner.
        note: What it leaves out.
        records: The directory in which the stage itself records the teacher; None for nowhere.
        trainings: The number of trainings that share the epochs of the stage.
        planned: The rehearsed trainings → those of the stage itself.
    """

    make: Callable[[Run], keras.Model]
    note: str = ""
    records: str | None = None
    trainings: int = 1
    planned: Callable[[list], Sequence] = list


@dataclasses.dataclass(frozen=True)
class Teacher:
    """Trains the teacher, or uses a saved network.

    It is trained on the images of the run, or on its `teacher_train` if there are any.

    Args:
        model: The spec of a network to train, or the path of a saved one.
        schedule: The schedule; not needed for a path.

    Example:
        stage = recipe.Teacher("deeplab_v3_plus", recipe.Schedule(epochs=30, learning_rate=1e-3))
    """

    model: str
    schedule: Schedule | None = None
    name = "teacher"
    artefact = "teacher.keras"

    def settings(self) -> dict:
        if _is_path(self.model):
            return {"model": self.model, "sha256": fingerprint(self.model)}
        return {"model": self.model, "schedule": dataclasses.asdict(self.schedule)}

    def make(self, run: Run) -> keras.Model:
        if _is_path(self.model):
            return models.at_size(models.load(self.model), run.data.size)
        if run.data.teacher_train:
            run = run.on(run.data.teacher_train)
        return _train_on_labels(self.model, self.schedule, run, self.name)


@dataclasses.dataclass(frozen=True)
class PretrainedTeacher:
    """External teachers, used without changes.

    Args:
        paths: Networks of any kind that `tfsegkd.distillation.load_teacher` reads, each with options of
            `tfsegkd.distillation.Member` in parentheses where it needs them; several are averaged.
        size: (height, width) of their images, if they take any size; that of the student by default.
        class_map, teacher_classes, windows, flip, scales, allow_lambda, trust_model: As of `load_teacher`.
        held_out: Labelled images on which no teacher was trained, to fit their weights by class; None uses
            the members' own weights.

    Raises:
        ValueError: for `held_out` and a single teacher, or a class map for all of several.

    Example:
        stage = recipe.PretrainedTeacher(("one.keras", "other.tflite"), flip=True)
    """

    paths: tuple[str, ...]
    size: tuple[int, int] | None = None
    class_map: str | None = None
    teacher_classes: str | None = None
    windows: bool = False
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    allow_lambda: bool = False
    trust_model: bool = False
    held_out: Source | None = None
    name = "teacher"
    artefact = None

    def settings(self) -> dict:
        settings = dataclasses.asdict(dataclasses.replace(self, held_out=None))
        del settings["held_out"]
        # Permissions do not change the teacher's outputs.
        del settings["allow_lambda"], settings["trust_model"]
        members = self.members()
        fingerprints = [self._open(member).fingerprint() for member in members]
        files = [fingerprint(file) for member in members for file in member.files()]
        # Left out by default, so that older runs can resume.
        if files:
            settings["member_files"] = files
        if self.held_out is not None:
            settings["held_out"] = self.held_out.fingerprint()
        return {**settings, "fingerprints": fingerprints}

    def __post_init__(self):
        if self.held_out is not None and (len(self.members()) < 2 or self.class_map is not None):
            raise ValueError(
                f"`held_out` images are for the weights of several teachers, each with its own class map. "
                f"Received: {list(self.paths)}, `class_map={self.class_map}`. Name several, or leave out "
                f"`held_out`."
            )

    def members(self) -> list[Member]:
        """Returns the members of the ensemble, with their options."""
        return [member for path in self.paths for member in parse_members(path)]

    def _open(self, member):
        return load_teacher(
            member.teacher,
            output=member.output,
            allow_lambda=self.allow_lambda,
            trust_model=self.trust_model,
        )

    def member_names(self) -> list[str]:
        """Returns the members whose logits are available besides the mean; none for a single teacher."""
        members = self.members()
        available = len(members) > 1 and self.class_map is None and 1.0 in self.scales
        return unlike([member.label for member in members]) if available else []

    def fit(self, info: DatasetInfo, size: tuple[int, int]) -> FittedWeights:
        """Fits the weights of the members by class, without test-time augmentation.

        Raises:
            ValueError: as of `fit_weights`, or for a single teacher.
        """
        mixture = dataclasses.replace(self, flip=False, scales=(1.0,)).load(info, size)
        return fit_weights(mixture, self.held_out)

    def load(self, info: DatasetInfo, size: tuple[int, int], weights=None) -> LoadedTeacher:
        """Loads the teacher for students of `size`.

        Args:
            weights: Fitted weights; None uses the members' own.

        Raises:
            FileNotFoundError, ValueError: as of `load_teacher`.
        """

        def opened(member):
            teacher = self._open(member)
            if isinstance(teacher, KerasTeacher):
                model = models.at_size(teacher.model, member.size or self.size or size)
                teacher = KerasTeacher(model, member.output)
            teacher.name = member.label
            return dataclasses.replace(member, teacher=teacher, output=None)

        members = self.members()
        return load_teacher(
            [opened(member) for member in members],
            self.class_map,
            info.num_classes,
            class_names=info.class_names,
            teacher_classes=self.teacher_classes,
            windows=self.windows,
            flip=self.flip,
            scales=self.scales,
            weights=weights,
        )


@renamed_arguments(begin_from="initialize_from")
@dataclasses.dataclass(frozen=True)
class StudentAlone:
    """Trains the student on the labels alone, the baseline of distillation.

    Args:
        model: The spec of the network.
        schedule: The schedule.
        initialize_from: A saved network that initializes layers of this one; see
            `tfsegkd.models.initialize_from`.

    Example:
        stage = recipe.StudentAlone("mobile_unet", recipe.Schedule(epochs=40, learning_rate=4e-3))
    """

    model: str
    schedule: Schedule
    initialize_from: str | None = None
    name = "student_alone"
    artefact = "student_alone.keras"

    def settings(self) -> dict:
        return cache_key(self)

    def make(self, run: Run) -> keras.Model:
        return _train_on_labels(self.model, self.schedule, run, self.name, self.initialize_from)


@renamed_arguments(begin_from="initialize_from")
@dataclasses.dataclass(frozen=True)
class Distill:
    """Trains the student on the labels and the teacher, with the same initial weights as `StudentAlone`.

    Args:
        model: The spec of the network.
        schedule: The schedule.
        distill: Specs of the terms, such as `('pixelwise(temperature=4)*0.5',)`.
        task_weight: The factor of the task loss; with 0 labels are not used, not even for void pixels.
        cache: The directory of recorded teacher outputs; None runs the teacher in every step.
        preflight: What to do if the check before the first step finds an error, one of `PREFLIGHT`.
        initialize_from: As of `StudentAlone`.
        balanced_terms: Whether the weight of each term is its share of the task loss' gradient norm; see
            `Distiller`.

    Raises:
        ValueError: if no term works without labels and there are none, or terms are balanced without a task
            loss.

    Example:
        schedule = recipe.Schedule(epochs=40, learning_rate=4e-3)
        terms = ["pixelwise(temperature=4)", "pairwise@aspp:context*0.5"]
        stage = recipe.Distill("mobile_unet", schedule, terms)
    """

    model: str
    schedule: Schedule
    distill: Sequence[str]
    task_weight: float = 1.0
    cache: str | None = None
    preflight: str = "refuse"
    initialize_from: str | None = None
    balanced_terms: bool = False
    name = "student"
    artefact = "student.keras"

    def __post_init__(self):
        checks.one_of(self.preflight, PREFLIGHT, "preflight")
        check_task(parse_terms(self.distill), self.task_weight, self.balanced_terms)

    @property
    def reads(self) -> Reads:
        return teacher_of(parse_terms(self.distill))

    def settings(self) -> dict:
        return cache_key(self)

    def rehearsal(self, cache: str) -> Rehearsal:
        stage = dataclasses.replace(self, cache=self.cache and cache, preflight="off")
        return Rehearsal(stage.make, records=self.cache)

    def make(self, run: Run) -> keras.Model:
        return self.make_until(run)

    def make_until(self, run: Run, until: int | None = None, first: int | None = None) -> keras.Model:
        """The student as it is after an epoch.

        Args:
            run: Where it is trained.
            until: The epoch; the schedule's last unless given.
            first: How many of the training images it sees, from the first on; all unless given.
        """
        terms, run = parse_terms(self.distill), without_masks(run, self.task_weight)
        teacher, recorded = run.teacher(terms, self.cache)
        if first is not None:
            run = run.on(Subset(run.data.train, list(range(first))))
        student, data = initialize(self.model, run, self.initialize_from), run.data
        run.check(self, teacher, student, terms, recorded)
        ignore = data.train.info.ignore_label
        distiller = Distiller(
            teacher,
            student,
            terms,
            task_weight=self.task_weight,
            ignore_label=ignore,
            balance=self.balanced_terms,
        )
        train(distiller, data, self.schedule, run.directory / self.name, recorded=recorded, until=until)
        return models.at_size(student, data.size)


def missing(files: Sequence[str], directory: Path) -> FileNotFoundError:
    """The error of a stage that finds none of the files that it reads."""
    return FileNotFoundError(
        f"None of {list(files)} is in {str(directory)!r}, and a later stage needs it. Add the stage that "
        f"makes it to `stages`, or use the `output_dir` of the run that has it."
    )


def teacher_of(terms: Sequence[Term]) -> Reads:
    """What a stage reads for its terms: the teacher, or nothing."""
    return ((Teacher.artefact,),) if terms else ()


# The student's files, the latest stage first; each stage uses the first that exists.
STUDENTS = (GROUPED, PRUNED, Distill.artefact, StudentAlone.artefact)
DENSE_STUDENTS = STUDENTS[2:]


@dataclasses.dataclass(frozen=True)
class TrainedStudent:
    """Uses and evaluates a trained student.

    Args:
        path: The file of the network.

    Example:
        stage = recipe.TrainedStudent("student.keras")
    """

    path: str
    name = Distill.name
    artefact = Distill.artefact

    def settings(self) -> dict:
        return {"sha256": fingerprint(self.path)}

    def make(self, run: Run) -> keras.Model:
        return self.load(run.data.train.info, run.data.size)

    def load(self, info: DatasetInfo, size: tuple[int, int]) -> keras.Model:
        """Loads the network at a size.

        Raises:
            ValueError: if it has another number of classes than `info`.
        """
        student, classes = models.load(self.path), info.num_classes
        if (student.output_shape[-1], classes) == (1, 2) and not is_quantization_aware(student):
            student, _ = models.adopt(student)
        student = models.at_size(student, size)
        if student.output_shape[-1] != classes:
            raise ValueError(
                f"The network in {self.path!r} predicts {student.output_shape[-1]} classes, the data set "
                f"has {classes}. Use a network that was trained on these classes."
            )
        return student


def _train_on_labels(
    spec: str, schedule: Schedule, run: Run, name: str, initialize_from: str | None = None
) -> keras.Model:
    data = run.data
    network = initialize(spec, run, initialize_from)
    distiller = Distiller(None, network, (), task_weight=1.0, ignore_label=data.train.info.ignore_label)
    train(distiller, data, schedule, run.directory / name)
    return models.at_size(network, data.size)


def initialize(spec: str, run: Run, initialize_from: str | None) -> keras.Model:
    """Returns the network of `spec` with its initial weights, the same for every stage."""
    keras.utils.set_random_seed(run.data.seed)
    network = models.build(spec, run.data.train.info.num_classes, run.data.training_shape)
    if initialize_from:
        fresh = models.initialize_from(network, initialize_from)
        print(
            f"  initialized from {initialize_from}; not initialized: {', '.join(fresh) or 'none'}", flush=True
        )
    return network


def check_task(terms: Sequence[Term], task_weight: float, balanced_terms: bool = False) -> None:
    """Raises ValueError if there are no labels, and no term can do without or terms are balanced by them."""
    if balanced_terms and not task_weight:
        raise ValueError(
            "`balanced_terms` goes by the labels' gradient. Received: a task weight of 0. "
            "Leave one of them out."
        )
    blind = [term.name for term in terms if term.loss.needs_labels]
    if not task_weight and (blind or not terms):
        what = f"the terms {blind} need them" if blind else "no term uses the logits"
        raise ValueError(
            f"task_weight=0 leaves the labels out, and {what}. Use other terms or a task weight."
        )


def without_masks(run: Run, task_weight: float) -> Run:
    """Returns the run, with its masks removed if the task loss has no weight."""
    return run if task_weight else run.on(WithoutLabels(run.data.train))


def cache_key(stage) -> dict:
    """Returns the settings that change the result: the content of files rather than their paths."""
    settings = dataclasses.asdict(stage)
    settings.pop("preflight", None)
    if not settings.get("balanced_terms"):
        settings.pop("balanced_terms", None)
    if "cache" in settings:
        settings["cache"] = stage.cache is not None
    # Left out by default, so that older runs can resume.
    if path := settings.pop("initialize_from", None):
        settings["initialize_from"] = fingerprint(path)
    return settings


def _is_path(model: str) -> bool:
    return Path(model).suffix in (".keras", ".h5") or Path(model).is_dir()


def fingerprint(path: str) -> str:
    """Returns the hash of a file.

    Raises:
        FileNotFoundError: if there is none.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"No file at {path!r}. Correct the path.")
    return sha256(file)
