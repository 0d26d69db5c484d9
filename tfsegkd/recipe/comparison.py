"""Tables that compare the methods of a study over seeds."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from tfsegkd.atomic import write_atomically, write_json
from tfsegkd.recipe import costs
from tfsegkd.recipe.provenance import commit, provenance
from tfsegkd.recipe.statistics import interval
from tfsegkd.recipe.study import Failures, Reports, Row, Study

# The current edition of docs/results/protocol.md.
PROTOCOL = 2
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
        differences: The paired differences to each baseline, by its title.
        best: The best mean IoU during training, by seed; empty where it was not measured.
        best_epochs: The epochs of `best`.
        minutes: The wall-clock time of each run.
        failed: The seeds of failed runs.
        num_seeds: The number of planned seeds.
    """

    title: str
    last: Mapping[int, float]
    differences: Mapping[str, Mapping[int, float]]
    best: Mapping[int, float]
    best_epochs: Sequence[int]
    minutes: Sequence[float]
    failed: Sequence[int] = ()
    num_seeds: int = 0


def compare(
    study: Study, reports: Reports, failures: Failures | None = None, measure: str | None = None
) -> list[Line]:
    """Returns the rows of a study for the finished runs; methods without one are left out.

    Args:
        study: The study.
        reports: The reports of finished runs.
        failures: The failed runs.
        measure: The further images to compare on; the validation images by default.
    """
    reports = {method: _on(by_seed, measure) for method, by_seed in reports.items()}
    baselines = {row: _last(reports, row) for row in study.baselines}
    lines = []
    for row in study.rows:
        stages = dict(_stages(reports, row))
        failed = sorted((failures or {}).get(row.method, ()))
        if not stages and not failed:
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
                failed=failed,
                num_seeds=len(study.seeds),
            )
        )
    return lines


def _on(by_seed: Mapping[int, Mapping], measure: str | None) -> dict[int, Mapping]:
    """Returns the reports with the scores on further images instead of the validation images."""
    if measure is None:
        return dict(by_seed)
    return {
        seed: report | {"stages": [{**row["measured"][measure], "name": row["name"]} for row in rows]}
        for seed, report in by_seed.items()
        if (rows := [row for row in report["stages"] if measure in row.get("measured", {})])
    }


def _last(reports: Reports, row: Row) -> dict[int, float]:
    return {seed: 100 * stage["mean_iou"] for seed, stage in _stages(reports, row)}


def _stages(reports: Reports, row: Row) -> Iterator[tuple[int, Mapping]]:
    for seed, report in sorted(reports[row.method].items()):
        yield from ((seed, stage) for stage in report["stages"] if stage["name"] == row.stage)


def table(lines: Sequence[Line]) -> str:
    """Returns a Markdown table: every seed, mean ± standard deviation, differences to the baselines."""
    baselines = list(lines[0].differences) if lines else []
    seeds = sorted({seed for line in lines for seed in (*line.last, *line.failed)})
    with_best = any(line.best for line in lines)
    head = ["method", *(f"seed {seed}" for seed in seeds), "mean ± sd"]
    head += [*(f"difference to {title}, 95 % interval" for title in baselines), "minutes a run"]
    head += ["best while training, mean ± sd"] if with_best else []
    rows = [head, ["---"] * len(head)]
    for line in lines:
        cells = [line.title, *(_score(line, seed) for seed in seeds)]
        few = f" ({len(line.last)} of {line.num_seeds} seeds)" if len(line.last) < line.num_seeds else ""
        cells += [_mean(line.last.values()) + few]
        cells += [_difference(line.differences[title]) for title in baselines]
        cells += [f"{statistics.fmean(line.minutes):.1f}" if line.minutes else "–"]
        cells += [_best(line)] if with_best else []
        rows.append(cells)
    text = "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
    return f"{text}\n{_BEST}\n" if with_best else text


def _score(line: Line, seed: int) -> str:
    if seed in line.last:
        return f"{line.last[seed]:.2f}"
    return "**failed**" if seed in line.failed else "–"


def _mean(values) -> str:
    values = list(values)
    if not values:
        return "–"
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


def page(
    study: Study,
    line: str,
    reports: Reports,
    prices: Sequence[costs.Price] = (),
    failures: Failures | None = None,
) -> str:
    """Returns the tables, with the information to reproduce them.

    Args:
        study: The study.
        line: The user's command.
        reports: The reports of finished runs.
        prices: The cost of the rows, when all runs are done.
        failures: The failed runs and the reasons.
    """
    done, runs = sum(map(len, reports.values())), len(study.methods) * len(study.seeds)
    methods = [f"- {method.name}: `{' '.join(method.flags) or 'nothing else'}`" for method in study.methods]
    failed = [
        f"- {name}, seed {seed}: {why}" for name, of in (failures or {}).items() for seed, why in of.items()
    ]
    parts = [
        f"# {study.directory.name}",
        f"    {line}",
        f"Mean IoU in percent; {done} of {runs} runs are done.",
        "Failed, and in no mean:" if failed else "",
        "\n".join(failed),
        table(compare(study, reports, failures)).strip(),
    ]
    for measure in study.measures:
        parts += [f"{measure.name}, `{measure.dataset}` {measure.split}:"]
        parts += [table(compare(study, reports, failures, measure.name)).strip()]
    parts += [
        f"What they cost, by the networks of seed {study.seeds[0]}, timed in turn:" if prices else "",
        costs.table(prices).strip() if prices else "",
        f"Not held equal, because it is compared: {', '.join(study.varies)}." if study.varies else "",
        "All runs:",
        "\n".join(f"    {flag}" for flag in study.shared_flags),
        "and each method:",
        "\n".join(methods),
        f"Made with {_versions(reports)}{_processors(reports)}." if done else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _versions(reports: Reports) -> str:
    found: dict[str, set[str]] = {}
    for by_seed in reports.values():
        for report in by_seed.values():
            for package, version in report.get("versions", {}).items():
                found.setdefault(package, set()).add(version)
    return ", ".join(f"{package} {' and '.join(sorted(versions))}" for package, versions in found.items())


def _processors(reports: Reports) -> str:
    """Returns the processors of all machines that were used."""
    found = {report["cpu"] for by_seed in reports.values() for report in by_seed.values() if "cpu" in report}
    return f", on {' and '.join(sorted(found))}" if found else ""


def record(study: Study, reports: Reports, failures: Failures | None = None) -> dict:
    """Returns a study as JSON: the settings, the results and the versions."""
    # The runs used the clone.
    code = study.directory / "code"
    return {
        "protocol": PROTOCOL,
        **provenance(),
        **({"commit": commit(code)} if code.exists() else {}),
        "baselines": [f"{row.method}>{row.stage}" for row in study.baselines],
        "varies": list(study.varies),
        "seeds": list(study.seeds),
        "failed": failures or {},
        "runs": reports,
    }


def write_study(
    study: Study,
    line: str,
    reports: Reports,
    prices: Sequence[costs.Price] = (),
    failures: Failures | None = None,
) -> None:
    """Writes `study.md`, `study.json` and, with the cost of rows, `costs.json` into the study's directory."""
    text = page(study, line, reports, prices, failures)
    write_atomically(study.directory / "study.md", lambda path: path.write_text(text, encoding="utf-8"))
    write_json(study.directory / "study.json", record(study, reports, failures))
    if prices:
        write_json(study.directory / "costs.json", {**provenance(), "rows": [asdict(one) for one in prices]})
