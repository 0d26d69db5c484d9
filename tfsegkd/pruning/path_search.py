"""The search for the path of cost-complexity pruning; it can be interrupted."""

import dataclasses
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tfsegkd.atomic import write_json
from tfsegkd.graph import ChannelGraph
from tfsegkd.progress_bar import waited
from tfsegkd.pruning import importance
from tfsegkd.pruning.ablation import Ablation, mean_iou_and_error
from tfsegkd.pruning.batches import Batches
from tfsegkd.pruning.selection import step_of


@dataclasses.dataclass(frozen=True)
class Removal:
    """What went in one step.

    Args:
        units: The units that went.
        rise: By how much the loss rose, as `change` measures it.
        saving: The share of the dense network's cost that was saved.
        alpha: The weight of the cost from which on the step is worth it.
    """

    units: tuple[int, ...]
    rise: float
    saving: float
    alpha: float


@dataclasses.dataclass(frozen=True)
class Point:
    """One network of a path.

    Args:
        index: Its place; 0 is the dense network.
        alpha: The weight of the cost from which on it is the best of the path.
        removals: How many steps lead to it.
        cost: The share of the dense network's cost that is left.
        macs, parameters: What it costs.
        loss: On the images that guided the removal.
        mean_iou: On the held-out ones, 0…1.
        standard_error: Of `mean_iou`.

    Example:
        network = models.load("teacher.keras")
        path = pruning.cost_complexity_path(network, batches, least=0.6, directory="path")
        [point.macs for point in path.points]
    """

    index: int
    alpha: float
    removals: int
    cost: float
    macs: int
    parameters: int
    loss: float
    mean_iou: float
    standard_error: float


class PathSearch:
    """Removes channels step by step and keeps what it found on disk.

    Args:
        channels: The network's channels.
        batches: (images, masks) that guide the removal.
        held_out: Those that the networks are compared on.
        measure: Set of units → the share of the cost that is left.
        settings: What distinguishes searches, as JSON; see `cost_complexity_path`.
        file: Where to keep the state, if anywhere.

    Attributes:
        removals: The steps so far.
        points: The networks that are compared so far.

    Raises:
        ValueError: if the file is damaged or holds a search with other settings.
    """

    def __init__(
        self,
        channels: ChannelGraph,
        batches: Batches,
        held_out: Batches,
        measure: Callable[[np.ndarray], float],
        settings: dict[str, Any],
        file: Path | None,
    ):
        self._channels, self._batches, self._held_out = channels, batches, held_out
        self._measure, self._settings, self._file = measure, settings, file
        self._steps = {group.name: step_of(group, settings["round_to"]) for group in channels.prunable}
        self.removals: list[Removal] = []
        self.points: list[Point] = []
        self._done_to = None  # the share of the cost down to which the search has gone
        if file and file.exists():
            self._load()

    def run(self, least: float) -> None:
        """Goes on until `least` of the cost is left, or nothing can go."""
        if self._done_to is not None and self._done_to <= least:
            return
        if self.points and self.points[-1].removals == len(self.removals):
            self.points.pop()  # it was the end, and may grow
        self._ablation = Ablation(self._channels, self._batches)
        self._norms = None
        if self._settings["change"] == "l1":
            self._norms = importance.score("l1", self._channels, None, 0)
        keep = without(self._channels, self.removals)
        with waited("removing channels") as say:
            while self._step(keep, least):
                keep = without(self._channels, self.removals)
                say(f"{100 * self._measure(keep):.0f} % of the cost left")
        self._done_to = least
        self._save()

    def _step(self, keep, least: float) -> bool:
        """Removes once more; returns whether that was possible."""
        if not keep.all():
            self._ablation.recalibrate(keep)
        removal = self._next(keep) if self._measure(keep) > least else None
        if removal is None or not self.removals or removal.alpha > self.removals[-1].alpha:
            self._close(keep)
        if removal is None:
            return False
        self.removals.append(removal)
        self._save()
        return True

    def _next(self, keep) -> Removal | None:
        """The step with the least rise of the loss for what it saves."""
        scores = self._ablation.taylor(keep) if self._norms is None else self._norms
        links = []
        for units in self._weakest(keep, scores):
            saving = self._saving(keep, units)
            if saving > 0:
                links.append((scores[units].sum() / saving, units))
        links.sort(key=lambda link: link[0])
        if self._settings["change"] == "ablation":
            before = self._ablation.loss(keep)
            tried = [units for _, units in links[: self._settings["shortlist"]]]
            rises = [self._ablation.loss(_off(keep, units)) - before for units in tried]
            ratios = [rise / self._saving(keep, units) for rise, units in zip(rises, tried, strict=True)]
            links = sorted(zip(ratios, tried, strict=True), key=lambda link: link[0])
        if not links:
            return None
        going = links[0][1]
        # What is worse than the middle of the field waits for the next measurement.
        for _, units in links[1 : (len(links) + 1) // 2]:
            if self._saving(keep, going) >= self._settings["step"]:
                break
            going = np.concatenate([going, units])
        if self._settings["change"] == "ablation":
            rise = self._ablation.loss(_off(keep, going)) - before
        else:
            rise = float(scores[going].sum())
        saving = self._saving(keep, going)
        alpha = max(rise / saving, self.removals[-1].alpha if self.removals else 0.0)
        return Removal(tuple(going.tolist()), rise, saving, alpha=alpha)

    def _weakest(self, keep, scores):
        """Of each group the units that would go next."""
        for group in self._channels.prunable:
            left, step = group.units[keep[group.units]], self._steps[group.name]
            if len(left) > step:
                count = (len(left) - 1) % step + 1  # what is left is a multiple of the step
                yield left[np.argsort(scores[left], kind="stable")[:count]]

    def _saving(self, keep, units) -> float:
        return self._measure(keep) - self._measure(_off(keep, units))

    def _close(self, keep) -> None:
        """Notes the network with `keep` as a point of the path."""
        score, error = mean_iou_and_error(self._ablation.confusions(keep, self._held_out), seed=0)
        left = self._channels.counts(keep)
        self.points.append(
            Point(
                index=len(self.points),
                alpha=self.removals[-1].alpha if self.removals else 0.0,
                removals=len(self.removals),
                cost=self._measure(keep),
                macs=left.macs,
                parameters=left.parameters,
                loss=self._ablation.loss(keep),
                mean_iou=score,
                standard_error=error,
            )
        )

    def _save(self) -> None:
        if self._file:
            content = {"settings": self._settings, "done_to": self._done_to}
            for name in ("removals", "points"):
                content[name] = [dataclasses.asdict(item) for item in getattr(self, name)]
            write_json(self._file, content)

    def _load(self) -> None:
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
            before = content["settings"]
            removals = [Removal(**{**row, "units": tuple(row["units"])}) for row in content["removals"]]
            points = [Point(**row) for row in content["points"]]
            done_to = content["done_to"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{str(self._file)!r} is damaged. Expected the state of a search. Delete it to begin again."
            ) from None
        changed = sorted(key for key in self._settings if before.get(key) != self._settings[key])
        if changed:
            raise ValueError(
                f"{str(self._file)!r} holds a path with another {', '.join(changed)}. Choose another "
                f"directory, or delete the file to begin again."
            )
        self.removals, self.points, self._done_to = removals, points, done_to


def without(channels: ChannelGraph, removals: Iterable[Removal]) -> np.ndarray:
    """The units that are left after some steps."""
    keep = channels.all()
    for removal in removals:
        keep[list(removal.units)] = False
    return keep


def _off(keep, units):
    fewer = keep.copy()
    fewer[units] = False
    return fewer
