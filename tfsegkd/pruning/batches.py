"""Batches of images and masks to measure on, read once and checked."""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from tfsegkd.data import labels_of

Batches = Sequence[tuple[np.ndarray, np.ndarray]]

# No class has this label; pixels of it do not count.
VOID = -1
# As many batches are used: a hundred images or so are enough, and an endless data set ends here.
_MOST = 32


def read_batches(data: Iterable | None) -> list[tuple[np.ndarray, np.ndarray | None]] | None:
    """The first 32 batches of (images, masks), or of images alone; None for no data.

    Raises:
        ValueError: if there is no batch.
    """
    if data is None:
        return None
    found = []
    for batch in itertools.islice(data, _MOST):
        images, masks = batch[:2] if isinstance(batch, tuple | list) else (batch, None)
        found.append((np.asarray(images), None if masks is None else np.asarray(masks)))
    if not found:
        raise ValueError(
            "data is empty. Expected batches of (images, masks). Pass a list or a dataset; a generator "
            "serves only once."
        )
    return found


def mixed(batches: Batches) -> Batches:
    """The same images, shuffled over batches of the same sizes.

    Neighbours in a sequence are alike: normalised with the statistics of a batch of them, what tells scenes
    apart is lost, and BatchNorm's new statistics fit no image.

    Raises:
        ValueError: if the batches are of different sizes, or not all with masks.
    """
    shapes = {
        tuple(None if part is None else part.shape[1:] for part in (images, masks))
        for images, masks in batches
    }
    if len(shapes) > 1:
        raise ValueError(
            f"The batches in data differ: (images, masks) are of sizes {sorted(map(str, shapes))}. Expected "
            f"one size, and masks with all or none."
        )
    images = [(number, index) for number, (images, _) in enumerate(batches) for index in range(len(images))]
    np.random.default_rng(0).shuffle(images)
    rest = iter(images)
    taken = [list(itertools.islice(rest, len(images))) for images, _ in batches]

    def gather(part, chosen):
        return None if batches[0][part] is None else np.stack([batches[n][part][i] for n, i in chosen])

    return [(gather(0, chosen), gather(1, chosen)) for chosen in taken]


def known_labels(batches: Batches | None, shape: tuple[int | None, ...], what: str) -> Batches:
    """The batches with every label that is no class made void.

    Args:
        shape: Of the network's output.
        what: What needs them, for messages.

    Raises:
        ValueError: if they are missing, do not fit the network, or hold one class only.
    """
    if not batches or any(masks is None for _, masks in batches):
        raise ValueError(
            f"{what} is measured on images and masks. Expected data=batches of (images, masks). "
            f"Received: {'images alone' if batches else 'no batch'}. Pass some of the training set, or "
            f"choose importance='l1'."
        )
    if not isinstance(shape, tuple) or len(shape) != 4:
        raise ValueError(
            f"{what} needs a network with one output of logits (N, H, W, C). Received: {shape}. "
            f"Choose importance='l1'."
        )
    known = [(images, _known(masks, shape)) for images, masks in batches]
    found = labels(known)
    if len(found) < 2:
        raise ValueError(
            f"The masks in data hold {f'one class only, {found[0]}' if found else 'no class at all'}, "
            f"which does not show what the network needs for its {shape[-1]} classes. Pass batches with all "
            f"of them."
        )
    return known


def labels(batches: Batches) -> list[int]:
    """The classes that occur, of batches that `known_labels` has checked."""
    found = set().union(*(np.unique(masks).tolist() for _, masks in batches))
    return sorted(label for label in found if label != VOID)


def _known(masks, shape):
    masks = labels_of(masks, shape[-1], VOID).numpy() if masks.ndim == 4 else masks
    if masks.ndim != 3 or masks.shape[1:] != tuple(shape[1:3]) or not np.issubdtype(masks.dtype, np.integer):
        raise ValueError(
            f"Masks must be whole numbers (N, {shape[1]}, {shape[2]}), one for each logit. Received: "
            f"{masks.dtype} of shape {masks.shape}."
        )
    masks = masks.astype(np.int32)
    return np.where((masks >= 0) & (masks < shape[-1]), masks, VOID)
