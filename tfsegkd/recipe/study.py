"""Methods × seeds under one schedule, and what may be concluded from them."""

import concurrent.futures
import json
import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy import stats

from tfsegkd.atomic import write_atomically, write_json


@dataclass(frozen=True)
class Method:
    """One row of a study.

    Args:
        name: What the row is called; also the name of its directory.
        flags: What it changes of the command that all methods share.
        stage: The stage of the report whose mean IoU counts.
    """

    name: str
    flags: tuple[str, ...]
    stage: str


def parse_method(text: str) -> Method:
    """Reads `'name>stage: --flag=value --flag=value'`.

    Raises:
        ValueError: for any other form.
    """
    head, colon, flags = text.partition(":")
    name, arrow, stage = (part.strip() for part in head.partition(">"))
    words = flags.split()
    if not (colon and arrow and name.isidentifier() and stage) or any(w[:2] != "--" for w in words):
        raise ValueError(
            f"Cannot read the method {text!r}. Expected 'name>stage: --flag=value --flag=value', where stage "
            f"is the row of report.json that counts, such as student."
        )
    return Method(name, tuple(words), stage)


def run_study(
    command: Sequence[str], methods: Sequence[Method], seeds: Sequence[int], directory: Path, jobs: int
) -> dict[str, dict[int, dict]]:
    """Runs every method with every seed, each in a process of its own, and collects their reports.

    Seeds vary slowest, so that an interrupted study still holds whole pairs. A run that is done is not done
    again; one that was interrupted goes on.

    Args:
        command: The command line that all runs share.
        methods: The rows.
        seeds: The seeds.
        directory: Where the runs write, as `directory/method/seed_k`.
        jobs: How many runs at once; each gets an equal share of the processors.

    Returns:
        The content of `report.json`, by method and seed.

    Raises:
        ChildProcessError: if a run fails; the message names its log.
    """
    environment = os.environ.copy()
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    environment |= {"TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": threads}

    def run(task):
        seed, method = task
        target = directory / method.name / f"seed_{seed}"
        done = target / "study.json"
        if done.exists():
            return method.name, seed, json.loads(done.read_text())
        target.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        print(f"{method.name}, seed {seed}: running, log in {target / 'log.txt'}", flush=True)
        with (target / "log.txt").open("a") as log:
            line = [*command, *method.flags, f"--seed={seed}", f"--output_dir={target}"]
            code = subprocess.call(line, stdout=log, stderr=subprocess.STDOUT, env=environment)
        if code:
            raise ChildProcessError(f"{' '.join(line)} ended with code {code}. Its log: {target / 'log.txt'}")
        report = json.loads((target / "report.json").read_text())
        report["minutes"] = round((time.monotonic() - began) / 60, 1)
        write_json(done, report)
        return method.name, seed, report

    tasks = [(seed, method) for seed in seeds for method in methods]
    reports: dict[str, dict[int, dict]] = {method.name: {} for method in methods}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for name, seed, report in pool.map(run, tasks):
            reports[name][seed] = report
    return reports


def scores(reports: dict[int, dict], stage: str) -> dict[int, float]:
    """Mean IoU in percent by seed, of the row `stage`."""
    rows = {seed: {row["name"]: row for row in report["stages"]} for seed, report in reports.items()}
    return {seed: 100 * by_name[stage]["mean_iou"] for seed, by_name in rows.items() if stage in by_name}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean and the half width of its 95 % interval, by Student's t.

    Reference:
        Student, Biometrika 1908.
    """
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, float("nan")
    spread = statistics.stdev(values) / len(values) ** 0.5
    return mean, float(stats.t.ppf(0.975, len(values) - 1)) * spread


def table(reports: dict[str, dict[int, dict]], methods: Sequence[Method]) -> str:
    """A Markdown table: every seed, mean ± standard deviation, and the paired difference to the first row."""
    seeds = sorted({seed for by_seed in reports.values() for seed in by_seed})
    lines = [
        "| method | "
        + " | ".join(f"seed {seed}" for seed in seeds)
        + " | mean ± sd | difference to the first row, 95 % interval | minutes a run |",
        "|---|" + "---|" * (len(seeds) + 3),
    ]
    baseline = scores(reports[methods[0].name], methods[0].stage)
    for method in methods:
        found = scores(reports[method.name], method.stage)
        if not found:
            continue
        values = list(found.values())
        deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        paired = [found[seed] - baseline[seed] for seed in found if seed in baseline]
        mean, half = interval(paired) if paired else (float("nan"), float("nan"))
        difference = "–" if method is methods[0] else f"{mean:+.2f} ± {half:.2f} ({len(paired)} pairs)"
        minutes = statistics.fmean(report["minutes"] for report in reports[method.name].values())
        cells = [f"{found[seed]:.2f}" if seed in found else "–" for seed in seeds]
        average = f"{statistics.fmean(values):.2f}{deviation}"
        lines.append(
            f"| {method.name} ({method.stage}) | {' | '.join(cells)} | {average} | {difference} "
            f"| {minutes:.1f} |"
        )
    return "\n".join(lines) + "\n"


def write_study(directory: Path, reports: dict, methods: Sequence[Method]) -> str:
    """Writes `study.md` and `study.json` into `directory`; returns the table."""
    text = table(reports, methods)
    write_atomically(directory / "study.md", lambda path: path.write_text(text, encoding="utf-8"))
    write_json(directory / "study.json", reports)
    return text
