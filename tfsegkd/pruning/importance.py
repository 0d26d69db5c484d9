"""Importance scores of channels; those with the lowest are removed first."""

from collections.abc import Callable

import numpy as np

from tfsegkd import checks
from tfsegkd.graph import ChannelGraph, Group
from tfsegkd.progress_bar import waited
from tfsegkd.pruning.batches import VOID, Batches, known_labels, labels
from tfsegkd.pruning.gates import GatedLoss

# Random directions for the curvature, on each batch.
_PROBES = 2


def score(
    name: str | Callable[[ChannelGraph], np.ndarray],
    channels: ChannelGraph,
    batches: Batches | None,
    seed: int,
) -> np.ndarray:
    """Scores every unit of a network.

    Args:
        name: One of `IMPORTANCES`:
            'l1', 'l2': the norm of the filters that make the unit, relative to the others of its group;
            'fpgm': how far they are from the other filters of the group, relative likewise;
            'lamp': their squared norm as a share of what is left of the group when all weaker ones are gone;
            'bn_scale': BatchNorm's |γ|; a unit that runs through no BatchNorm with a scale is infinite;
            'taylor': the squared change of the loss that its removal would make, to first order;
            'class_balanced_taylor': the same for the loss on the pixels of each class, all classes alike;
            'hessian': the same change to second order, where the slope is taken to be zero;
            'random': random scores;
            or a function that takes the channels and returns the scores.
        batches: (images, masks), for the three that measure a change of the loss.
        seed: For random scores.

    Returns:
        (units,) scores. Infinite ones must not be removed.

    Raises:
        ValueError: for an unknown name, or batches that are missing or of one class only.

    Reference:
        l1: Li et al., ICLR 2017, https://arxiv.org/abs/1608.08710.
        fpgm: He et al., CVPR 2019, https://arxiv.org/abs/1811.00250, eq. 4.
        lamp: Lee et al., ICLR 2021, https://arxiv.org/abs/2010.07611, eq. 4.
        Differs: whole filters instead of single weights.
        bn_scale: Liu et al., ICCV 2017, https://arxiv.org/abs/1708.06519.
        taylor: Molchanov et al., CVPR 2019, https://arxiv.org/abs/1906.10771, eq. 8, with gates.
        Differs: the gate stands where a channel is read, so that one number covers all coupled layers.
        hessian: LeCun et al., NIPS 1990, Optimal Brain Damage, eq. 5, with gates for weights.
        Reconstruction: the diagonal is estimated with random signs (Hutchinson).
        class_balanced_taylor has no paper. Reconstruction: each class' scores are divided by their sum.
    """
    if callable(name):
        return _checked(name(channels), channels, name.__name__)
    checks.one_of(name, IMPORTANCES, "importance")
    if name == "random":
        return np.random.default_rng(seed).random(channels.num_units)
    if name in _BY_LOSS:
        batches = known_labels(batches, channels.model.output_shape, f"importance={name!r}")
        with waited(f"measuring {name} of {channels.num_units} channels"):
            return _BY_LOSS[name](channels, batches, seed)
    scores = np.full(channels.num_units, np.inf)
    for group in channels.prunable:
        scores[group.units] = _BY_WEIGHT[name](channels, group)
    return scores


def _checked(scores: np.ndarray, channels: ChannelGraph, name: str) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    if scores.shape != (channels.num_units,) or np.isnan(scores).any():
        raise ValueError(
            f"`importance={name}` must return a number for each of the {channels.num_units} units of the "
            f"network, none of them NaN. Received: shape {scores.shape}. Begin with "
            f"np.full(channels.num_units, np.inf) and fill in the units of channels.prunable."
        )
    return scores


def _filters(channels: ChannelGraph, group: Group) -> np.ndarray:
    """(units of the group, weights that make each)."""
    rows = []
    for name in group.producers:
        weights = channels.model.get_layer(name).get_weights()
        for cut in channels.layers[name].cuts:
            if cut.role == "produces" and cut.weight in channels.layers[name].kernels:
                kernel = np.moveaxis(weights[cut.weight], cut.axis, 0).reshape(len(cut.channels), -1)
                rows.append([kernel[cut.channels == unit].ravel() for unit in group.units])
    return np.concatenate([np.asarray(row, np.float64) for row in rows], axis=1)


def _norm(order: int) -> Callable:
    def by_norm(channels, group):
        return _relative(np.linalg.norm(_filters(channels, group), order, axis=1))

    return by_norm


def _fpgm(channels, group):
    filters = _filters(channels, group)
    squares = (filters**2).sum(1)
    distances = squares[:, None] + squares - 2 * filters @ filters.T
    return _relative(np.sqrt(np.maximum(distances, 0)).sum(1))


def _lamp(channels, group):
    squares = (_filters(channels, group) ** 2).sum(1)
    order = np.argsort(-squares, kind="stable")
    scores = np.empty_like(squares)
    scores[order] = squares[order] / np.maximum(np.cumsum(squares[order]), np.finfo(float).tiny)
    return scores


def _bn_scale(channels, group):
    scores = np.zeros(len(group.units))
    found = False
    for name in group.pass_through:
        layer = channels.model.get_layer(name)
        if hasattr(layer, "moving_variance") and layer.scale:
            gamma, found = np.abs(layer.gamma.numpy()), True
            units = channels.layers[name].outputs
            scores += [gamma[units == unit].sum() for unit in group.units]
    return scores if found else np.full(len(group.units), np.inf)


def _relative(scores):
    """Scores that can be compared with those of layers whose weights are larger all over."""
    return scores / max(scores.mean(), np.finfo(float).tiny)


def _taylor(channels, batches, _seed):
    slopes = GatedLoss(channels)
    return sum(slopes.squared_slopes(images, masks) for images, masks in batches)


def _class_balanced_taylor(channels, batches, _seed):
    slopes = GatedLoss(channels)
    scores = np.zeros(channels.num_units)
    prunable = np.concatenate([group.units for group in channels.prunable])
    for label in labels(batches):
        total = np.zeros(channels.num_units)
        for images, masks in batches:
            if (masks == label).any():
                total += slopes.squared_slopes(images, np.where(masks == label, label, VOID))
        scores += total / max(total[prunable].sum(), np.finfo(float).tiny)
    return scores


def _hessian(channels, batches, seed):
    slopes = GatedLoss(channels)
    random = np.random.default_rng(seed)
    scores = np.zeros(channels.num_units)
    for images, masks in batches:
        for _ in range(_PROBES):
            signs = random.choice([-1.0, 1.0], (1, channels.num_units)).astype(np.float32)
            scores += 0.5 / _PROBES * (signs * slopes.curvature(images, masks, signs))[0]
    return scores


_BY_WEIGHT: dict[str, Callable] = {
    "l1": _norm(1),
    "l2": _norm(2),
    "bn_scale": _bn_scale,
    "fpgm": _fpgm,
    "lamp": _lamp,
}
_BY_LOSS: dict[str, Callable] = {
    "taylor": _taylor,
    "hessian": _hessian,
    "class_balanced_taylor": _class_balanced_taylor,
}
# Those that are measured on images with labels.
BY_LABELS = tuple(_BY_LOSS)
# Every name, with what it measures.
IMPORTANCES = {
    "l1": "The sum of the absolute weights of the filters that make a channel.",
    "l2": "The norm of those weights.",
    "fpgm": "How far those filters are from the others of their group.",
    "lamp": "Their squared norm as a share of what is left when all weaker ones are gone.",
    "bn_scale": "The scale that BatchNorm gives the channel.",
    "taylor": "The change of the loss that removing the channel would make, to first order; needs data.",
    "class_balanced_taylor": "The same for the pixels of each class, all classes alike; needs data.",
    "hessian": "The change of the loss to second order; needs data.",
    "random": "Random scores, the baseline for every other criterion.",
}
