"""Cost-complexity pruning: the trade-off between cost and quality of a network, from one run."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.graph import ChannelGraph, cost, rebuild
from tfsegkd.pruning.batches import known_labels, mixed, read_batches
from tfsegkd.pruning.channels import check_float, check_prunable, check_reachable, check_round_to
from tfsegkd.pruning.cost_complexity_plot import draw
from tfsegkd.pruning.path_search import PathSearch, Point, Removal, without
from tfsegkd.pruning.recalibration import recalibrate
from tfsegkd.pruning.report import PruningReport
from tfsegkd.pruning.targets import COSTS, cost_measure, parse_target

# The name of this method where an importance is expected.
COST_COMPLEXITY = "cost_complexity"
CHANGES = ("ablation", "taylor", "l1")
_FILE = "path.json"


def cost_complexity_path(
    model: keras.Model,
    data: Iterable,
    cost: str = "macs",
    change: str = "ablation",
    *,
    held_out: Iterable | None = None,
    round_to: int = 8,
    step: float = 0.02,
    least: float = 0.1,
    shortlist: int = 4,
    latency_table: str | os.PathLike | None = None,
    directory: str | os.PathLike | None = None,
) -> "CostComplexityPath":
    """Finds a nested sequence of ever cheaper networks, each a choice between cost and quality.

    From CART's weakest links: the channels go whose loss for what they cost is least, again and again. The
    sequence is greedy. CART's is optimal because there the loss adds up over the leaves; a network's does not
    over its channels, so that of all networks of a cost the path need not hold the best.

    Args:
        model: A functional float network with a fixed input size.
        data: Batches of (images, masks) in the order of the sequence, the first 32 of which are used. Labels
            outside the classes of the network are void.
        cost: 'macs', 'params', or 'latency' by `latency_table`.
        change: How the change of the loss is measured: 'ablation' switches channels off, for the
            `shortlist` that Taylor's first term ranks first; 'taylor' is that term; 'l1' the filters' norms,
            relative to the others of their group.
        held_out: Batches to compare the networks on; the last third of `data` unless given. A batch counts
            as one sample, because neighbouring images are alike.
        round_to: Every layer keeps a multiple of it, or all it has.
        step: The share of the dense network's cost that goes between two measurements, if one group of
            channels does not hold as much. 0 is the plain method, and slow.
        least: The share of the cost at which the path ends.
        shortlist: How many groups of channels are tried by ablation before each removal.
        latency_table: As of `prune_channels`.
        directory: Where to write the state of the search. Called again after an interruption, it resumes;
            called again when it is done, it returns the path at once; with a lower `least` it continues from
            the old end.

    Returns:
        The path, of which any point can be exported. BatchNorm's statistics are measured again at every point
        but the first; nothing is trained.

    Raises:
        TypeError: if `model` is not functional.
        ValueError: for a network that cannot be pruned; data that are missing, too few or of one class only;
            a directory that holds another path.

    Example:
        network = models.load("teacher.keras")
        path = pruning.cost_complexity_path(network, batches, least=0.6, directory="path")
        pruned, report = path.prune("macs:0.7")

    Reference:
        Breiman et al., 1984, Classification and Regression Trees, chapters 3 and 10, for the path and the
        one-standard-error rule. Liu 2021 transferred it to SegNet.
        Reconstruction: J(S) = L(S) + α·C(S)/C(all) over sets S of channels; each step removes those with
        the least g = ΔL/ΔC, where ΔC counts all layers that shrink along, and α is the greatest g so far.
        Removals with g ≤ α join the point before. Groups of channels go `round_to` at a time, the weakest
        first, by the same score.
    """
    checks.one_of(cost, COSTS, "cost")
    checks.one_of(change, CHANGES, "change")
    checks.in_range(step, 0, 1, what="step")
    checks.in_range(least, 0, 1, what="least")
    checks.in_range(shortlist, 1, 10**6, what="shortlist")
    check_round_to(round_to)
    check_float(model)
    channels = ChannelGraph(model)
    check_prunable(channels)
    batches = known_labels(read_batches(data), channels.model.output_shape, "A cost-complexity path")
    if held_out is None:
        split = len(batches) - max(2, len(batches) // 3)
        batches, held_out = batches[: max(split, 0)], batches[max(split, 0) :]
    else:
        held_out = known_labels(read_batches(held_out), channels.model.output_shape, "held_out")
    if not batches or len(held_out) < 2:
        raise ValueError(
            f"A cost-complexity path needs a batch to measure on and two held out, whose spread shows what "
            f"a difference is worth. Received: {len(batches)} and {len(held_out)}. Pass more batches, or "
            f"smaller ones."
        )
    batches = mixed(batches)
    measure = cost_measure(channels, cost, latency_table)
    settings = {
        "cost": cost,
        "change": change,
        "round_to": round_to,
        "step": step,
        "shortlist": shortlist,
        "latency_table": latency_table and _sha256(Path(latency_table).read_bytes()),
        "network": _sha256(*channels.model.get_weights()),
        "data": _sha256(*(array for batch in [*batches, *held_out] for array in batch)),
    }
    search = PathSearch(
        channels,
        batches,
        held_out,
        measure=measure,
        settings=settings,
        file=directory and Path(directory, _FILE),
    )
    search.run(least)
    images = [images for images, _ in batches]
    return CostComplexityPath(
        channels, measure, settings, removals=search.removals, points=search.points, images=images
    )


class CostComplexityPath:
    """A nested sequence of networks, from the dense one to the cheapest.

    Made by `cost_complexity_path`.

    Attributes:
        points: The networks worth a look, from the dense one on.
        removals: All steps; those between two points are worth it at no weight of the cost.

    Example:
        network = models.load("teacher.keras")
        path = pruning.cost_complexity_path(network, batches, least=0.6, directory="path")
        print(path.table())
    """

    def __init__(self, channels, measure, settings, removals, points, images):
        self._channels, self._measure, self._settings = channels, measure, settings
        self._images = images
        self.removals: tuple[Removal, ...] = tuple(removals)
        self.points: tuple[Point, ...] = tuple(points)

    def model(self, index: int) -> keras.Model:
        """The network of a point, BatchNorm's statistics measured again.

        Raises:
            ValueError: if there is no such point.
        """
        return self._build(self._point(index).removals)[0]

    def choose(self) -> int:
        """The cheapest point whose held-out mean IoU is within one standard error of the best one's."""
        best = max(self.points, key=lambda point: point.mean_iou)
        limit = best.mean_iou - best.standard_error
        return min((point for point in self.points if point.mean_iou >= limit), key=lambda p: p.cost).index

    def prune(self, target: str | None = None, point: int | None = None) -> tuple[keras.Model, PruningReport]:
        """The first network of the path that is as cheap as you ask, or a point of it, and what was done.

        Args:
            target: As of `prune_channels`; it need not fall on a point. Without it, `point` counts.
            point: An index; the one that `choose` names unless given.

        Raises:
            ValueError: if there is no such point, or the path ends before it gets to the target.
        """
        if target is None:
            found = self._point(self.choose() if point is None else point)
            count, target = found.removals, f"{self._settings['cost']}:{found.cost:.4g}"
        else:
            kind, fraction = parse_target(target)
            same = kind == self._settings["cost"]
            measure = self._measure if same else cost_measure(self._channels, kind)
            shares = [measure(self._kept(count)) for count in range(len(self.removals) + 1)]
            check_reachable(self._channels, min(shares), target, round_to=self._settings["round_to"])
            count = next(count for count, share in enumerate(shares) if share <= fraction)
        model, recalibrated = self._build(count)
        keep = self._kept(count)
        return model, PruningReport(
            changed=count > 0,
            target=target,
            importance=f"{COST_COMPLEXITY} ({self._settings['change']})",
            scope="global",
            round_to=self._settings["round_to"],
            seed=0,
            before=cost(self._channels.model),
            after=cost(model),
            kept=self._channels.kept(keep),
            frozen={group.name: group.frozen for group in self._channels.groups if group.frozen},
            recalibrated=recalibrated,
        )

    def table(self) -> str:
        """The points as a Markdown table, the chosen one in bold."""
        name, chosen = COSTS[self._settings["cost"]], self.choose()
        head = (
            f"| point | α | {name} left | MACs | parameters | loss | held-out mean IoU % | standard error |"
        )
        lines = [head, "|" + " --- |" * 8]
        for point in self.points:
            mark = "**" if point.index == chosen else ""
            lines.append(
                f"| {mark}{point.index}{mark} | {point.alpha:.3g} | {point.cost:.1%} | {point.macs:,} | "
                f"{point.parameters:,} | {point.loss:.4f} | {100 * point.mean_iou:.2f} | "
                f"{100 * point.standard_error:.2f} |"
            )
        return "\n".join(lines) + "\n"

    def plot(self, path: str | os.PathLike) -> None:
        """Draws held-out mean IoU over cost as PNG, the chosen point marked.

        Raises:
            ImportError: if matplotlib is not installed.
        """
        draw(Path(path), self.points, self.choose(), COSTS[self._settings["cost"]])

    def _point(self, index) -> Point:
        if isinstance(index, bool) or not 0 <= index < len(self.points):
            raise ValueError(f"Point {index!r} is not on the path. Expected 0…{len(self.points) - 1}.")
        return self.points[index]

    def _kept(self, count):
        return without(self._channels, self.removals[:count])

    def _build(self, count):
        if not count:
            return rebuild(self._channels.graph), 0
        model = self._channels.rebuild(self._channels.edits(self._kept(count)))
        return model, recalibrate(model, self._images)


def _sha256(*parts) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
