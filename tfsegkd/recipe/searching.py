"""The stage of a recipe that finds a network for a budget, by costs and short trainings."""

import dataclasses
import os
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tfsegkd import checks, models
from tfsegkd._keras import keras
from tfsegkd.atomic import read_json, write_atomically, write_json
from tfsegkd.data import Source
from tfsegkd.distillation import parse_terms
from tfsegkd.evaluation import evaluate
from tfsegkd.recipe.auto import hold_out
from tfsegkd.recipe.budget import Budget
from tfsegkd.recipe.candidates import Candidate, Candidates, find, networks
from tfsegkd.recipe.dry_run import PlannedTraining
from tfsegkd.recipe.halving import Round, halve, rounds, trainings
from tfsegkd.recipe.search_result import (
    FOUND,
    NETWORKS,
    Trained,
    another_is_due,
    read_found,
    set_aside,
)
from tfsegkd.recipe.stages import (
    PREFLIGHT,
    Distill,
    Reads,
    Rehearsal,
    Run,
    cache_key,
    check_task,
    fingerprint,
    teacher_of,
)
from tfsegkd.recipe.state import progress_directory
from tfsegkd.recipe.statistics import rank_correlation
from tfsegkd.recipe.training import Schedule
from tfsegkd.runtime.in_subprocess import in_subprocess

# More would take too long for what they add.
MOST_CANDIDATES = 6


@dataclasses.dataclass(frozen=True)
class Search:
    """Finds the best student within a budget, by costs and by short trainings of candidates.

    Candidates are all input sizes combined with the options that the student's spec leaves open
    (`candidates.CHOICES`). The costs of all are computed before anything is trained. Of those on the Pareto
    front within the budget, a few are trained for a part of their schedule and ranked on held-out training
    images; the worse half is dropped, and so on. The best is trained to the end, on all training images. If
    its finished file turns out to be over the budget, the search goes on without it. Nothing is trained
    twice.

    Args:
        budget: What the network may cost.
        schedule: The training of a candidate that is trained to the end.
        distill: The distillation terms, as for `Distill`; without any, candidates learn from the labels
            alone, as in `StudentAlone`.
        cache: Where the teacher is recorded, for each input size; needed with terms only.
        student: The spec of the student; options that it sets are not searched.
        task_weight, preflight, balanced_terms: As for `Distill`.
        candidates: How many are trained.
        max_drop: How many points of mean IoU below the teacher the finished network may be, on held-out
            images, on which then nothing is trained; None for no limit.
        halving: Whether candidates are dropped. Without it all are trained to the end, which shows how well
            the early scores rank them.

    Raises:
        ValueError: for a number of candidates or points out of range, terms that do not fit the task, or
            terms without a cache.

    Example:
        budget = recipe.Budget.parse("arm:60M")
        stage = recipe.Search(budget, recipe.Schedule(40, 1e-3), ["pixelwise"], cache="teacher.cache")
    """

    budget: Budget
    schedule: Schedule
    distill: Sequence[str] = ()
    cache: str | None = None
    student: str = "lite_unet"
    task_weight: float = 1.0
    preflight: str = "refuse"
    balanced_terms: bool = False
    candidates: int = 4
    max_drop: float | None = None
    halving: bool = True
    name = Distill.name
    artefact = Distill.artefact

    def __post_init__(self):
        checks.one_of(self.preflight, PREFLIGHT, "preflight")
        check_task(parse_terms(self.distill), self.task_weight, self.balanced_terms)
        if self.distill and self.cache is None:
            raise ValueError(
                f"A search records its teacher once for each input size. Received: the terms "
                f"{list(self.distill)} without a `cache`. Name a directory for it, or leave out `distill`."
            )
        networks(self.student)
        checks.whole(self.candidates, 1, "candidates")
        if self.halving and self.candidates > MOST_CANDIDATES:
            raise ValueError(
                f"`candidates` must be at most {MOST_CANDIDATES} where the worse half is dropped. Received: "
                f"{self.candidates}. More would take too long for what they add. Lower it, or train all to "
                f"the end with `halving=False`."
            )
        if self.max_drop is not None:
            checks.in_range(self.max_drop, 0.0, 100.0, "max_drop")

    @property
    def reads(self) -> Reads:
        return teacher_of(parse_terms(self.distill))

    def settings(self) -> dict:
        settings = {**cache_key(self), "budget": str(self.budget)}
        if self.budget.device_table is not None:
            settings["device_table"] = fingerprint(str(self.budget.device_table))
        return settings

    def hold_out(self, train: Source) -> tuple[Source, Source]:
        """Images to train on and, from the end of the training images, images to rank candidates on.

        Raises:
            ValueError: if they have no labels, or too few would be left.
        """
        if not train.labelled:
            raise ValueError(
                "A search ranks its candidates on training images that are held out, and these have no "
                "labels. Use images with labels, or name one `student` and leave out the `budget`."
            )
        otherwise = "name one `student` and leave out the `budget`"
        return hold_out(train, self.schedule.batch_size, otherwise)

    def make(self, run: Run) -> keras.Model:
        return _Making(self, run).make()

    def rehearsal(self, cache: str) -> Rehearsal:
        search = dataclasses.replace(self, cache=self.cache and cache)
        return Rehearsal(partial(_rehearsed, search), records=self.cache, planned=self.planned)

    def planned(self, tried: Sequence[PlannedTraining]) -> list[PlannedTraining]:
        """Estimates a run's trainings as if the slowest candidates trained longest."""
        order = sorted(tried, key=lambda one: -(one.step_seconds or 0))
        found, done = [], 0
        for one in rounds(self.schedule.epochs, len(order), self.halving):
            found += [
                dataclasses.replace(each, epochs=one.until - done, done=done)
                for each in order[: one.candidates]
            ]
            done = one.until
        return found


@dataclasses.dataclass(frozen=True)
class _Leg(Distill):
    """A candidate's training; its checkpoints are in the stage's directory and removed with it."""

    name: str = Distill.name


def candidates(search: Search, run: Run) -> Candidates:
    """Computes the costs of all candidates of a run, and counts those to train on their files."""
    data = run.data
    print(f"  computing the costs of candidates for {search.budget}", flush=True)
    largest = data.train[0][0].shape[:2]
    size = tuple(data.size)
    return find(search.student, size, largest, data.train.info, search.budget, search.candidates)


class _Making:
    """A search in progress. `search.json` holds its state after every training."""

    def __init__(self, search: Search, run: Run):
        self._search, self._run = search, run
        self._path = run.directory / FOUND
        self._content: dict[str, Any] = {}
        fitting, held_out = (
            (run.data.train, run.held_out) if run.held_out else search.hold_out(run.data.train)
        )
        self._first, self._held_out = len(fitting), held_out

    def make(self) -> keras.Model:
        begun = progress_directory(self._run.directory, self._search.name)
        if self._path.exists() and begun.exists():
            self._content = read_json(self._path)
            if another_is_due(self._content):
                self._content = set_aside(self._content)
                write_json(self._path, self._content)
            if "chosen" in self._content:
                return models.load(self._network(read_found(self._run.directory).chosen))
        else:
            self._begin(in_subprocess(partial(candidates, self._search, self._run)))
            begun.mkdir(parents=True, exist_ok=True)
        trained = [Trained.from_json(row) for row in self._content["trained"]]
        self._allow_failed(trained)
        planned = rounds(self._search.schedule.epochs, len(trained), self._search.halving)
        self._run.note(_told(self._search, self._content, trained))
        left, finished = self._finish(trained, planned)
        chosen = finished[0]
        self._content |= {"chosen": str(chosen.candidate), "why": self._why(chosen, trained, planned)}
        if not self._search.halving and len(left) == len(trained):
            self._content["rank_correlation"] = self._correlations(finished, planned)
        self._write(trained)
        print(f"  {self._content['why']}", flush=True)
        self._keep_logs(chosen)
        return models.load(self._network(chosen))

    def _finish(
        self, trained: Sequence[Trained], planned: Sequence[Round]
    ) -> tuple[list[Trained], list[Trained]]:
        """Returns the candidates that could be chosen, and those trained to the end, best first.

        Where the training of the last one fails, the search goes on with the others.
        """
        while True:
            left = [one for one in trained if one.may_be_chosen]
            try:
                return left, halve(left, planned, lambda one, stop: self._score(trained, one, stop, planned))
            except FloatingPointError:
                if not any(one.may_be_chosen for one in trained):
                    raise

    def _allow_failed(self, trained: Sequence[Trained]) -> None:
        """Lets failed candidates go on where their learning rate may now be halved more often."""
        allowed = self._search.schedule.halve_at_nan
        if allowed > self._content.get("halve_at_nan", 0):
            for one in trained:
                one.failed = ""
        self._content["halve_at_nan"] = allowed

    def _begin(self, found: Candidates) -> None:
        self._content = {**_summary(self._search, found), "held_out_images": len(self._held_out)}
        self._write([Trained(one) for one in found.finalists])

    def _write(self, trained: Sequence[Trained]) -> None:
        self._content["trained"] = [one.to_json() for one in trained]
        write_json(self._path, self._content)

    def _score(
        self, trained: Sequence[Trained], one: Trained, stop: Round, planned: Sequence[Round]
    ) -> float | None:
        """Trains a candidate to the end of a round and scores it; skips what is already done."""
        last = stop is planned[-1]
        # The last candidate need not be ranked any more, and is trained on all images.
        on_all = last and stop.candidates == 1 and self._run.held_out is None and self._search.halving
        if one.failed or stop.until in one.scores:
            return one.scores.get(stop.until)
        print(f"  {one.candidate}: to epoch {stop.until} of {planned[-1].until}", flush=True)
        checked = one is trained[0] and stop is planned[0]
        work = partial(self._trained, one.candidate, stop.until, on_all, checked)
        try:
            score = in_subprocess(work)
        except FloatingPointError as error:
            one.failed = str(error)
            self._write(trained)
            print(f"  {one.candidate}: dropped: {error}", flush=True)
            return None
        if on_all:
            return 0.0
        one.scores[stop.until] = score
        self._write(trained)
        print(f"  {one.candidate}: mean IoU {score:.4f} on {len(self._held_out)} held-out images", flush=True)
        return score

    def _trained(self, candidate: Candidate, until: int, on_all: bool, checked: bool) -> float:
        """Trains and saves a candidate; returns its mean IoU on the held-out images."""
        leg = _leg(self._search, candidate, self._search.preflight if checked else "off")
        run = self._run.at_size(candidate.size)
        network = leg.make_until(run, until, None if on_all else self._first)
        run.workers.chief_first(lambda: write_atomically(self._network(Trained(candidate)), network.save))
        return 0.0 if on_all else evaluate(network, self._held_out).mean_iou

    def _network(self, one: Trained) -> Path:
        return self._run.directory / NETWORKS / f"{one.candidate.key}.keras"

    def _keep_logs(self, chosen: Trained) -> None:
        """Copies the logs of the chosen training to the stage's directory."""
        leg = self._run.directory / _leg(self._search, chosen.candidate, "off").name
        stage = self._run.directory / self._search.name
        for name in ("logs", "validation.json"):
            if (leg / name).exists():
                shutil.rmtree(stage / name, ignore_errors=True)
                os.replace(leg / name, stage / name)

    def _why(self, chosen: Trained, trained: Sequence[Trained], planned: Sequence[Round]) -> str:
        describe = self._search.budget.describe
        reason = f"Chosen of {len(trained)}: {chosen.candidate}, {describe(chosen.candidate.costs)}"
        dear = [one for one in trained if one.over_budget]
        if dear:
            files = "; ".join(f"{one.candidate}, {describe(one.over_budget)}" for one in dear)
            reason = f"{reason}; set aside, because their finished files are over the budget: {files}"
        others = [one for one in trained if one not in (chosen, *dear) and one.score is not None]
        if not others or chosen.score is None:
            return f"{reason}."
        # The runner-up: the best of the others that were trained longest.
        second = max(others, key=lambda one: (max(one.scores), one.score))
        epoch = min(max(second.scores), max(chosen.scores))
        return (
            f"{reason}; after {epoch} of {planned[-1].until} epochs it had "
            f"{100 * chosen.scores[epoch]:.1f} % mean IoU on {len(self._held_out)} held-out "
            f"training images, and {second.candidate}, the next, {100 * second.scores[epoch]:.1f} %."
        )

    def _correlations(self, finished: Sequence[Trained], planned: Sequence[Round]) -> dict[str, float]:
        """Rank correlation of the scores after each round with those at the end."""
        final = [one.scores[planned[-1].until] for one in finished]
        return {
            str(one.until): rank_correlation([each.scores[one.until] for each in finished], final)
            for one in planned[:-1]
        }


def _summary(search: Search, found: Candidates) -> dict:
    """The considered networks of a search, as JSON."""
    return {
        "budget": str(search.budget),
        "limits": {limit.kind: limit.most for limit in search.budget.limits},
        "student": search.student,
        "epochs": search.schedule.epochs,
        "within": found.within,
        "edge": len(found.edge),
        "looked_at": [
            {"network": one.network, "size": list(one.size), "costs": dict(one.costs)} for one in found.all
        ],
    }


def _told(search: Search, summary: Mapping, trained: Sequence["Trained"]) -> str:
    """Describes what a search is going to do."""
    planned = rounds(search.schedule.epochs, len(trained), search.halving)
    steps = ", then ".join(f"{one.candidates} to epoch {one.until}" for one in planned)
    lines = [
        f"  budget {search.budget}: {summary['within']} of {len(summary['looked_at'])} networks are within "
        f"it, {summary['edge']} of them on the Pareto front",
        *(f"  candidate {one.candidate}: {search.budget.describe(one.candidate.costs)}" for one in trained),
        f"  trains {steps}: as much as {trainings(planned):.1f} complete trainings",
    ]
    return "\n".join(lines)


def _leg(search: Search, candidate: Candidate, preflight: str) -> _Leg:
    return _Leg(
        candidate.network,
        search.schedule,
        search.distill,
        search.task_weight,
        search.cache,
        preflight,
        balanced_terms=search.balanced_terms,
        name=f"{search.name}/progress/{candidate.key}",
    )


def _rehearsed(search: Search, run: Run) -> keras.Model:
    """Rehearses one training of each candidate; returns the last network."""
    found = candidates(search, run)
    run.note(_told(search, _summary(search, found), [Trained(one) for one in found.finalists]))
    for one in found.finalists:
        network = _leg(search, one, "off").make_until(run.at_size(one.size))
    return network
