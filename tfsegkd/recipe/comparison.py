"""Methods × seeds: what may be concluded from them."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from scipy import stats

from tfsegkd.atomic import write_atomically, write_json
from tfsegkd.recipe import costs
from tfsegkd.recipe.study import Reports, Row, Study

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
        differences: To each baseline, by its title, of the seeds that both have; of none to itself.
        best: The best mean IoU while training, by seed; empty where it was not measured.
        best_epochs: The epochs of `best`.
        minutes: Wall-clock of each run.
    """

    title: str
    last: Mapping[int, float]
    differences: Mapping[str, Mapping[int, float]]
    best: Mapping[int, float]
    best_epochs: Sequence[int]
    minutes: Sequence[float]


def compare(study: Study, reports: Reports) -> list[Line]:
    """The rows of a study, of what is done so far; methods without a run are left out."""
    baselines = {row: _last(reports, row) for row in study.baselines}
    lines = []
    for row in study.rows:
        stages = dict(_stages(reports, row))
        if not stages:
            continue
        last = _last(reports, row)
        validated = {
            seed: stage for seed, stage in stages.items() if stage.get("best_val_mean_iou") is not None
        }
        lines.append(
            Line(
                title=row.title,
                last=last,
                differences={
                    other.title: {seed: last[seed] - baseline[seed] for seed in last if seed in baseline}
                    if other != row
                    else {}
                    for other, baseline in baselines.items()
                },
                best={seed: 100 * stage["best_val_mean_iou"] for seed, stage in validated.items()},
                best_epochs=[stage["best_epoch"] for stage in validated.values()],
                minutes=[reports[row.method][seed].get("minutes", math.nan) for seed in stages],
            )
        )
    return lines


def _last(reports: Reports, row: Row) -> dict[int, float]:
    return {seed: 100 * stage["mean_iou"] for seed, stage in _stages(reports, row)}


def _stages(reports: Reports, row: Row) -> Iterator[tuple[int, Mapping]]:
    for seed, report in sorted(reports[row.method].items()):
        yield from ((seed, stage) for stage in report["stages"] if stage["name"] == row.stage)


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
    """A Markdown table: every seed, mean ± standard deviation, paired differences to the baselines."""
    baselines = list(lines[0].differences) if lines else []
    seeds = sorted({seed for line in lines for seed in line.last})
    with_best = any(line.best for line in lines)
    head = ["method", *(f"seed {seed}" for seed in seeds), "mean ± sd"]
    head += [*(f"difference to {title}, 95 % interval" for title in baselines), "minutes a run"]
    head += ["best while training, mean ± sd"] if with_best else []
    rows = [head, ["---"] * len(head)]
    for line in lines:
        cells = [line.title, *(f"{line.last[seed]:.2f}" if seed in line.last else "–" for seed in seeds)]
        cells += [_mean(line.last.values()), *(_difference(line.differences[title]) for title in baselines)]
        cells += [f"{statistics.fmean(line.minutes):.1f}"]
        cells += [_best(line)] if with_best else []
        rows.append(cells)
    text = "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
    return f"{text}\n{_BEST}\n" if with_best else text


def _mean(values) -> str:
    values = list(values)
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{deviation}"


def _difference(values: Mapping[int, float]) -> str:
    if not values:
        return "–"
    mean, half = interval(list(values.values()))
    return f"{mean:+.2f} ± {half:.2f} ({len(values)} pairs)" if len(values) > 1 else f"{mean:+.2f} (1 pair)"


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
        table(compare(study, reports)).strip(),
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
