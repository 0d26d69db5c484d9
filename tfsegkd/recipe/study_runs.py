"""Running the methods and seeds of a study."""

import concurrent.futures
import math
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from tfsegkd.atomic import read_json, write_json
from tfsegkd.recipe import shared_runs
from tfsegkd.recipe.provenance import ROOT
from tfsegkd.recipe.settings import by_name, words_of
from tfsegkd.recipe.study import Failures, Measure, Method, Reports, Study

# The number of consecutive frames, which are similar, in a block of the bootstrap.
_BLOCK = 10


def run_study(
    study: Study,
    jobs: int,
    finished: Callable[[Reports, Failures], object] = lambda reports, failures: None,
    root: Path | None = None,
    code: str | None = None,
    data_dir: str | None = None,
    only: Collection[str] = (),
) -> Reports:
    """Runs every method with every seed, each in its own process, and collects the reports.

    Seeds vary slowest, so that an interrupted study has complete pairs. Finished runs are reused, also those
    of another study with equal flags, code, data directory and input files; interrupted runs resume; a failed
    run does not stop the others.

    Args:
        study: The study.
        jobs: The number of parallel runs; each gets an equal share of the processors.
        finished: Called with the reports and the reasons of failures, before the first run and after each.
        root: The code to run; the installed package by default.
        code: The hash of this code; without it no run is shared.
        data_dir: The directory of the data set, for the study's further measures.
        only: The methods to run; all by default. Finished runs of the others are collected.

    Raises:
        ValueError: if an earlier run had other flags, files or code.
        ChildProcessError: at the end, if runs failed; the message names their logs.
    """
    runner = _Runner(study, jobs, root, code=code, data_dir=data_dir)
    tasks = [(method, seed) for seed in study.seeds for method in study.methods]
    reports: dict[str, dict[int, dict]] = {method.name: {} for method in study.methods}
    failures: dict[str, dict[int, str]] = {}
    for method, seed in tasks:
        report = _done_before(study, method, seed, code)
        if report is not None and not _unmeasured(study, method, report):
            reports[method.name][seed] = report
    finished(reports, failures)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        running = {
            pool.submit(runner.run, method, seed): (method, seed)
            for method, seed in tasks
            if seed not in reports[method.name] and (not only or method.name in only)
        }
        try:
            for run in concurrent.futures.as_completed(running):
                method, seed = running[run]
                try:
                    reports[method.name][seed] = run.result()
                except (OSError, ValueError) as error:
                    failures.setdefault(method.name, {})[seed] = str(error)
                    print(f"{method.name}, seed {seed}: failed: {error}", flush=True)
                else:
                    minutes, unknown = minutes_left(study, reports)
                    known = f", about {minutes / jobs:.0f} minutes left" if minutes and not unknown else ""
                    done = sum(map(len, reports.values()))
                    print(f"{done} of {len(tasks)} runs are done{known}", flush=True)
                finished(reports, failures)
        except BaseException:
            # After an interruption no further run starts.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if failures:
        reasons = [f"{name}, seed {seed}: {why}" for name, of in failures.items() for seed, why in of.items()]
        raise ChildProcessError(
            f"{len(reasons)} of {len(tasks)} runs failed; the others are done. {'; '.join(reasons)}. Fix "
            f"what their logs report and run the same command again."
        )
    return reports


def script(root: Path, name: str) -> Path:
    """The file that runs a command: of a checkout its tool, of an installed package its module."""
    tool = root / "tools" / f"{name}.py"
    return tool if tool.is_file() else root / "tfsegkd" / "commands" / f"{name}.py"


def minutes_left(study: Study, reports: Reports) -> tuple[float, list[str]]:
    """Returns the estimated remaining minutes, and the methods without a finished run."""
    left, unknown = 0.0, []
    for method in study.methods:
        done = reports.get(method.name, {})
        minutes = [report["minutes"] for report in done.values() if "minutes" in report]
        if len(done) == len(study.seeds):
            continue
        if minutes:
            left += statistics.fmean(minutes) * (len(study.seeds) - len(done))
        else:
            unknown.append(method.name)
    return left, unknown


def estimate(study: Study, jobs: int) -> str:
    """Returns the state of a study, with an estimate of the remaining time from finished runs.

    Args:
        study: The study; nothing is run.
        jobs: The number of parallel runs.

    Raises:
        ValueError: if an earlier run had other flags.
    """
    runs = len(study.methods) * len(study.seeds)
    lines = [f"{runs} runs, {len(study.methods)} methods × {len(study.seeds)} seeds, {jobs} at once."]
    reports: dict[str, dict[int, dict]] = {}
    width = max(len(method.name) for method in study.methods)
    for method in study.methods:
        found = {seed: _done_before(study, method, seed) for seed in study.seeds}
        done = reports[method.name] = {seed: report for seed, report in found.items() if report}
        logs = [(study.run_directory(method.name, seed) / "log.txt").exists() for seed in study.seeds]
        begun = max(sum(logs) - len(done), 0)
        text = f"{len(done)} done, {begun} started, {len(logs) - len(done) - begun} to do"
        minutes = [report["minutes"] for report in done.values() if "minutes" in report]
        if minutes:
            text += f", {statistics.fmean(minutes):.1f} minutes each"
        lines.append(f"  {method.name:{width}}  {text}  {' '.join(method.flags)}".rstrip())
    left, unknown = minutes_left(study, reports)
    lines.append(
        f"about {left / jobs:.0f} minutes left" + (f", without {', '.join(unknown)}" if unknown else "")
    )
    if unknown:
        command = [*study.command, *study.methods[0].flags, *words_of(dry_run=True)]
        lines.append(f"How long one run takes: {shlex.join(command)}")
    return "\n".join(lines)


def _done_before(study: Study, method: Method, seed: int, code: str | None = None) -> dict | None:
    path = study.run_directory(method.name, seed) / "study.json"
    if not path.exists():
        return None
    report = read_json(path)
    if not _is_whole(report):
        raise ValueError(
            f"{str(path)!r} is damaged. Expected the report of a run. Delete it: the run then resumes, or is "
            f"found done."
        )
    asked = study.flags_of(method)
    before = report.get("asked", asked)
    if by_name(before) != by_name(asked):
        changed = [f"{flag} before" for flag in before if flag not in asked]
        changed += [f"{flag} now" for flag in asked if flag not in before]
        raise ValueError(
            f"{str(path.parent)!r} was made with other flags: {'; '.join(changed) or 'their order'}. Runs of "
            f"a study must have the same flags. Choose another `output_dir`, or delete that directory to "
            f"run it again."
        )
    if code and report.get("code", code) not in (None, code):
        raise ValueError(
            f"{str(path.parent)!r} was made by other code, {report['code']}, than {code}. Runs of one study "
            f"are made by one code. Copy the study's directory 'code' as well when you continue it on "
            f"another machine, or choose another `output_dir`."
        )
    others = shared_runs.changed(report)
    if others:
        raise ValueError(
            f"{str(path.parent)!r} was made from other files of these names: {', '.join(others)}. Put back "
            f"what it was made from, choose another `output_dir`, or delete that directory to run it again."
        )
    return report


def _unmeasured(study: Study, method: Method, report: dict) -> list[tuple[dict, Measure]]:
    """Returns the rows of a finished run that are not yet evaluated on further images."""
    rows = [row for row in report["stages"] if row["name"] in method.stages and "file" in row]
    return [
        (row, measure)
        for row in rows
        for measure in study.measures
        if row.get("measured", {}).get(measure.name, {}).get("of") != [measure.dataset, measure.split]
    ]


def _is_whole(report) -> bool:
    """Whether a report has the fields that studies compare."""

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


@dataclass(frozen=True)
class _Runner:
    """Runs the commands of a study."""

    study: Study
    jobs: int
    root: Path | None
    code: str | None
    data_dir: str | None

    def run(self, method: Method, seed: int) -> dict:
        """Executes a run; raises ChildProcessError if it fails, OSError or ValueError without a report."""
        target, asked = self.study.run_directory(method.name, seed), self.study.flags_of(method)
        if target.is_symlink() and not target.exists():
            target.unlink()  # the shared run no longer exists
        report = _done_before(self.study, method, seed, self.code)
        if report is None and not target.exists():
            data_dir = self.study.data_dir_of(method)
            other = shared_runs.find_alike(self.study.directory, asked, seed, self.code, data_dir)
            if other:
                shared_runs.share(target, other)
                report = _done_before(self.study, method, seed)
                print(f"{method.name}, seed {seed}: shares the run {other}", flush=True)
        if report is None:
            report = self._train(method, seed, target, asked)
        for row, measure in _unmeasured(self.study, method, report):
            row.setdefault("measured", {})[measure.name] = self._measure(target, row, measure)
        write_json(target / "study.json", report)
        return report

    def _train(self, method: Method, seed: int, target: Path, asked: list[str]) -> dict:
        target.mkdir(parents=True, exist_ok=True)
        log_file = target / "log.txt"
        print(f"{method.name}, seed {seed}: running, log in {log_file}", flush=True)
        files, began = shared_runs.inputs(asked, seed), time.monotonic()
        line = [*self.study.command, *method.flags, *words_of(seed=seed, output_dir=target)]
        code = self._call(line, log_file)
        minutes = _add_up(target / "minutes.json", (time.monotonic() - began) / 60)
        if code:
            raise ChildProcessError(f"ended with code {code}, log in {log_file}")
        report = read_json(target / "report.json")
        report |= {"minutes": round(minutes, 1), "asked": asked, "code": self.code, "inputs": files}
        print(f"{method.name}, seed {seed}: done in {minutes:.1f} minutes", flush=True)
        return report

    def _measure(self, target: Path, row: dict, measure: Measure) -> dict:
        """Evaluates a row's file on further images."""
        result, log_file = target / "measured.json", target / "log.txt"
        values = {
            "model": target / row["file"],
            "dataset": measure.dataset,
            "split": measure.split,
            "json": result,
            "frames_per_block": _BLOCK,
        }
        if self.data_dir:
            values["data_dir"] = self.data_dir
        evaluate = str(script(self.root or ROOT, "evaluate"))
        code = self._call([sys.executable, evaluate, *words_of(**values)], log_file)
        if code:
            raise ChildProcessError(
                f"{row['name']} could not be measured on {measure.dataset}, log in {log_file}"
            )
        found = read_json(result)
        kept = ("mean_iou", "pixel_accuracy", "iou", "num_images", "blocks")
        return {"of": [measure.dataset, measure.split], **{key: found[key] for key in kept}}

    def _call(self, line: list[str], log_file: Path) -> int:
        threads = str(max(1, (os.cpu_count() or 1) // self.jobs))
        environment = os.environ | {"TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": threads}
        if self.root:
            # Before an installed package.
            paths = (str(self.root.resolve()), environment.get("PYTHONPATH"))
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        with log_file.open("a") as log:
            return subprocess.call(line, stdout=log, stderr=subprocess.STDOUT, env=environment)


def _add_up(path: Path, minutes: float) -> float:
    """Adds the minutes of this attempt to those of earlier ones."""
    if path.exists():
        minutes += read_json(path)
    write_json(path, minutes)
    return minutes
