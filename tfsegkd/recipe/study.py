"""The definition of a study: methods, seeds and rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tfsegkd import checks
from tfsegkd.recipe import settings

# The content of report.json, by method and seed.
Reports = Mapping[str, Mapping[int, Mapping]]
# The reasons of failed runs, by method and seed.
Failures = Mapping[str, Mapping[int, str]]


@dataclass(frozen=True)
class Row:
    """One row of a study: a stage of a method.

    Args:
        method: The method's name.
        stage: A stage of its report.
    """

    method: str
    stage: str

    @property
    def title(self) -> str:
        """The name in tables and plots."""
        return f"{self.method} ({self.stage})"


def parse_row(text: str) -> Row:
    """Parses `'method>stage'`.

    Raises:
        ValueError: for any other form.
    """
    method, arrow, stage = (part.strip() for part in text.partition(">"))
    if not (method and arrow and stage):
        raise ValueError(f"Cannot read the row {text!r}. Expected 'method>stage', such as 'alone>student'.")
    return Row(method, stage)


@dataclass(frozen=True)
class Method:
    """A training method, with one or several rows in a study.

    Args:
        name: The name, also of its directory.
        flags: The flags that differ from the common command.
        stages: The stages of the report to compare; each is a row.
    """

    name: str
    flags: tuple[str, ...]
    stages: tuple[str, ...]


def parse_method(text: str) -> Method:
    """Parses `'name>stage: --flag=value --flag=value'`, with several stages separated by commas.

    Raises:
        ValueError: for any other form.
    """
    head, colon, flags = text.partition(":")
    name, arrow, stages = (part.strip() for part in head.partition(">"))
    stages, words = [stage.strip() for stage in stages.split(",")], flags.split()
    if not (colon and arrow and name.isidentifier() and all(stages)) or any(w[:2] != "--" for w in words):
        raise ValueError(
            f"Cannot read the method {text!r}. Expected 'name>stage: --flag=value --flag=value', where stage "
            f"is the row of report.json that counts, such as student, or several with commas between."
        )
    return Method(name, tuple(words), tuple(stages))


@dataclass(frozen=True)
class Measure:
    """Further labelled images on which every row is evaluated.

    Args:
        name: The name in tables, such as `far`.
        dataset: A data set with its options.
        split: A split of it.
    """

    name: str
    dataset: str
    split: str


def parse_measure(text: str) -> Measure:
    """Parses `'name>dataset@split'`.

    Raises:
        ValueError: for any other form.
    """
    name, arrow, rest = (part.strip() for part in text.partition(">"))
    dataset, at, split = (part.strip() for part in rest.rpartition("@"))
    if not (arrow and at and name.isidentifier() and dataset and split):
        raise ValueError(
            f"Cannot read {text!r}. Expected 'name>dataset@split', such as far>camvid(only='0001TP')@train."
        )
    return Measure(name, dataset, split)


@dataclass(frozen=True)
class Study:
    """A study: methods that are compared over seeds.

    Args:
        command: The common command line, with expanded flagfiles.
        methods: The methods.
        seeds: The seeds, the same for all methods.
        directory: The directory of the runs, `directory/method/seed_k`.
        baselines: The rows that all others are compared with; the first by default.
        varies: Settings that may differ between rows.
        measures: Further images on which every row is evaluated.

    Raises:
        ValueError: if there is nothing to run, two methods have the same name, a baseline is no row, or rows
            differ in a setting that is not in `varies`.
    """

    command: tuple[str, ...]
    methods: tuple[Method, ...]
    seeds: tuple[int, ...]
    directory: Path
    baselines: tuple[Row, ...] = ()
    varies: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = ()

    def __post_init__(self):
        names = [method.name for method in self.methods]
        if not names or not self.seeds:
            raise ValueError(f"A study needs methods and seeds. Received: {names}, seeds {self.seeds}.")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"Several methods have the names {twice}. Use different names.")
        unknown = [row.title for row in self.baselines if row not in self.rows]
        if unknown:
            raise ValueError(
                f"No such rows to compare with: {unknown}. Rows: {[row.title for row in self.rows]}."
            )
        if not self.baselines:
            object.__setattr__(self, "baselines", self.rows[:1])
        for name in self.varies:
            checks.one_of(name, settings.NAMES, "A setting that varies")
        by_name = {method.name: settings.asked(self.flags_of(method)) for method in self.methods}
        for baseline in self.baselines:
            for name in names:
                first = by_name[baseline.method]
                settings.check_equal(baseline.method, first, name, by_name[name], self.varies)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows, in order."""
        return tuple(Row(method.name, stage) for method in self.methods for stage in method.stages)

    def run_directory(self, method: str, seed: int) -> Path:
        """Returns the directory of a run."""
        return self.directory / method / f"seed_{seed}"

    @property
    def shared_flags(self) -> list[str]:
        """The flags of all runs, without the data directory."""
        flags = [word for word in self.command if word[:1] == "-"]
        return [word for word in flags if "data_dir" not in settings.by_name([word])]

    def flags_of(self, method: Method) -> list[str]:
        """Returns all flags of a method's runs except seed and directories."""
        return [*self.shared_flags, *method.flags]

    def data_dir_of(self, method: Method) -> str | None:
        """Returns the directory of the data set of a method's runs."""
        return settings.by_name([*self.command, *method.flags]).get("data_dir", (None,))[-1]
