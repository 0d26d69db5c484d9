"""Channels taken out of a network, which is smaller and faster for it."""

import itertools
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.graph import ChannelGraph, cost, read, rebuild
from tfsegkd.pruning import importance as importances
from tfsegkd.pruning.compensation import compensated
from tfsegkd.pruning.recalibration import recalibrate as recalibrate_norms
from tfsegkd.pruning.report import PruningReport
from tfsegkd.pruning.selection import SCOPES, Selection
from tfsegkd.runtime import convert, is_quantization_aware, latency

COSTS = ("macs", "params", "latency")
# As many batches of data are used: a hundred images or so tell enough, and an endless data set ends here.
_MAX_BATCHES = 32
_LATENCY_TRIALS = 6
_LATENCY_TOLERANCE = 0.03


def prune_channels(
    model: keras.Model,
    target: str = "macs:0.5",
    importance: str = "taylor",
    scope: str = "global",
    round_to: int = 8,
    data: Iterable | None = None,
    compensate: bool = True,
    recalibrate: bool = True,
    seed: int = 0,
) -> tuple[keras.Model, PruningReport]:
    """Removes the least important channels of a network until it is as cheap as you ask.

    The new network has fewer filters and nothing else that is new: the same layers with the same names, a
    plain Keras model that trains, quantizes and exports as before. Channels that are added, gated or tied
    together otherwise go together. `model` stays as it is. Train the new one to win back what it lost.

    Args:
        model: A functional float network with a fixed input size. Models inside it are opened.
        target: What to *keep*: 'macs:0.5' half of the multiply-accumulates, 'params:0.5' half of the
            parameters, 'latency:0.5' half of the time that the `.tflite` takes on this machine on one thread,
            int8 if there is data to find its ranges, else float. 1 keeps everything.
        importance: One of 'l1', 'l2', 'bn_scale', 'fpgm', 'taylor', 'hessian', 'lamp',
            'class_balanced_taylor', 'random'; see `tfsegkd.pruning.importance.score`.
        scope: Which channels compete: 'local', those of one layer, so that all layers lose the same share;
            'global', all; 'isomorphic', those of all layers of the same kind.
        round_to: Every layer keeps a multiple of it, or all it has. Backends like 8 or 16.
        data: Batches of (images, masks), the first 32 of which are used. 'taylor', 'hessian' and
            'class_balanced_taylor' need them. Images alone do for the rest. Labels outside the classes of the
            network are void.
        compensate: Whether the mean of what is removed goes into the next biases. With data it is measured,
            otherwise derived from the BatchNorms.
        recalibrate: Whether BatchNorm's statistics are measured anew, on data if there are any.
        seed: For 'random' and 'hessian'.

    Returns:
        The new network, and what was done. `report.kept` names the output channels each layer keeps.

    Raises:
        TypeError: if `model` is not functional.
        ValueError: for a quantization-aware network; one without channels to remove; a target that cannot be
            met, with how far it got and why; data that are missing or say nothing.

    Reference:
        Fang et al., CVPR 2023, https://arxiv.org/abs/2301.12900, for groups of coupled channels.
        Fang et al., ECCV 2024, https://arxiv.org/abs/2407.04616, for 'isomorphic'.
    """
    kind, fraction = _parse(target)
    checks.one_of(importance, importances.IMPORTANCES, "importance")
    checks.one_of(scope, SCOPES, "scope")
    if isinstance(round_to, bool) or not isinstance(round_to, int) or round_to < 1:
        raise ValueError(f"round_to must be a whole number from 1 up. Received: {round_to!r}.")
    graph = read(model)
    if is_quantization_aware(model):
        raise ValueError(
            f"Model {model.name!r} is quantization-aware, and its ranges belong to the channels it has. "
            f"Prune the float network first, then quantize."
        )
    settings = {
        "target": target,
        "importance": importance,
        "scope": scope,
        "round_to": round_to,
        "seed": seed,
    }
    if fraction == 1.0:
        twin = rebuild(graph)
        channels = ChannelGraph(twin)
        same, kept = cost(twin), channels.kept(channels.all())
        return twin, PruningReport(False, **settings, before=same, after=same, kept=kept)
    batches = _batches(data)
    images = [images for images, _ in batches] if batches else None
    channels = ChannelGraph(model)
    _check_prunable(channels)
    scores = importances.score(importance, channels, batches, seed)
    selection = Selection(channels, scores, scope, round_to)
    _check_reachable(channels, selection, kind, fraction, target, round_to)

    def build(keep):
        return channels.rebuild(channels.edits(keep))

    times = None
    if kind == "latency":
        keep, times = _reach_latency(channels, selection, fraction, build, images)
    else:
        keep = selection.reach(_measure(channels, kind), fraction)
    edits = channels.edits(keep)
    if compensate:
        edits = compensated(channels, keep, edits, images)
    pruned = channels.rebuild(edits)
    return pruned, PruningReport(
        True,
        **settings,
        before=cost(channels.model),
        after=cost(pruned),
        kept=channels.kept(keep),
        frozen={group.name: group.frozen for group in channels.groups if group.frozen},
        compensated=compensate,
        recalibrated=recalibrate_norms(pruned, images) if recalibrate and images else 0,
        latency_ms=times,
    )


def _parse(target: str) -> tuple[str, float]:
    kind, _, fraction = target.partition(":") if isinstance(target, str) else ("", "", "")
    try:
        fraction = float(fraction)
    except ValueError:
        fraction = -1.0
    if kind not in COSTS or not 0 < fraction <= 1:
        raise ValueError(
            f"target must be one of {[f'{cost}:fraction' for cost in COSTS]} with a fraction to keep above 0 "
            f"and up to 1. Received: {target!r}. Half of the MACs is 'macs:0.5'."
        )
    return kind, fraction


def _batches(data) -> list[tuple[np.ndarray, np.ndarray | None]] | None:
    if data is None:
        return None
    found = []
    for batch in itertools.islice(data, _MAX_BATCHES):
        images, masks = batch[:2] if isinstance(batch, tuple | list) else (batch, None)
        found.append((np.asarray(images), None if masks is None else np.asarray(masks)))
    if not found:
        raise ValueError(
            "data is empty. Expected batches of (images, masks). Pass a list or a dataset; a generator "
            "serves only once."
        )
    return found


def _measure(channels: ChannelGraph, kind: str) -> Callable[[np.ndarray], float]:
    full = channels.counts(channels.all())

    def measure(keep):
        left = channels.counts(keep)
        return left.parameters / full.parameters if kind == "params" else left.macs / max(full.macs, 1)

    return measure


def _check_prunable(channels: ChannelGraph) -> None:
    if not channels.prunable:
        raise ValueError(
            f"Model {channels.graph.name!r} has no channel that could be removed: {_reasons(channels)}. "
            f"Expected a convolution whose channels other convolutions read."
        )


def _check_reachable(channels, selection, kind, fraction, target, round_to) -> None:
    if not selection.groups:
        raise ValueError(
            f"No group of channels of {channels.graph.name!r} can lose {round_to} at a time, or has scores. "
            f"Choose a smaller round_to or another importance. Received: round_to={round_to}."
        )
    if kind == "latency":
        return
    least = _measure(channels, kind)(selection.least())
    if least > fraction:
        raise ValueError(
            f"Target {target!r} is out of reach for {channels.graph.name!r}: with all removed that can go, "
            f"{least:.4g} of its {_words(kind)} are left. Every layer keeps at least {round_to} channels, "
            f"and these stay: {_reasons(channels)}. Ask for more than {least:.4g}, or choose a smaller "
            f"round_to."
        )


def _words(kind: str) -> str:
    return "parameters" if kind == "params" else "MACs"


def _reasons(channels: ChannelGraph) -> str:
    frozen = [f"{group.name!r} ({'; '.join(group.frozen)})" for group in channels.groups if group.frozen]
    single = [group.name for group in channels.groups if not group.frozen and not group.is_prunable]
    return ", ".join(frozen + [f"{name!r} (its channels go all or none)" for name in single]) or "none"


def _reach_latency(channels, selection, fraction, build, images):
    """Searches for the share of MACs that takes `fraction` of the dense network's time."""
    measure = _measure(channels, "macs")
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as directory:
        dense = Path(directory, "dense.tflite")
        dense.write_bytes(_file(channels.model, images))

        def time(keep):
            pruned = Path(directory, "pruned.tflite")
            pruned.write_bytes(_file(build(keep), images))
            found = latency({"dense": dense, "pruned": pruned})
            return found["dense"].median_ms, found["pruned"].median_ms

        low, high = measure(selection.least()), 1.0
        keep = selection.least()
        times = time(keep)
        if times[1] / times[0] > fraction * (1 + _LATENCY_TOLERANCE):
            raise ValueError(
                f"Target 'latency:{fraction:g}' is out of reach for {channels.graph.name!r}: with all "
                f"removed that can go, it takes {times[1]:.3g} ms, {times[1] / times[0]:.2f} of the dense "
                f"network's {times[0]:.3g} ms. These stay: {_reasons(channels)}. Ask for more, or choose a "
                f"smaller round_to."
            )
        for _ in range(_LATENCY_TRIALS):
            middle = (low + high) / 2
            trial = selection.reach(measure, middle)
            trial_times = time(trial)
            ratio = trial_times[1] / trial_times[0]
            if abs(ratio - fraction) < abs(times[1] / times[0] - fraction):
                keep, times = trial, trial_times
            if abs(ratio - fraction) <= _LATENCY_TOLERANCE * fraction:
                break
            low, high = (low, middle) if ratio > fraction else (middle, high)
    return keep, times


def _file(model: keras.Model, images) -> bytes:
    return convert(model, inputs="float32", outputs="float32", representative_data=images)
