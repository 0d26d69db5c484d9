"""TensorBoard summaries in addition to Keras' scalars."""

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.data import Source, resize_image, resize_mask, spread
from tfsegkd.evaluation import overlay
from tfsegkd.graph.callbacks import NetworkCallback
from tfsegkd.metrics import labels_at

_ROWS = 3
# The suffixes of the variables of a range, and how they are reduced to one number.
_RANGES = {"_min": np.min, "_max": np.max, "_step_factor": np.mean}


class Monitor(NetworkCallback):
    """Writes predictions, the share of zero weights and the widths of 8-bit ranges after every epoch.

    Put it before Keras' TensorBoard callback: it adds the share of zeros to the logs, if there are any.

    Args:
        directory: The directory for the summaries; None writes nothing.
        source: The images: the first, the last and a middle one are predicted.
        histograms: Whether to write histograms of the outputs of all convolutions for these images.
    """

    def __init__(self, directory: Path | None, source: Source, histograms: bool = False):
        super().__init__()
        self._source, self._histograms = source, histograms
        self._writer = (
            tf.summary.create_file_writer(str(directory)) if directory else tf.summary.create_noop_writer()
        )

    def on_train_begin(self, logs=None):
        size = self.network.input_shape[1:3]
        indices = spread(len(self._source), _ROWS)
        examples = [self._source[index] for index in indices]
        self._images = np.stack([resize_image(image, size) for image, _ in examples])
        self._masks = [resize_mask(mask, size) for _, mask in examples]

    def on_epoch_end(self, epoch, logs=None):
        zeros = zero_share(self.network)
        if zeros and logs is not None:
            logs["sparsity"] = zeros
        with self._writer.as_default(step=epoch):
            tf.summary.image("image, label, prediction", self._pictures(), max_outputs=_ROWS)
            for name, value in quantized_ranges(self.network).items():
                tf.summary.scalar(f"ranges/{name}", value)
            if self._histograms:
                for name, values in zip(*self._activations(), strict=True):
                    tf.summary.histogram(f"activations/{name}", values)

    def on_train_end(self, logs=None):
        self._writer.close()

    def _pictures(self) -> np.ndarray:
        info = self._source.info
        logits = self.network(self._images.astype(np.float32), training=False)
        rows = []
        for image, mask, of_one in zip(self._images, self._masks, logits, strict=True):
            predicted = labels_at(of_one, mask.shape)
            rows.append(np.hstack([image, overlay(image, mask, info), overlay(image, predicted, info)]))
        return np.stack(rows)

    def _activations(self):
        names, probe = self._probe
        return names, probe(self._images.astype(np.float32), training=False)

    @functools.cached_property
    def _probe(self):
        layers = [
            layer for layer in self.network.layers if any(weight.shape.rank == 4 for weight in layer.weights)
        ]
        outputs = [layer.get_output_at(0) for layer in layers]
        return [layer.name for layer in layers], keras.Model(self.network.input, outputs)


def zero_share(model: keras.Model) -> float:
    """Returns the share of kernel weights that are exactly zero."""
    kernels = [weight.numpy() for weight in model.trainable_weights if weight.shape.rank > 1]
    count = sum(kernel.size for kernel in kernels)
    return sum(int(np.sum(kernel == 0)) for kernel in kernels) / count if count else 0.0


def quantized_ranges(model: keras.Model) -> dict[str, float]:
    """Returns the limits of every range of quantization-aware training, and the mean change of every learned
    step, by variable name.
    """
    found = {}
    for weight in model.weights:
        name = weight.name.split(":")[0]
        end = next((end for end in _RANGES if name.endswith(end)), None)
        if end:
            found[name] = float(_RANGES[end](weight.numpy()))
    return found


def write_flags(directory: Path, flags: Mapping) -> None:
    """Writes the flags of a run as a text."""
    lines = ["| flag | value |", "|---|---|", *(f"| {name} | `{value}` |" for name, value in flags.items())]
    writer = tf.summary.create_file_writer(str(directory))
    with writer.as_default(step=0):
        tf.summary.text("flags", "\n".join(lines))
    writer.close()
