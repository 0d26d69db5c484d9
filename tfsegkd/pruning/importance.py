"""How much each channel matters: the fewer it scores, the sooner it goes."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfsegkd import checks
from tfsegkd.graph import ChannelGraph, Group
from tfsegkd.losses import SegmentationLoss
from tfsegkd.pruning.gates import gated

# Random directions for the curvature, on each batch.
_PROBES = 2

Batches = Sequence[tuple[np.ndarray, np.ndarray]]


def score(name: str, channels: ChannelGraph, batches: Batches | None, seed: int) -> np.ndarray:
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
            'random': chance.
        batches: (images, masks), for the three that measure a change of the loss.
        seed: For chance.

    Returns:
        (units,) scores. Infinite ones must not be removed.

    Raises:
        ValueError: for an unknown name, or batches that are missing or say nothing.

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
    checks.one_of(name, IMPORTANCES, "importance")
    if name == "random":
        return np.random.default_rng(seed).random(channels.num_units)
    if name in _BY_LOSS:
        return _BY_LOSS[name](channels, _checked(batches, name, channels.model.output_shape), seed)
    scores = np.full(channels.num_units, np.inf)
    for group in channels.prunable:
        scores[group.units] = _BY_WEIGHT[name](channels, group)
    return scores


def needs_data(name: str) -> bool:
    """Whether an importance is measured on images and masks."""
    return name in _BY_LOSS


def _filters(channels: ChannelGraph, group: Group) -> np.ndarray:
    """(units of the group, weights that make each)."""
    rows = []
    for name in group.makers:
        weights = channels.model.get_layer(name).get_weights()
        for cut in channels.layers[name].cuts:
            if cut.role == "makes" and cut.weight in channels.layers[name].kernels:
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
    for name in group.carriers:
        layer = channels.model.get_layer(name)
        if hasattr(layer, "moving_variance") and layer.scale:
            gamma, found = np.abs(layer.gamma.numpy()), True
            units = channels.layers[name].gives
            scores += [gamma[units == unit].sum() for unit in group.units]
    return scores if found else np.full(len(group.units), np.inf)


def _relative(scores):
    """Scores that can be compared with those of layers whose weights are larger all over."""
    return scores / max(scores.mean(), np.finfo(float).tiny)


def _taylor(channels, batches, _seed):
    slopes = _Slopes(channels)
    return sum(slopes.squared(images, masks) for images, masks in batches)


def _class_balanced_taylor(channels, batches, _seed):
    slopes = _Slopes(channels)
    scores = np.zeros(channels.num_units)
    prunable = np.concatenate([group.units for group in channels.prunable])
    for label in _labels(batches):
        total = np.zeros(channels.num_units)
        for images, masks in batches:
            if (masks == label).any():
                total += slopes.squared(images, np.where(masks == label, label, _VOID))
        scores += total / max(total[prunable].sum(), np.finfo(float).tiny)
    return scores


def _hessian(channels, batches, seed):
    slopes = _Slopes(channels)
    random = np.random.default_rng(seed)
    scores = np.zeros(channels.num_units)
    for images, masks in batches:
        for _ in range(_PROBES):
            signs = random.choice([-1.0, 1.0], (1, channels.num_units)).astype(np.float32)
            scores += 0.5 / _PROBES * (signs * slopes.curvature(images, masks, signs))[0]
    return scores


class _Slopes:
    """How the loss changes with the gates of a network."""

    def __init__(self, channels: ChannelGraph):
        self._units = channels.num_units
        self._model = gated(channels)
        self._loss = SegmentationLoss(ignore_label=_VOID)

    @tf.function(reduce_retracing=True)
    def _squared(self, images, masks):
        gates = tf.ones([tf.shape(images)[0], self._units])
        with tf.GradientTape() as tape:
            tape.watch(gates)
            loss = self._loss.call(masks, self._model([images, gates], training=False))
        return tf.reduce_sum(tape.gradient(loss, gates) ** 2, axis=0)

    @tf.function(reduce_retracing=True)
    def _curvature(self, images, masks, signs):
        gates = tf.ones([1, self._units])
        with tf.GradientTape() as outer:
            outer.watch(gates)
            with tf.GradientTape() as inner:
                inner.watch(gates)
                loss = self._loss.call(masks, self._model([images, gates], training=False))
            slope = tf.reduce_sum(signs * inner.gradient(loss, gates))
        return outer.gradient(slope, gates)

    def squared(self, images, masks) -> np.ndarray:
        """The squared slope at each gate, each image for itself, added up."""
        return self._squared(tf.cast(images, tf.float32), tf.cast(masks, tf.int32)).numpy().astype(float)

    def curvature(self, images, masks, signs) -> np.ndarray:
        """The Hessian with respect to the gates, times `signs`."""
        return self._curvature(tf.cast(images, tf.float32), tf.cast(masks, tf.int32), signs).numpy()


# No class has this label; pixels of it do not count.
_VOID = -1


def _checked(batches, name, shape) -> Batches:
    """The batches with every label that is no class made void."""
    if not batches or any(masks is None for _, masks in batches):
        raise ValueError(
            f"importance={name!r} is measured on images and masks. Expected data=batches of (images, masks). "
            f"Received: {'images alone' if batches else 'no batch'}. Pass some of the training set, or "
            f"choose importance='l1'."
        )
    if not isinstance(shape, tuple) or len(shape) != 4:
        raise ValueError(
            f"importance={name!r} needs a network with one output of logits (N, H, W, C). Received: {shape}. "
            f"Choose importance='l1'."
        )
    classes = shape[-1]
    for _, masks in batches:
        if (
            masks.ndim != 3
            or masks.shape[1:] != tuple(shape[1:3])
            or not np.issubdtype(masks.dtype, np.integer)
        ):
            raise ValueError(
                f"Masks must be whole numbers (N, {shape[1]}, {shape[2]}), one for each logit. Received: "
                f"{masks.dtype} of shape {masks.shape}."
            )
    batches = [(images, masks.astype(np.int32)) for images, masks in batches]
    known = [(images, np.where((masks >= 0) & (masks < classes), masks, _VOID)) for images, masks in batches]
    labels = _labels(known)
    if len(labels) < 2:
        raise ValueError(
            f"The masks in data hold {f'one class only, {labels[0]}' if labels else 'no class at all'}, "
            f"which does not tell what the network needs for its {classes} classes. Pass batches with all "
            f"of them."
        )
    return known


def _labels(batches) -> list[int]:
    found = set().union(*(np.unique(masks).tolist() for _, masks in batches))
    return sorted(label for label in found if label != _VOID)


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
IMPORTANCES = (*_BY_WEIGHT, *_BY_LOSS, "random")
