"""Verification of a .tflite against its Keras network, with latencies of its ops."""

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfsegkd import metrics, models, runtime
from tfsegkd._keras import is_keras3, keras
from tfsegkd.data import IGNORE_LABEL, Source, resize_image
from tfsegkd.graph import check_functional
from tfsegkd.quantization import layer_sqnr
from tfsegkd.runtime import Network, OpReport, OpTime

# Maximum distance of border pixels to another class.
_BORDER = 2
_BATCH = 8
# The number of images for layers; all their features are in memory.
_LAYER_IMAGES = 8
_DRAWS = 1000


@dataclasses.dataclass(frozen=True)
class Change:
    """The difference in mean IoU between two networks, 0…1.

    Args:
        keras: The Keras network's mean IoU.
        file: The mean IoU of the file.
        low, high: The 95 % interval of file - keras, by a bootstrap over `draws_of` batches.
        draws_of: The number of batches, each with neighbouring images, which are similar.
    """

    keras: float
    file: float
    low: float
    high: float
    draws_of: int


@dataclasses.dataclass(frozen=True)
class VerifyReport:
    """The agreement of a file and its Keras network, and the profile of the file.

    Args:
        int8_agreement: The share of pixels with the same predicted class; a single channel predicts two.
        class_agreement: The same for each class that the Keras network predicts, by class name, or by label
            without names; None for classes that it never predicts.
        border_agreement: The same for pixels with another predicted class within two pixels of their row or
            column; None if there are none.
        max_difference: The largest difference between two logits.
        max_difference_steps: The same in steps of the file's int8 output; None if its output is float.
        num_images: The number of images.
        mean_iou: The mean IoU of both; None for images without labels.
        ops: The profile of the file.
        op_times: The latency of each op; empty unless layers were requested.
        sqnr_db: The signal-to-quantization-noise ratio of each layer, worst first, as of
            `tfsegkd.quantization.layer_sqnr`; empty unless layers were requested, or if the Keras network
            is not quantized.

    Example:
        export.export_tflite(student, "same.tflite", "float32", "float32")
        report = export.verify("same.tflite", student, source, layers=False)
        report.int8_agreement > 0.999, report.num_images  # (True, 8)
    """

    int8_agreement: float
    class_agreement: dict[str, float | None]
    border_agreement: float | None
    max_difference: float
    max_difference_steps: float | None
    num_images: int
    mean_iou: Change | None
    ops: OpReport
    op_times: tuple[OpTime, ...] = ()
    sqnr_db: dict[str, float] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2)

    def __str__(self) -> str:
        count, floats = sum(self.ops.ops.values()), self.ops.float_ops
        lines = [
            f"ops: {count}, {len(floats)} of them float, {len(self.ops.outside_delegate)} outside of the "
            f"delegate; delegate partitions: {self.ops.delegate_partitions}",
            *(f"  float: {name}" for name in floats),
            f"peak memory of activations: {self.ops.peak_bytes / 1000:,.0f} KB",
            f"same class as the Keras network: {_percent(self.int8_agreement)} of the pixels of "
            f"{self.num_images} images, {_percent(self.border_agreement)} near borders",
        ]
        lines += [f"  {name:20} {_percent(share)}" for name, share in self.class_agreement.items()]
        lines.append(f"largest difference of two logits: {self.max_difference:.4g}" + self._steps())
        if self.mean_iou:
            change = self.mean_iou
            lines.append(
                f"mean IoU: {_percent(change.file)}, Keras {_percent(change.keras)}: "
                f"{100 * (change.file - change.keras):+.2f}, 95 % interval {100 * change.low:+.2f} … "
                f"{100 * change.high:+.2f} by a bootstrap over {change.draws_of} batches"
            )
        if self.op_times:
            whole = sum(one.median_ms for one in self.op_times)
            lines.append(f"each op alone: {whole:.3f} ms in total")
            slowest = sorted(self.op_times, key=lambda one: -one.median_ms)
            lines += [
                # The name of a fused op lists its layers, the last first.
                f"  {one.median_ms:8.3f} ms {one.median_ms / whole:5.0%}  {one.op.partition(';')[0]}"
                for one in slowest
            ]
        if self.sqnr_db:
            lines.append("signal-to-quantization-noise ratio:")
            lines += [f"  {decibels:6.1f} dB  {name}" for name, decibels in self.sqnr_db.items()]
        return "\n".join(lines)

    def _steps(self):
        return "" if self.max_difference_steps is None else f", {self.max_difference_steps:.1f} steps of int8"


def verify(
    path: str | os.PathLike,
    model: keras.Model,
    source: Source | np.ndarray | Iterable,
    layers: bool = True,
) -> VerifyReport:
    """Compares a .tflite with the network that it was exported from, and profiles the file.

    Kernels may differ by a step or two, so the share of agreeing pixels is the main criterion.

    Args:
        path: The .tflite.
        model: The exported network: the quantization-aware one for an int8 file.
        source: The images: a split of a data set, an array, or an iterable of batches of images or of
            (images, masks). With labels, mean IoU is compared, too; void is 255 unless the data set defines
            it.
        layers: Whether to measure single ops and layers, too, which takes some seconds.

    Returns:
        Agreement, mean IoU of both where there are labels, and the ops of the file.

    Shapes:
        images: (N, H, W, 3), uint8 or float, 0…255. masks: (N, Y, X), labels.

    Raises:
        ValueError: if there are no images, they have another size, or the outputs of the two networks have
            different shapes.

    Example:
        report = export.verify("model_int8.tflite", quantized, source)
        report.int8_agreement  # the share of pixels for which both choose the same class

    Reference:
        Efron, Annals of Statistics 1979, the bootstrap; 95 % by percentiles.
    """
    if isinstance(model, keras.Model) or is_keras3(model):  # otherwise anything with logits
        check_functional(model, "verify")
    network = Network(path)
    if tuple(model.output_shape[1:]) != network.output_shape:
        raise ValueError(
            f"{path} and {model.name!r} must output logits of the same shape. Received: "
            f"{network.output_shape} and {tuple(model.output_shape[1:])}. Pass the model that the file was "
            f"exported from."
        )
    classes, void = max(network.num_classes, 2), IGNORE_LABEL
    names: Sequence[str] = [str(label) for label in range(classes)]
    if isinstance(source, Source):
        names, void = source.info.class_names, source.info.ignore_label
        if len(names) != classes:
            raise ValueError(
                f"{path} predicts {classes} classes and data set {source.info.name!r} has {len(names)}. "
                f"Pass the data set that the network was trained for."
            )
    same = np.zeros((classes, 2), np.int64)  # by class: agreeing pixels, and all
    at_border = np.zeros(2, np.int64)
    confusions, first, num_images, difference = [], [], 0, 0.0
    head = models.head_of(model)
    for images, masks in _batches(source, network.input_shape[:2]):
        from_file = network.predict(images)
        from_keras = np.asarray(model(images.astype(np.float32), training=False), np.float32)
        both = [class_logits(from_keras, head), class_logits(from_file, of_file(head))]
        chosen, found = (logits.argmax(-1) for logits in both)
        agrees = found == chosen
        counted = (np.bincount(labels, minlength=classes) for labels in (chosen[agrees], chosen.ravel()))
        same += np.stack([*counted], 1)
        border = _near_border(chosen)
        at_border += [int((agrees & border).sum()), int(border.sum())]
        difference = max(difference, float(np.abs(from_file - from_keras).max()))
        if num_images < _LAYER_IMAGES:
            first.append(images[: _LAYER_IMAGES - num_images])
        num_images += len(images)
        if masks is not None:
            confusions.append([_confusion(one, masks, void) for one in both])
    if not num_images:
        raise ValueError("source must contain at least one image. Received: none.")
    step = network.output_quantization[0] if network.output_quantization else None
    measures_layers = layers and runtime.is_quantization_aware(model)
    agreeing, pixels = same.sum(0)
    return VerifyReport(
        int8_agreement=float(agreeing / pixels),
        class_agreement={
            name: float(hits / count) if count else None
            for name, (hits, count) in zip(names, same, strict=True)
        },
        border_agreement=float(at_border[0] / at_border[1]) if at_border[1] else None,
        max_difference=difference,
        max_difference_steps=difference / step if step else None,
        num_images=num_images,
        mean_iou=_change(np.asarray(confusions)) if confusions else None,
        ops=runtime.profile(path),
        op_times=runtime.op_times(path) if layers else (),
        sqnr_db=layer_sqnr(model, np.concatenate(first)) if measures_layers else {},
    )


def class_logits(output: np.ndarray, head: str) -> np.ndarray:
    """Returns an output as logits of two or more classes, see `models.as_logits`."""
    return np.asarray(models.as_logits(tf.convert_to_tensor(output), head))


def of_file(head: str) -> str:
    """Returns the head of the file of a network; its probabilities may be rounded to 0."""
    return head if head == models.heads.LOGITS else models.heads.UNKNOWN


def _batches(source, size) -> Iterator[tuple[np.ndarray, Sequence[np.ndarray] | None]]:
    """Yields images at the network's size, and their masks if there are any."""
    if isinstance(source, Source):
        for start in range(0, len(source), _BATCH):
            examples = [source[index] for index in range(start, min(start + _BATCH, len(source)))]
            images = np.stack([resize_image(image, size) for image, _ in examples])
            yield images, [mask for _, mask in examples] if source.labelled else None
        return
    for batch in [source] if isinstance(source, np.ndarray) else source:
        images, masks = batch[:2] if isinstance(batch, tuple | list) else (batch, None)
        if len(images):
            yield np.asarray(images), None if masks is None else np.asarray(masks)


def _near_border(labels: np.ndarray) -> np.ndarray:
    """Returns where another class is within `_BORDER` pixels in a row or column."""
    near = np.zeros(labels.shape, bool)
    for axis in (1, 2):
        length = labels.shape[axis]
        for distance in range(1, min(_BORDER, length - 1) + 1):
            ahead, behind = range(distance, length), range(length - distance)
            differs = np.take(labels, ahead, axis) != np.take(labels, behind, axis)
            pad = [(0, 0)] * 3
            for before, after in ((0, distance), (distance, 0)):
                pad[axis] = (before, after)
                near |= np.pad(differs, pad)
    return near


def _confusion(logits, masks, void) -> np.ndarray:
    return sum(
        metrics.confusion_matrix(mask, metrics.labels_at(one, mask.shape), one.shape[-1], void)
        for one, mask in zip(logits, masks, strict=True)
    )


def _change(confusions: np.ndarray) -> Change:
    """Bootstraps mean IoU from the confusion matrices of both networks, (batches, 2, classes, classes)."""

    def scores(matrices):
        return [float(metrics.mean_iou(matrix)) for matrix in matrices.sum(0)]

    draws = np.random.default_rng(0).integers(0, len(confusions), (_DRAWS, len(confusions)))
    changes = [after - before for before, after in (scores(confusions[draw]) for draw in draws)]
    low, high = np.nanpercentile(changes, [2.5, 97.5])
    return Change(*scores(confusions), float(low), float(high), len(confusions))


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"
