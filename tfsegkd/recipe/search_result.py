"""Results of a search: its candidates, their scores, and whether the finished file is within the budget."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.atomic import read_json, write_json
from tfsegkd.evaluation import Predictor, evaluate
from tfsegkd.recipe.budget import KINDS, Budget, short
from tfsegkd.recipe.candidates import Candidate
from tfsegkd.recipe.network_costs import count_file
from tfsegkd.recipe.stages import Distill, Run, Teacher

# The search log in the run's directory, and the directory of its networks.
FOUND, NETWORKS = "search.json", "search"


class BudgetNotKept(ValueError):
    """The best network of a search violates the budget or the allowed drop.

    Example:
        # try:
        #     steps.run("saved_models/mine", frames)
        # except recipe.BudgetNotKept as error:
        #     print(error)
    """


@dataclasses.dataclass
class Trained:
    """A trained candidate.

    Args:
        candidate: The network and its costs.
        scores: Its mean IoU on the held-out images, by the epochs done.
        failed: Why its training failed; empty if it did not.
        over_budget: The costs of its finished file, if they are over the budget; empty otherwise.
    """

    candidate: Candidate
    scores: dict[int, float] = dataclasses.field(default_factory=dict)
    failed: str = ""
    over_budget: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def score(self) -> float | None:
        """The last score; None if there is none."""
        return self.scores[max(self.scores)] if self.scores else None

    @property
    def may_be_chosen(self) -> bool:
        """Whether its training has not failed, and its finished file is not known to be over the budget."""
        return not (self.failed or self.over_budget)

    def to_json(self) -> dict:
        return {
            "network": self.candidate.network,
            "size": list(self.candidate.size),
            "rank": list(self.candidate.rank),
            "costs": dict(self.candidate.costs),
            "file": f"{NETWORKS}/{self.candidate.key}.keras",
            "scores": {str(epoch): score for epoch, score in self.scores.items()},
            "failed": self.failed,
            "over_budget": dict(self.over_budget),
        }

    @classmethod
    def from_json(cls, row: Mapping) -> "Trained":
        candidate = Candidate(
            row["network"], tuple(row["size"]), tuple(row["rank"]), costs=row["costs"], counted=True
        )
        scores = {int(epoch): score for epoch, score in row["scores"].items()}
        return cls(candidate, scores, row["failed"], row.get("over_budget", {}))


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Args:
        directory: The run's directory, which holds the networks.
        trained: All trained candidates, the cheapest first.
        chosen: The one that was trained to the end.
        why: Why it was chosen, in a sentence.
        within_drop: Whether it keeps the points of mean IoU that it may lose; None if none were given.

    Example:
        # result.chosen, result.why, of the run in result.directory
    """

    directory: Path
    trained: tuple[Trained, ...]
    chosen: Trained
    why: str
    within_drop: bool | None = None

    @property
    def front(self) -> tuple[Trained, ...]:
        """The chosen network, and those of the others that are on the Pareto front of cost and score."""
        within = [one for one in self.trained if not one.over_budget]
        beaten = {id(one) for one in within if any(_beats(other, one) for other in within)}
        return tuple(
            one for one in within if one is self.chosen or (id(one) not in beaten and one.score is not None)
        )

    def load(self, trained: Trained) -> keras.Model:
        """A candidate's network, as far as it was trained."""
        return models.load(self.directory / NETWORKS / f"{trained.candidate.key}.keras")


def read_found(directory: str | os.PathLike) -> SearchResult:
    """Reads the result of the search in a run's directory.

    Raises:
        FileNotFoundError: if there is no finished search.
    """
    path = Path(directory) / FOUND
    content = read_json(path) if path.is_file() else {}
    if "chosen" not in content:
        raise FileNotFoundError(f"No finished search in {str(directory)!r}. Expected its {FOUND}.")
    trained = [Trained.from_json(row) for row in content["trained"]]
    chosen = next(one for one in trained if str(one.candidate) == content["chosen"])
    return SearchResult(
        Path(directory),
        tuple(trained),
        chosen,
        why=content["why"],
        within_drop=content.get("drop", {}).get("kept"),
    )


def _beats(one: Trained, other: Trained) -> bool:
    if one.score is None or other.score is None:
        return False
    epochs = min(max(one.scores), max(other.scores))
    scores = one.scores.get(epochs, one.score), other.scores.get(epochs, other.score)
    costs = [(one.candidate.costs[kind], cost) for kind, cost in other.candidate.costs.items()]
    no_worse = scores[0] >= scores[1] and all(mine <= its for mine, its in costs)
    return no_worse and (scores[0] > scores[1] or any(mine < its for mine, its in costs))


def finish(budget: Budget, max_drop: float | None, run: Run, rows: Sequence[Mapping]) -> dict:
    """Counts the finished file's costs and measures its drop; returns the complete search log.

    Args:
        budget: The limits for the file.
        max_drop: How many points of mean IoU below the teacher it may be; None for no limit.
        run: The run, with all stages done.
        rows: Their reports, the exported file last.
    """
    path = run.directory / FOUND
    content, final = read_json(path), rows[-1]
    student = next(row for row in rows if row["name"] == Distill.name)
    content["finished"] = {"mean_iou": student["mean_iou"], "images": len(run.data.val)}
    if final["name"] == "int8":
        counts = count_file(run.directory / final["file"], budget.kinds)
        counts = {"macs": float(final["macs"]), **counts}
        counted = [limit for limit in budget.limits if limit.kind in counts]
        content["file"] = {
            "name": final["file"],
            "costs": {limit.kind: counts[limit.kind] for limit in counted},
            "exceeded": [limit.kind for limit in counted if counts[limit.kind] > limit.most],
        }
    if max_drop is not None:
        scores = [
            evaluate(network, run.held_out).mean_iou
            for network in (_float_teacher(run), run.directory / final["file"])
        ]
        drop = 100 * (scores[0] - scores[1])
        content["drop"] = {
            "points": drop,
            "most": max_drop,
            "kept": drop <= max_drop,
            "images": len(run.held_out),
            "of": final["file"],
        }
    write_json(path, content)
    return content


def another_is_due(content: Mapping) -> bool:
    """Whether the finished file is over the budget of a search, and another candidate is left to try."""
    return _is_over(content) and any(
        one.may_be_chosen and str(one.candidate) != content["chosen"]
        for one in map(Trained.from_json, content["trained"])
    )


def set_aside(content: Mapping) -> dict:
    """The search log without its chosen candidate, whose finished file is over the budget."""
    trained = list(map(Trained.from_json, content["trained"]))
    for one in trained:
        if str(one.candidate) == content["chosen"]:
            one.over_budget = {**one.candidate.costs, **content["file"]["costs"]}
    finished = ("chosen", "why", "file", "finished", "drop")
    rest = {key: value for key, value in content.items() if key not in finished}
    return {**rest, "trained": [one.to_json() for one in trained]}


def missed(content: Mapping) -> str | None:
    """What a finished search violates; None if nothing."""
    drop = content.get("drop", {})
    if _is_over(content):
        files = {
            str(one.candidate): one.over_budget
            for one in map(Trained.from_json, content["trained"])
            if one.over_budget
        }
        files[content["chosen"]] = content["file"]["costs"]
        costly = "; ".join(f"{candidate}, {_exceeded(content, costs)}" for candidate, costs in files.items())
        return (
            f"No candidate's finished file is within the budget {content['budget']}: {costly}. Their "
            f"untrained files are; a later stage raised the costs, for example by layers that stay in "
            f"float. Use `Quantize`, or a smaller `budget`. {content['file']['name']} of "
            f"{content['chosen']} is kept."
        )
    if drop and not drop["kept"]:
        return (
            f"No candidate is within {drop['most']:g} points of mean IoU of the teacher: the best, "
            f"{content['chosen']}, is {drop['points']:.2f} points below it on {drop['images']} held-out "
            f"images. It is kept, as {drop['of']}. Raise the `budget` or `max_drop`, or train longer."
        )
    return None


def _is_over(content: Mapping) -> bool:
    return bool(content.get("file", {}).get("exceeded"))


def _exceeded(content: Mapping, costs: Mapping[str, float]) -> str:
    """The costs over their limits, such as '1.5k of 1k bytes of the int8 file'."""
    limits = content["limits"]
    over = [kind for kind, cost in costs.items() if cost > limits[kind]]
    return ", ".join(f"{short(costs[kind])} of {short(limits[kind])} {KINDS[kind]}" for kind in over)


def _float_teacher(run: Run) -> Path | Predictor:
    if run.pretrained is None:
        return run.find(Teacher.artefact)
    teacher = run.pretrained.load(run.held_out.info, run.teacher_size, run.teacher_weights())
    return Predictor(teacher, run.pretrained.size or teacher.size_for(run.held_out, run.teacher_size))
