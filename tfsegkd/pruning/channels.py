"""Channel pruning."""

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.graph import ChannelGraph, check_functional, cost, read, rebuild
from tfsegkd.pruning import importance as importances
from tfsegkd.pruning.arm_table import ArmTable, count_together
from tfsegkd.pruning.batches import mixed, read_batches
from tfsegkd.pruning.compensation import compensated
from tfsegkd.pruning.recalibration import recalibrate as recalibrate_norms
from tfsegkd.pruning.report import PruningReport
from tfsegkd.pruning.selection import SCOPES, Selection
from tfsegkd.pruning.targets import TARGETS, cost_measure, parse_target
from tfsegkd.runtime import arm, convert, is_quantization_aware, latency

_LATENCY_TRIALS = 6
_ARM_TRIALS = 3
_MOST_REASONS = 8  # of a message, which is to fit on a screen
_LATENCY_TOLERANCE = 0.03


def prune_channels(
    model: keras.Model,
    target: str = "macs:0.5",
    importance: str | Callable[[ChannelGraph], np.ndarray] = "taylor",
    scope: str = "global",
    round_to: int = 8,
    data: Iterable | None = None,
    compensate: bool = True,
    recalibrate: bool = True,
    seed: int = 0,
    latency_table: str | os.PathLike | None = None,
) -> tuple[keras.Model, PruningReport]:
    """Removes the least important channels of a network until it is as cheap as you ask.

    The new network has fewer filters and nothing else that is new: the same layers with the same names, a
    plain Keras model that trains, quantizes and exports as before. Channels that are added, gated or tied
    together otherwise go together. `model` stays as it is. Train the new one to win back what it lost.

    Args:
        model: A functional float network with a fixed input size. Models inside it are opened.
        target: What to *keep*: 'macs:0.5' half of the multiply-accumulates, 'params:0.5' half of the
            parameters, 'latency:0.5' half of the time that the `.tflite` takes on this machine on one thread,
            int8 if there is data to find its ranges, else float; or half of `latency_table`; 'arm:0.5' half
            of the instructions of that file on an Arm core, as of `tfsegkd.runtime.arm`. 1 keeps everything.
        importance: One of 'l1', 'l2', 'bn_scale', 'fpgm', 'taylor', 'hessian', 'lamp',
            'class_balanced_taylor', 'random', see `tfsegkd.pruning.importance.score`; or a function from
            a `tfsegkd.graph.ChannelGraph` to its (num_units,) scores, of which infinite ones stay.
        scope: Which channels compete: 'local', those of one layer, so that all layers lose the same share;
            'global', all; 'isomorphic', those of all layers of the same kind.
        round_to: Every layer keeps a multiple of it, or all it has. Backends like 8 or 16.
        data: Batches of (images, masks), the first 32 of which are used. 'taylor', 'hessian' and
            'class_balanced_taylor' need them. Images alone do for the rest. Labels outside the classes of the
            network are void.
        compensate: Whether the mean of what is removed goes into the next biases. With data it is measured,
            otherwise derived from the BatchNorms.
        recalibrate: Whether BatchNorm's statistics are measured again, on data if there are any.
        seed: For 'random' and 'hessian'.
        latency_table: A CSV with the columns layer and ms, what each layer of the dense network takes on your
            device. A latency target is then met by its account, and nothing is timed here.

    Returns:
        The new network, and what was done. `report.kept` names the output channels each layer keeps.

    Raises:
        TypeError: if `model` is not functional.
        ValueError: for a quantization-aware network; one without channels to remove; a target that cannot be
            met, with how far it got and why; data that are missing or of one class only; a latency table that
            is not of this network.

    Example:
        pruned, report = pruning.prune_channels(student, "macs:0.5", importance="l1")
        graph.cost(pruned).macs <= graph.cost(student).macs / 2  # True

    Reference:
        Fang et al., CVPR 2023, https://arxiv.org/abs/2301.12900, for groups of coupled channels.
        Fang et al., ECCV 2024, https://arxiv.org/abs/2407.04616, for 'isomorphic'.
    """
    kind, fraction = parse_target(target)
    if not callable(importance):
        checks.one_of(importance, importances.IMPORTANCES, "importance")
    checks.one_of(scope, SCOPES, "scope")
    check_round_to(round_to)
    check_functional(model, "prune_channels")
    graph = read(model)
    check_float(model)
    if kind == "arm" and fraction < 1:
        arm.check()
    settings = {
        "target": target,
        "importance": importance if isinstance(importance, str) else importance.__name__,
        "scope": scope,
        "round_to": round_to,
        "seed": seed,
    }
    if fraction == 1.0:
        twin = rebuild(graph)
        channels = ChannelGraph(twin)
        same, kept = cost(twin), channels.kept(channels.all())
        return twin, PruningReport(False, **settings, before=same, after=same, kept=kept)
    batches = read_batches(data)
    batches = mixed(batches) if batches else None
    images = [images for images, _ in batches] if batches else None
    channels = ChannelGraph(model)
    check_prunable(channels)
    timed = kind == "latency" and latency_table is None
    # What is timed is searched for by MACs.
    by_macs = timed or kind == "arm"
    measure = cost_measure(channels, "macs" if by_macs else kind, latency_table)
    scores = importances.score(importance, channels, batches, seed)
    selection = Selection(channels, scores, scope, round_to=round_to)
    _check_selection(channels, selection, round_to)
    times = instructions = None
    if kind == "arm":
        keep, instructions = _reach_arm(channels, selection, target, round_to=round_to, images=images)
    elif timed:
        keep, times = _reach_latency(channels, selection, measure, fraction=fraction, images=images)
    else:
        check_reachable(channels, measure(selection.least()), target, round_to=round_to)
        keep = selection.reach(measure, fraction)
    edits = channels.edits(keep)
    if compensate:
        edits = compensated(channels, keep, edits, images=images)
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
        arm_instructions=instructions,
    )


def check_round_to(round_to: int) -> None:
    """Raises ValueError for what no layer can keep a multiple of."""
    checks.whole(round_to, 1, "round_to")


def check_float(model: keras.Model) -> None:
    """Raises ValueError for a quantization-aware network."""
    if is_quantization_aware(model):
        raise ValueError(
            f"Model {model.name!r} is quantization-aware, and its ranges belong to the channels it has. "
            f"Prune the float network first, then quantize."
        )


def check_prunable(channels: ChannelGraph) -> None:
    """Raises ValueError for a network that cannot lose a channel, with the reasons."""
    if not channels.prunable:
        raise ValueError(
            f"Model {channels.graph.name!r} has no channel that could be removed: {_reasons(channels)}. "
            f"Expected a convolution whose channels other convolutions read."
        )


def check_reachable(channels: ChannelGraph, least: float, target: str, round_to: int) -> None:
    """Raises ValueError if a target asks for less than `least` of the cost, which is what must stay."""
    kind, fraction = parse_target(target)
    if least > fraction:
        raise ValueError(
            f"Target {target!r} is out of reach for {channels.graph.name!r}: with all removed that can go, "
            f"{least:.4g} of its {TARGETS[kind]} are left. Every layer keeps at least {round_to} channels, "
            f"and these stay: {_reasons(channels)}. Ask for more than {least:.4g}, or choose a smaller "
            f"round_to."
        )


def _check_selection(channels, selection, round_to) -> None:
    if not selection.groups:
        raise ValueError(
            f"No group of channels of {channels.graph.name!r} can lose {round_to} at a time, or has scores. "
            f"Choose a smaller round_to or another importance. Received: round_to={round_to}."
        )


def _reasons(channels: ChannelGraph) -> str:
    frozen = [f"{group.name!r} ({'; '.join(group.frozen)})" for group in channels.groups if group.frozen]
    single = [group.name for group in channels.groups if not group.frozen and not group.is_prunable]
    reasons = frozen + [f"{name!r} (its channels go all or none)" for name in single]
    rest = len(reasons) - _MOST_REASONS
    more = f", and {rest} more, which ChannelGraph(model).describe() lists" if rest > 0 else ""
    return (", ".join(reasons[:_MOST_REASONS]) or "none") + more


def _reach_latency(channels, selection, measure, fraction, images):
    """Searches for the share of MACs that takes `fraction` of the dense network's time."""
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as directory:
        dense = Path(directory, "dense.tflite")
        dense.write_bytes(_file(channels.model, images))

        def time(keep):
            pruned = Path(directory, "pruned.tflite")
            pruned.write_bytes(_file(channels.rebuild(channels.edits(keep)), images))
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


def _reach_arm(channels, selection, target, round_to, images):
    """Searches by a table of layers for what takes a share of the instructions; counts the files."""
    _, fraction = parse_target(target)
    table = ArmTable(
        channels, round_to, lambda model: _file(model, images), form="float" if images is None else "int8"
    )
    whole = table.instructions(channels.all())

    def measure(keep):
        return table.instructions(keep) / whole

    check_reachable(channels, measure(selection.least()), target, round_to=round_to)
    aim, best = fraction, None
    for _ in range(_ARM_TRIALS):
        keep = selection.reach(measure, max(aim, measure(selection.least())))
        files = [_file(model, images) for model in (channels.model, channels.rebuild(channels.edits(keep)))]
        dense, pruned = (one.instructions for one in count_together(files))
        ratio = pruned / dense
        if best is None or ratio <= fraction or ratio < best[1][1] / best[1][0]:
            best = keep, (dense, pruned)
        if ratio <= fraction:
            break
        # The table adds up ops that the file joins: ask for as much less as it was wrong, and a little more.
        aim *= 0.99 * fraction / ratio
    return best


def _file(model: keras.Model, images) -> bytes:
    return convert(model, inputs="float32", outputs="float32", calibration=images)
