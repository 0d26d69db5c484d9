"""Methods × seeds: what may be concluded from them."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from scipy import stats

from tfsegkd.atomic import write_atomically, write_json
from tfsegkd.recipe import costs
from tfsegkd.recipe.study import Method, Reports, Study

_BEST = (
    "*Best while training*: the highest mean IoU of the validations while training, at the size of training, "
    "and its epoch. It was chosen on the frames that it reports, hence is optimistic; no checkpoint is kept "
    "for it. The other figures are of the last checkpoint, on the frames' own pixels."
)


@dataclass(frozen=True)
class Line:
    """One row of a comparison, in percent.

    Args:
        title: The method and the stage.
        last: Mean IoU of the last checkpoint, by seed.
        differences: To the first row, of the seeds that both have; None for the first row itself.
        best: The best mean IoU while training, by seed; empty where it was not measured.
        best_epochs: The epochs of `best`.
        minutes: Wall-clock of each run.
    """

    title: str
    last: Mapping[int, float]
    differences: Mapping[int, float] | None
    best: Mapping[int, float]
    best_epochs: Sequence[int]
    minutes: Sequence[float]


def compare(reports: Reports, methods: Sequence[Method]) -> list[Line]:
    """The rows of a study, of what is done so far; methods without a run are left out."""
    first, lines = (methods[0].name, methods[0].stages[0]), []
    baseline = _last(reports, *first)
    for method in methods:
        for stage in method.stages:
            last = _last(reports, method.name, stage)
            if not last:
                continue
            rows = dict(_rows(reports[method.name], stage))
            differences = {seed: last[seed] - baseline[seed] for seed in last if seed in baseline}
            validated = {seed: row for seed, row in rows.items() if row.get("best_val_mean_iou") is not None}
            lines.append(
                Line(
                    title=f"{method.name} ({stage})",
                    last=last,
                    differences=None if (method.name, stage) == first else differences,
                    best={seed: 100 * row["best_val_mean_iou"] for seed, row in validated.items()},
                    best_epochs=[row["best_epoch"] for row in validated.values()],
                    minutes=[reports[method.name][seed].get("minutes", math.nan) for seed in rows],
                )
            )
    return lines


def _last(reports, method, stage) -> dict[int, float]:
    return {seed: 100 * row["mean_iou"] for seed, row in _rows(reports[method], stage)}


def _rows(reports: Mapping[int, Mapping], stage: str) -> Iterator[tuple[int, Mapping]]:
    for seed, report in sorted(reports.items()):
        yield from ((seed, row) for row in report["stages"] if row["name"] == stage)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean and the half width of its 95 % interval, by Student's t; NaN for fewer than two values.

    Reference:
        Student, Biometrika 1908.
    """
    mean = statistics.fmean(values) if values else float("nan")
    if len(values) < 2:
        return mean, float("nan")
    spread = statistics.stdev(values) / len(values) ** 0.5
    return mean, float(stats.t.ppf(0.975, len(values) - 1)) * spread


def table(lines: Sequence[Line]) -> str:
    """A Markdown table: every seed, mean ± standard deviation, and the paired difference to the first row."""
    seeds = sorted({seed for line in lines for seed in line.last})
    with_best = any(line.best for line in lines)
    head = ["method", *(f"seed {seed}" for seed in seeds), "mean ± sd"]
    head += ["difference to the first row, 95 % interval", "minutes a run"]
    head += ["best while training, mean ± sd"] if with_best else []
    rows = [head, ["---"] * len(head)]
    for line in lines:
        cells = [line.title, *(f"{line.last[seed]:.2f}" if seed in line.last else "–" for seed in seeds)]
        cells += [_mean(line.last.values()), _difference(line), f"{statistics.fmean(line.minutes):.1f}"]
        cells += [_best(line)] if with_best else []
        rows.append(cells)
    text = "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
    return f"{text}\n{_BEST}\n" if with_best else text


def _mean(values) -> str:
    values = list(values)
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{deviation}"


def _difference(line: Line) -> str:
    if not line.differences:
        return "–"
    mean, half = interval(list(line.differences.values()))
    count = len(line.differences)
    return f"{mean:+.2f} ± {half:.2f} ({count} pairs)" if count > 1 else f"{mean:+.2f} (1 pair)"


def _best(line: Line) -> str:
    if not line.best:
        return "–"
    first, last = min(line.best_epochs), max(line.best_epochs)
    epochs = f"epoch {first}" if first == last else f"epochs {first}–{last}"
    return f"{_mean(line.best.values())} ({epochs})"


def page(study: Study, line: str, reports: Reports, prices: Sequence[costs.Price] = ()) -> str:
    """The tables, and what one needs to know to make them again.

    Args:
        study: What was run.
        line: The command that the user gave.
        reports: What is done so far.
        prices: What the rows cost, once all is done.
    """
    done, runs = sum(map(len, reports.values())), len(study.methods) * len(study.seeds)
    methods = [f"- {method.name}: `{' '.join(method.flags) or 'nothing else'}`" for method in study.methods]
    parts = [
        f"# {study.directory.name}",
        f"    {line}",
        f"Mean IoU in percent; {done} of {runs} runs are done.",
        table(compare(reports, study.methods)).strip(),
        f"What they cost, by the networks of seed {study.seeds[0]}, timed in turn:" if prices else "",
        costs.table(prices).strip() if prices else "",
        "All runs:",
        "\n".join(f"    {flag}" for flag in study.shared_flags),
        "and each method:",
        "\n".join(methods),
        f"Made with {_versions(reports)}." if done else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _versions(reports: Reports) -> str:
    found: dict[str, set[str]] = {}
    for by_seed in reports.values():
        for report in by_seed.values():
            for package, version in report.get("versions", {}).items():
                found.setdefault(package, set()).add(version)
    return ", ".join(f"{package} {' and '.join(sorted(versions))}" for package, versions in found.items())


def write_study(study: Study, line: str, reports: Reports, prices: Sequence[costs.Price] = ()) -> None:
    """Writes `study.md` and `study.json`, and what rows cost into `costs.json`, in the study's directory."""
    text = page(study, line, reports, prices)
    write_atomically(study.directory / "study.md", lambda path: path.write_text(text, encoding="utf-8"))
    write_json(study.directory / "study.json", reports)
    if prices:
        write_json(study.directory / "costs.json", [asdict(one) for one in prices])
