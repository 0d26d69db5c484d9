"""Methods × seeds under one schedule: running them."""

import concurrent.futures
import math
import os
import shlex
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tfsegkd.atomic import read_json, write_json

# The content of report.json, by method and seed.
Reports = Mapping[str, Mapping[int, Mapping]]


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
        """How tables and pictures call it."""
        return f"{self.method} ({self.stage})"


def parse_row(text: str) -> Row:
    """Reads `'method>stage'`.

    Raises:
        ValueError: for any other form.
    """
    method, arrow, stage = (part.strip() for part in text.partition(">"))
    if not (method and arrow and stage):
        raise ValueError(f"Cannot read the row {text!r}. Expected 'method>stage', such as 'alone>student'.")
    return Row(method, stage)


@dataclass(frozen=True)
class Method:
    """One way to train, in one or several rows of a study.

    Args:
        name: What it is called; also the name of its directory.
        flags: What it changes of the command that all methods share.
        stages: The stages of the report whose mean IoU counts; each is a row.
    """

    name: str
    flags: tuple[str, ...]
    stages: tuple[str, ...]


def parse_method(text: str) -> Method:
    """Reads `'name>stage: --flag=value --flag=value'`, where several stages have commas between.

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
class Study:
    """What is compared.

    Args:
        command: The command line that all runs share, its flagfiles spelt out.
        methods: What is compared.
        seeds: The seeds, the same for all.
        directory: Where the runs write, as `directory/method/seed_k`.
        baselines: The rows that all others are compared with; unless given, the first.

    Raises:
        ValueError: if there is nothing to run, two methods have one name, or a baseline is no row.
    """

    command: tuple[str, ...]
    methods: tuple[Method, ...]
    seeds: tuple[int, ...]
    directory: Path
    baselines: tuple[Row, ...] = ()

    def __post_init__(self):
        names = [method.name for method in self.methods]
        if not names or not self.seeds:
            raise ValueError(f"A study needs methods and seeds. Received: {names}, seeds {self.seeds}.")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"Two methods are called {twice}. Give each a name of its own.")
        unknown = [row.title for row in self.baselines if row not in self.rows]
        if unknown:
            raise ValueError(
                f"No such rows to compare with: {unknown}. Rows: {[row.title for row in self.rows]}."
            )
        if not self.baselines:
            object.__setattr__(self, "baselines", self.rows[:1])

    @property
    def rows(self) -> tuple[Row, ...]:
        """What is compared, in order."""
        return tuple(Row(method.name, stage) for method in self.methods for stage in method.stages)

    def run_directory(self, method: str, seed: int) -> Path:
        """Where a run writes."""
        return self.directory / method / f"seed_{seed}"

    @property
    def shared_flags(self) -> list[str]:
        """The flags of all runs, but where this machine keeps the data."""
        return [word for word in self.command if word[:1] == "-" and not word.startswith("--data_dir=")]


def run_study(
    study: Study, jobs: int, finished: Callable[[Reports], object] = lambda reports: None
) -> Reports:
    """Runs every method with every seed, each in a process of its own, and collects their reports.

    Seeds vary slowest, so that an interrupted study still holds whole pairs. A run that is done is not done
    again; one that was interrupted goes on; one that fails does not keep the others from running.

    Args:
        study: What to run.
        jobs: How many runs at once; each gets an equal share of the processors.
        finished: Called with all reports there are, before the first run and after each.

    Raises:
        ValueError: if a run was done before with other flags.
        ChildProcessError: at the end, if runs failed; the message names their logs.
    """
    tasks = [(method, seed) for seed in study.seeds for method in study.methods]
    reports: dict[str, dict[int, dict]] = {method.name: {} for method in study.methods}
    for method, seed in tasks:
        report = _done_before(study, method, seed)
        if report is not None:
            reports[method.name][seed] = report
    finished(reports)
    failures = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        running = {
            pool.submit(_run, study, method, seed, jobs): (method, seed)
            for method, seed in tasks
            if seed not in reports[method.name]
        }
        try:
            for run in concurrent.futures.as_completed(running):
                method, seed = running[run]
                try:
                    reports[method.name][seed] = run.result()
                except (OSError, ValueError) as error:
                    failures.append(f"{method.name}, seed {seed}: {error}")
                    print(failures[-1], flush=True)
                else:
                    finished(reports)
        except BaseException:
            # Whoever interrupts the study does not want the next run to begin.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if failures:
        raise ChildProcessError(
            f"{len(failures)} of {len(tasks)} runs failed; the others are done. {'; '.join(failures)}. Mend "
            f"what their logs say and run the same line again."
        )
    return reports


def outlook(study: Study, jobs: int) -> str:
    """What is done of a study, what is left to do, and how long that takes by the runs that are done.

    Args:
        study: What would be run; nothing is.
        jobs: How many runs at once.

    Raises:
        ValueError: if a run was done before with other flags.
    """
    runs = len(study.methods) * len(study.seeds)
    lines = [f"{runs} runs, {len(study.methods)} methods × {len(study.seeds)} seeds, {jobs} at once."]
    left, unknown = 0.0, []
    width = max(len(method.name) for method in study.methods)
    for method in study.methods:
        done = [report for seed in study.seeds if (report := _done_before(study, method, seed))]
        logs = [(study.run_directory(method.name, seed) / "log.txt").exists() for seed in study.seeds]
        begun = max(sum(logs) - len(done), 0)
        text = f"{len(done)} done, {begun} begun, {len(logs) - len(done) - begun} to do"
        minutes = [report["minutes"] for report in done if "minutes" in report]
        if minutes:
            text += f", {statistics.fmean(minutes):.1f} minutes each"
            left += statistics.fmean(minutes) * (len(study.seeds) - len(done))
        elif len(done) < len(study.seeds):
            unknown.append(method.name)
        lines.append(f"  {method.name:{width}}  {text}  {' '.join(method.flags)}".rstrip())
    lines.append(
        f"about {left / jobs:.0f} minutes left" + (f", without {', '.join(unknown)}" if unknown else "")
    )
    if unknown:
        command = [*study.command, *study.methods[0].flags, "--dry_run"]
        lines.append(f"How long one run takes: {shlex.join(command)}")
    return "\n".join(lines)


def _done_before(study: Study, method: Method, seed: int) -> dict | None:
    path = study.run_directory(method.name, seed) / "study.json"
    if not path.exists():
        return None
    report = read_json(path)
    if not _is_whole(report):
        raise ValueError(
            f"{str(path)!r} is damaged. Expected the report of a run. Delete it: the run then goes on, or is "
            f"found done."
        )
    asked = [*study.shared_flags, *method.flags]
    before = report.get("asked", asked)
    if before != asked:
        changed = [f"{flag} before" for flag in before if flag not in asked]
        changed += [f"{flag} now" for flag in asked if flag not in before]
        raise ValueError(
            f"{str(path.parent)!r} was made with other flags: {'; '.join(changed) or 'their order'}. Runs of "
            f"one study must be alike. Choose another --output_dir, or delete that directory to run it again."
        )
    return report


def _is_whole(report) -> bool:
    """Whether a report holds what studies compare."""

    def is_number(value):
        return isinstance(value, int | float) and math.isfinite(value)

    try:
        rows = [(row["name"], row["mean_iou"]) for row in report["stages"]]
        more = [row.get(key) or 0 for row in report["stages"] for key in ("best_val_mean_iou", "best_epoch")]
        numbers = [*(score for _, score in rows), *more, report.get("minutes", 0)]
        return (
            all(isinstance(name, str) for name, _ in rows)
            and all(map(is_number, numbers))
            and isinstance(report.get("asked", []), list)
        )
    except (AttributeError, LookupError, TypeError):
        return False


def _run(study: Study, method: Method, seed: int, jobs: int) -> dict:
    """One run; raises ChildProcessError if it fails, OSError or ValueError if it leaves no report."""
    target = study.run_directory(method.name, seed)
    target.mkdir(parents=True, exist_ok=True)
    log_file = target / "log.txt"
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    environment = os.environ | {"TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": threads}
    print(f"{method.name}, seed {seed}: running, log in {log_file}", flush=True)
    began = time.monotonic()
    with log_file.open("a") as log:
        line = [*study.command, *method.flags, f"--seed={seed}", f"--output_dir={target}"]
        code = subprocess.call(line, stdout=log, stderr=subprocess.STDOUT, env=environment)
    minutes = _add_up(target / "minutes.json", (time.monotonic() - began) / 60)
    if code:
        raise ChildProcessError(f"ended with code {code}, log in {log_file}")
    report = read_json(target / "report.json")
    report |= {"minutes": round(minutes, 1), "asked": [*study.shared_flags, *method.flags]}
    write_json(target / "study.json", report)
    print(f"{method.name}, seed {seed}: done in {minutes:.1f} minutes", flush=True)
    return report


def _add_up(path: Path, minutes: float) -> float:
    """Adds the minutes of this attempt to those of the attempts before."""
    if path.exists():
        minutes += read_json(path)
    write_json(path, minutes)
    return minutes
