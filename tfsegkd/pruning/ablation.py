"""Ablation: the loss of a network with channels switched off, without building another network."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfsegkd import metrics
from tfsegkd.graph import ChannelGraph
from tfsegkd.pruning.batches import VOID, Batches
from tfsegkd.pruning.gates import GatedLoss
from tfsegkd.pruning.recalibration import Recalibration

# Samples of the bootstrap.
_RESAMPLES = 500


class Ablation:
    """A copy of a network whose units can be switched off, its BatchNorms following.

    What it computes with some units kept is what the network without the others computes.

    Args:
        channels: The network's channels.
        batches: (images, masks) to measure losses and BatchNorm's statistics on; void is `VOID`.
    """

    def __init__(self, channels: ChannelGraph, batches: Batches):
        self._channels, self._batches = channels, batches
        self._gated = GatedLoss(channels)
        self._recalibration = Recalibration(self._gated.model)
        self._predict = tf.function(self._labels, reduce_retracing=True)

    def recalibrate(self, keep: np.ndarray) -> None:
        """Measures BatchNorm's statistics again, with only some units kept."""
        gates = keep[None].astype(np.float32)
        self._recalibration.run([[images, gates] for images, _ in self._batches])

    def loss(self, keep: np.ndarray) -> float:
        """The mean loss of the images."""
        return float(np.concatenate([self._gated.value(*batch, keep) for batch in self._batches]).mean())

    def taylor(self, keep: np.ndarray) -> np.ndarray:
        """(units,) squared change of the loss if a unit went, to first order, a mean over the images."""
        count = sum(len(images) for images, _ in self._batches)
        return sum(self._gated.squared_slopes(*batch, keep) for batch in self._batches) / count

    def confusions(self, keep: np.ndarray, batches: Batches) -> list[np.ndarray]:
        """A confusion matrix of each batch."""
        gates = keep[None].astype(np.float32)
        classes = self._channels.model.output_shape[-1]
        return [
            metrics.confusion_matrix(
                masks, self._predict(tf.cast(images, tf.float32), gates).numpy(), classes, ignore_label=VOID
            )
            for images, masks in batches
        ]

    def _labels(self, images, gates):
        return tf.argmax(self._gated.model([images, gates], training=False), -1, tf.int32)


def mean_iou_and_error(confusions: Sequence[np.ndarray], seed: int) -> tuple[float, float]:
    """The mean IoU of all batches, and its standard error over batches drawn with replacement.

    Reference:
        Efron, Annals of Statistics 1979, the bootstrap; with whole batches, because neighbouring images of a
        sequence are not independent samples.
    """
    matrices = np.stack(confusions)
    resamples = np.random.default_rng(seed).integers(0, len(matrices), (_RESAMPLES, len(matrices)))
    scores = [metrics.mean_iou(matrices[resample].sum(0)) for resample in resamples]
    return metrics.mean_iou(matrices.sum(0)), float(np.nanstd(scores, ddof=1))
