"""Expressions over the JSON of studies and benchmarks, for the numbers on pages."""

import ast
import functools
import math
import operator
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfsegkd import checks
from tfsegkd.atomic import read_json
from tfsegkd.recipe.comparison import PROTOCOL
from tfsegkd.recipe.settings import NAMES, check_equal
from tfsegkd.recipe.statistics import interval, over_blocks, p_value

_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}
# With two pairs an interval has one degree of freedom; the pairs are more informative.
_FEWEST = 3


@dataclass(frozen=True)
class Row:
    """One row of a study, from its JSON.

    Args:
        title: The method and the stage.
        stages: The row of the stage in the report, by seed.
        reports: The reports of the runs, by seed.
        num_seeds: The number of seeds of the study.
        failed: The seeds of failed runs.
        protocol: The edition of the protocol.
    """

    title: str
    stages: Mapping[int, Mapping]
    reports: Mapping[int, Mapping]
    num_seeds: int
    failed: Sequence[int]
    protocol: int

    @property
    def scores(self) -> dict[int, float]:
        """Mean IoU in percent, by seed."""
        return {seed: 100 * stage["mean_iou"] for seed, stage in self.stages.items()}


@dataclass(frozen=True)
class Study:
    """The content of a study's JSON, of this edition or of the first, which has only runs."""

    name: str
    runs: Mapping[str, Mapping[str, Mapping]]
    failed: Mapping[str, Mapping[str, str]]
    num_seeds: int
    protocol: int

    def row(self, method: str, stage: str | None = None) -> Row:
        """Returns a method's stage; by default the only one besides the teacher's."""
        checks.one_of(method, self.runs, f"A method of {self.name}")
        reports = {int(seed): report for seed, report in sorted(self.runs[method].items())}
        found = [row["name"] for report in reports.values() for row in report["stages"]]
        found = list(dict.fromkeys(found))
        if stage is None:
            students = [name for name in found if name != "teacher"]
            if len(students) != 1:
                raise ValueError(
                    f"{method!r} of {self.name} has the stages {students}. Name one: {method}.STAGE."
                )
            stage = students[0]
        checks.one_of(stage, found, f"A stage of {method!r} of {self.name}")
        stages = {
            seed: row for seed, report in reports.items() for row in report["stages"] if row["name"] == stage
        }
        failed = sorted(map(int, self.failed.get(method, ())))
        return Row(
            f"{method} ({stage})",
            stages,
            reports,
            num_seeds=self.num_seeds,
            failed=failed,
            protocol=self.protocol,
        )


@dataclass(frozen=True)
class Comparison:
    """Paired differences of two rows, in points.

    Args:
        pairs: The differences of the common seeds.
        frames: The 95 % interval over blocks of neighbouring frames; None if they were not counted.
    """

    pairs: Sequence[float]
    frames: tuple[float, float] | None = None

    def __str__(self):
        if len(self.pairs) < _FEWEST:
            return ", ".join(f"{value:+.2f}" for value in self.pairs) or "–"
        mean, half = interval(self.pairs)
        return f"{mean:+.2f} ± {half:.2f}"


class Values:
    """The JSON files of a page, and the names for its expressions.

    Args:
        directory: The directory of the page.
    """

    def __init__(self, directory: Path):
        self.directory, self.read = directory, {}

    def content(self, name: str) -> Any:
        """Returns the content of a JSON file beside the page.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it is damaged, or of an unknown edition of the protocol.
        """
        if name not in self.read:
            path = self.directory / name
            if not path.is_file():
                raise FileNotFoundError(
                    f"No {name!r} beside the page. Expected the JSON that it is made from."
                )
            self.read[name] = _opened(name, read_json(path))
        return self.read[name]

    def evaluate(self, name: str, expression: str, row: Any = None) -> str:
        """Returns the text of an expression over a JSON file; a suffix ' | .2f' formats a number."""
        code, bar, form = expression.rpartition(" | ")
        value = self.value(name, code if bar else expression, row)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return "–"
        if bar:
            return format(value, form.strip())
        if isinstance(value, float):
            raise ValueError(f"{expression!r} is {value!r}. Add a format, such as {expression} | .2f.")
        return ", ".join(f"{one:+.2f}" for one in value) if isinstance(value, list) else str(value)

    def value(self, name: str, expression: str, row: Any = None) -> Any:
        """Returns the value of an expression.

        Raises:
            ValueError: if it cannot be parsed, or a name does not exist.
        """
        self.content(name)
        try:
            tree = ast.parse(" ".join(expression.split()), mode="eval").body
            return self._value(tree, name, row)
        except (SyntaxError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
            raise ValueError(f"Cannot compute {expression!r} from {name}: {error}") from None

    def _value(self, node: ast.AST, file: str, row: Any) -> Any:
        content = self.content(file)

        def inner(part):
            return self._value(part, file, row)

        match node:
            case ast.Constant():
                return node.value
            case ast.List():
                return [inner(part) for part in node.elts]
            case ast.Name(id="row") if row is not None:
                return row
            case ast.Name(id="rows") if isinstance(content, list):
                return content
            case ast.Name(id="everything"):
                return content
            case ast.Name():
                # Unknown names are strings, because quotes would end the title of a link.
                return _part(content, node.id) if node.id in _names(content) else node.id
            case ast.Attribute():
                return _part(inner(node.value), node.attr)
            case ast.Subscript():
                return _part(inner(node.value), inner(node.slice))
            case ast.BinOp(op=op) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](inner(node.left), inner(node.right))
            case ast.UnaryOp(op=op) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](inner(node.operand))
            case ast.Call(func=ast.Name(id="file"), args=[ast.Name(id=other)]):
                return self.content(Path(file).with_name(f"{other}.json").as_posix())
            case ast.Call(func=ast.Name(id=called)):
                checks.one_of(called, _FUNCTIONS, "What a page computes")
                options = {word.arg: _words(word.value) for word in node.keywords}
                return _FUNCTIONS[called](*map(inner, node.args), **options)
        raise ValueError(
            f"A page cannot compute {ast.unparse(node)!r}: {', '.join(_FUNCTIONS)} and + - * / can."
        )


def _words(node: ast.AST) -> str | None:
    """Returns the names of settings in an option, which are never rows."""
    parts = node.elts if isinstance(node, ast.List | ast.Tuple) else [node]
    words = [part.id if isinstance(part, ast.Name) else ast.literal_eval(part) for part in parts]
    return ",".join(words) if words != [None] else None


def _opened(name: str, content: Any) -> Any:
    if isinstance(content, Mapping) and "runs" in content:
        protocol = content.get("protocol")
        if protocol != PROTOCOL:
            raise ValueError(
                f"{name} is of edition {protocol!r} of the protocol. Expected {PROTOCOL}, or runs alone, as "
                f"the first edition had them. Its rows cannot stand beside these."
            )
        return Study(
            name, content["runs"], content["failed"], num_seeds=len(content["seeds"]), protocol=protocol
        )
    if _is_runs(content):
        seeds = {seed for runs in content.values() for seed in runs}
        return Study(name, content, {}, num_seeds=len(seeds), protocol=1)
    return content


def _is_runs(content: Any) -> bool:
    """Whether this is a study of the first edition: reports by method and seed."""
    if not isinstance(content, Mapping) or not any(content.values()):
        return False
    return all(
        isinstance(runs, Mapping)
        and all(
            seed.isdigit() and isinstance(report, Mapping) and "stages" in report
            for seed, report in runs.items()
        )
        for runs in content.values()
    )


@dataclass(frozen=True)
class _Method:
    study: Study
    name: str


def _names(content: Any) -> Mapping | tuple:
    if isinstance(content, Study):
        return content.runs
    return content if isinstance(content, Mapping) else ()


def _part(whole: Any, name: Any) -> Any:
    if isinstance(whole, Study):
        checks.one_of(name, whole.runs, f"A method of {whole.name}")
        return _Method(whole, name)
    if isinstance(whole, _Method):
        return whole.study.row(whole.name, name)
    if isinstance(whole, Mapping | list):
        # The keys of JSON are strings, of which those of numbers need no quotes.
        found = whole[str(name) if isinstance(whole, Mapping) else name]
        return _opened("", found) if isinstance(found, Mapping) else found
    raise LookupError(f"{_short(whole)} has no {name!r}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}…"


def _row(one: Any) -> Row:
    if isinstance(one, _Method):
        return one.study.row(one.name)
    if not isinstance(one, Row):
        raise TypeError(f"expected a row of a study, not {_short(one)}")
    return one


def _scores(row: Any, measure: str | None) -> dict[int, float]:
    row = _row(row)
    if measure is None:
        return row.scores
    return {seed: 100 * stage["measured"][measure]["mean_iou"] for seed, stage in row.stages.items()}


def compare(one: Any, other: Any, varies: str = "", measure: str | None = None) -> Comparison:
    """Returns the paired differences of two rows of equal settings.

    Args:
        one, other: The rows.
        varies: Settings that may differ, separated by commas.
        measure: The study's further images; the validation images by default.

    Raises:
        ValueError: if another setting differs, or the rows are of different protocols.
    """
    one, other = _row(one), _row(other)
    if one.protocol != other.protocol:
        raise ValueError(
            f"{one.title!r} is of edition {one.protocol} of the protocol, {other.title!r} of edition "
            f"{other.protocol}. Only rows of one edition can be compared."
        )
    seeds = [seed for seed in one.stages if seed in other.stages and one.title != other.title]
    allowed = [name.strip() for name in varies.split(",") if name.strip()]
    for name in allowed:
        checks.one_of(name, NAMES, "A setting that varies")
    for seed in seeds:
        flags = [row.reports[seed]["flags"] for row in (one, other)]
        check_equal(one.title, flags[0], other.title, flags[1], allowed)
    ours, theirs = _scores(one, measure), _scores(other, measure)
    return Comparison([ours[seed] - theirs[seed] for seed in seeds], _frames(one, other, seeds, measure))


def _frames(one: Row, other: Row, seeds: list[int], measure: str | None) -> tuple[float, float] | None:
    blocks = [
        {seed: row.stages[seed].get("measured", {}).get(measure, {}).get("blocks") for seed in seeds}
        for row in (one, other)
    ]
    if not seeds or not all(found for by_seed in blocks for found in by_seed.values()):
        return None
    return over_blocks(*blocks)


def _mean(row: Any, measure: str | None = None) -> str:
    """Returns '53.01 ± 0.95', with the number of seeds if some are missing."""
    row, scores = _row(row), list(_scores(row, measure).values())
    if not scores:
        return "–"
    deviation = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
    few = f" ({len(scores)} of {row.num_seeds})" if len(scores) < row.num_seeds else ""
    return f"{statistics.fmean(scores):.2f}{deviation}{few}"


def _score(row: Any, seed: int, measure: str | None = None) -> str:
    row = _row(row)
    if seed in row.failed:
        return "**failed**"
    scores = _scores(row, measure)
    return f"{scores[seed]:.2f}" if seed in scores else "–"


def _iou(row: Any, name: str) -> float:
    """Returns the IoU of a class in percent, mean of the seeds."""
    values = [stage["iou"][name] for stage in _row(row).stages.values()]
    return math.nan if None in values else 100 * statistics.fmean(values)


def _of(row: Any, key: str) -> Any:
    """Returns the field `key` of the first seed's stage."""
    return next(iter(_row(row).stages.values()))[key]


def _setting(row: Any, name: str) -> Any:
    """Returns a flag of a row's runs."""
    values = [report["flags"][name] for report in _row(row).reports.values()]
    if any(value != values[0] for value in values):
        raise ValueError(f"{_row(row).title!r} has several values of {name}: {values}.")
    return values[0]


def _pick(rows: Sequence[Mapping], *wanted: Any) -> Mapping:
    """Returns the row whose fields are `wanted`: a name, its value, and so on."""
    fields = dict(zip(wanted[::2], wanted[1::2], strict=True))
    found = [row for row in rows if fields.items() <= row.items()]
    if len(found) != 1:
        raise ValueError(f"{len(found)} rows have {fields}. Expected one.")
    return found[0]


def _called(function: Callable) -> Callable:
    @functools.wraps(function)
    def on_list(values):
        return function(list(values))

    return on_list


_FUNCTIONS: dict[str, Callable] = {
    "score": _score,
    "mean": _mean,
    "iou": _iou,
    "classes": lambda row: list(next(iter(_row(row).stages.values()))["iou"]),
    "diff": lambda *rows, **options: str(compare(*rows, **options)),
    "pairs": lambda *rows, **options: list(compare(*rows, **options).pairs),
    "compare": compare,
    "interval": lambda pairs: str(Comparison(pairs)),
    "p": p_value,
    "average": lambda row, measure=None: statistics.fmean(_scores(row, measure).values()),
    "minutes": lambda row: statistics.fmean(report["minutes"] for report in _row(row).reports.values()),
    "seeds": lambda row: len(_row(row).stages),
    "average_of": lambda row, key: statistics.fmean(stage[key] for stage in _row(row).stages.values()),
    "points": lambda row, seed: _row(row).scores[seed],
    "of_runs": lambda row, key: [report[key] for report in _row(row).reports.values()],
    "of_study": lambda study, key: [
        report[key] for runs in study.runs.values() for report in runs.values() if key in report
    ],
    "of": _of,
    "setting": _setting,
    "pick": _pick,
    "count": len,
    "smallest": _called(min),
    "largest": _called(max),
    "column": lambda rows, *keys: [functools.reduce(_part, keys, row) for row in rows],
    "where": lambda rows, key, value: [row for row in rows if row.get(key) == value],
    "total": sum,
}


def seeds_of(rows: Sequence[Any]) -> Iterator[int]:
    """Returns all seeds of rows, including failed ones."""
    yield from sorted({seed for row in map(_row, rows) for seed in (*row.stages, *row.failed)})


def as_row(value: Any) -> Row:
    """Returns the row of an expression."""
    return _row(value)
