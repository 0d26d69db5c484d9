"""What a search has found: its candidates, their scores, and whether the finished file keeps the budget."""

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

# What a search has found out so far, in the run's directory, and where its networks lie.
FOUND, NETWORKS = "search.json", "search"


class BudgetNotKept(ValueError):
    """A search has ended, and its best network does not keep what was asked for."""


@dataclasses.dataclass
class Trained:
    """A candidate that was trained.

    Args:
        candidate: The network and its costs.
        scores: Its mean IoU on the held-out images, by the epochs done.
        failed: Why it could not be trained on; empty if it could.
    """

    candidate: Candidate
    scores: dict[int, float] = dataclasses.field(default_factory=dict)
    failed: str = ""

    @property
    def score(self) -> float | None:
        """The last score; None if there is none."""
        return self.scores[max(self.scores)] if self.scores else None

    def to_json(self) -> dict:
        return {
            "network": self.candidate.network,
            "size": list(self.candidate.size),
            "rank": list(self.candidate.rank),
            "costs": dict(self.candidate.costs),
            "file": f"{NETWORKS}/{self.candidate.key}.keras",
            "scores": {str(epoch): score for epoch, score in self.scores.items()},
            "failed": self.failed,
        }

    @classmethod
    def from_json(cls, row: Mapping) -> "Trained":
        candidate = Candidate(
            row["network"], tuple(row["size"]), tuple(row["rank"]), row["costs"], counted=True
        )
        scores = {int(epoch): score for epoch, score in row["scores"].items()}
        return cls(candidate, scores, row["failed"])


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search has found.

    Args:
        directory: The run's directory, which holds the networks.
        trained: Every candidate that was trained, the cheapest first.
        chosen: The one that was trained to the end.
        why: Why it was chosen, in a sentence.
        within_drop: Whether it keeps the points of mean IoU that it may lose; None if none were given.
    """

    directory: Path
    trained: tuple[Trained, ...]
    chosen: Trained
    why: str
    within_drop: bool | None = None

    @property
    def front(self) -> tuple[Trained, ...]:
        """The chosen network, and those of the others that none of them beats in both cost and score."""
        beaten = {id(one) for one in self.trained if any(_beats(other, one) for other in self.trained)}
        return tuple(
            one
            for one in self.trained
            if one is self.chosen or (id(one) not in beaten and one.score is not None)
        )

    def load(self, trained: Trained) -> keras.Model:
        """A candidate's network, trained as far as it got."""
        return models.load(self.directory / NETWORKS / f"{trained.candidate.key}.keras")


def read_found(directory: str | os.PathLike) -> SearchResult:
    """What the search in a run's directory has found.

    Raises:
        FileNotFoundError: if there was none, or it has not ended.
    """
    path = Path(directory) / FOUND
    content = read_json(path) if path.is_file() else {}
    if "chosen" not in content:
        raise FileNotFoundError(f"No finished search in {str(directory)!r}. Expected its {FOUND}.")
    trained = [Trained.from_json(row) for row in content["trained"]]
    chosen = next(one for one in trained if str(one.candidate) == content["chosen"])
    return SearchResult(
        Path(directory), tuple(trained), chosen, content["why"], content.get("drop", {}).get("kept")
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
    """Counts the finished file, and measures what it lost; returns all that the search has found.

    Args:
        budget: What the file may cost.
        max_drop: How many points of mean IoU below the teacher it may be; None asks for nothing.
        run: Its run, all of whose stages are done.
        rows: What these reported, the exported file last.
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


def missed(content: Mapping) -> str | None:
    """Which promise a finished search did not keep; None if it kept all."""
    file, drop = content.get("file", {}), content.get("drop", {})
    if file.get("exceeded"):
        pairs = (
            f"{short(file['costs'][kind])} of {short(content['limits'][kind])} {KINDS[kind]}"
            for kind in file["exceeded"]
        )
        return (
            f"{file['name']} costs more than the budget {content['budget']}: {', '.join(pairs)}. Expected "
            f"what its untrained file took; what came after the search made it dearer, such as layers that "
            f"stay in float. Use `Quantize`, or a smaller `budget`. The network is kept."
        )
    if drop and not drop["kept"]:
        return (
            f"No candidate keeps {drop['most']:g} points of mean IoU: the best, {content['chosen']}, is "
            f"{drop['points']:.2f} points below the teacher on {drop['images']} held-out images. It is kept, "
            f"as {drop['of']}. Raise the `budget` or `max_drop`, or train longer."
        )
    return None


def _float_teacher(run: Run) -> Path | Predictor:
    if run.pretrained is None:
        return run.find(Teacher.artefact)
    size = run.pretrained.size or run.teacher_size
    return Predictor(run.pretrained.load(run.held_out.info, run.teacher_size, run.teacher_weights()), size)
