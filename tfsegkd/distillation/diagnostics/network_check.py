"""Checks the outputs of a network on a few batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import tensorflow as tf

from tfsegkd.data import DatasetInfo
from tfsegkd.distillation.diagnostics.scores import (
    PREPROCESSING,
    Score,
    Tally,
    as_logits,
    likely_order,
    output_kind,
)
from tfsegkd.progress_bar import counted

_WEAK = 0.7  # mean IoU below which other preprocessing is tried
_TRIED = 4  # on this many images
_CONVINCING = 0.75  # relative to the random baseline's cross-entropy; below, a fix is suggested
_ONE_CHANNEL = (
    " A single channel is taken as a class and its background. If it is the predicted label, use the output "
    "before argmax."
)
_SAME = 0.01  # difference of two runs, in standard deviations of the logits; float16 stays far below


@dataclass(frozen=True)
class Finding:
    """A finding of `preflight`.

    Args:
        level: 'error': distillation cannot work; 'warning': it may not work; 'note': for information.
        what: What is wrong.
        expected, received: Empty if nothing is compared.
        fix: What to do.
    """

    level: Literal["error", "warning", "note"]
    what: str
    expected: str = ""
    received: str = ""
    fix: str = ""

    def __str__(self):
        expected = self.expected and f"Expected {self.expected}."
        received = self.received and f"Received: {self.received}."
        return " ".join(part for part in (self.what, expected, received, self.fix) if part)


class Sample(NamedTuple):
    """A batch on which networks are checked.

    Shapes:
        images: (N, H, W, 3), float32. masks: (N, H, W), int32.
        labels: (N, H, W), int32; the masks with −1 for pixels without a class.
        recorded: The outputs of a recorded teacher, by layer.
    """

    images: np.ndarray
    masks: np.ndarray
    labels: np.ndarray
    recorded: Mapping[str, tf.Tensor]


class NetworkCheck:
    """Runs a network on batches until an output cannot be used for distillation.

    Args:
        name: The name of the network in findings, such as "Teacher 'unet'".
        run: Computes the logits of a batch.
        info: The classes of the labels.

    Attributes:
        tally: Its predictions by class; None if it could not be run, or fewer than two classes are labelled.
        kind: The kind of output, see `output_kind`.
    """

    def __init__(self, name: str, run: Callable[[Sample], tf.Tensor], info: DatasetInfo):
        self.name = name
        self.info = info
        self.kind = "logits"
        self.tally: Tally | None = None
        self._run = run
        self._first: np.ndarray | None = None

    @property
    def score(self) -> Score | None:
        return None if self.tally is None else self.tally.score()

    @property
    def random_baseline(self) -> Score | None:
        return None if self.tally is None else self.tally.random_baseline()

    def inspect(self, batches: Sequence[Sample]) -> Iterator[Finding]:
        """Runs the network once on each batch and yields findings; afterwards the score is known."""
        tally = Tally(self.info.num_classes)
        for batch in counted(batches, f"checking {self.name[0].lower()}{self.name[1:]}"):
            try:
                output = self._run(batch)
            except (ValueError, tf.errors.InvalidArgumentError) as error:
                first_line = str(error).strip().split("\n")[0]
                yield Finding("error", f"{self.name} cannot be run on these images. {first_line}")
                return
            problem = self._problem(output, batch.masks.shape)
            if problem is not None:
                yield problem
                return
            output = np.asarray(output, np.float32)
            if self._first is None:
                self._first, self.kind = output, output_kind(output)
            tally.add(as_logits(output, self.kind), batch.labels)
        if np.count_nonzero(tally.frequencies) > 1:
            self.tally = tally
        yield from self._about_kind()

    def _problem(self, output, expected: tuple[int, int, int]) -> Finding | None:
        shape = tuple(getattr(output, "shape", ()))
        num_classes = self.info.num_classes
        if shape in (expected, (*expected, 1)):
            return Finding(
                "error",
                f"{self.name} outputs one number per pixel.",
                f"logits of {num_classes} classes",
                received=f"shape {shape}, perhaps labels",
                fix="Use the output before argmax.",
            )
        if len(shape) == 4 and shape[:3] == expected and shape[3] != num_classes:
            return Finding(
                "error",
                f"{self.name} predicts another number of classes than data set {self.info.name!r} has.",
                f"{num_classes} classes",
                received=str(shape[3]),
                fix=f"Use a network for the classes {list(self.info.class_names)}, or load the teacher "
                f"with a class_map." + (_ONE_CHANNEL if shape[3] == 2 else ""),
            )
        if shape != (*expected, num_classes):
            return Finding(
                "error",
                f"{self.name} outputs another shape than that of the masks.",
                f"(N, H, W, C) = {(*expected, num_classes)}",
                received=str(shape) if shape else type(output).__name__,
                fix="Resize its logits to the size of the images, and output nothing else.",
            )
        finite = np.isfinite(np.asarray(output, np.float32))
        if not finite.all():
            return Finding(
                "error",
                f"{self.name} outputs numbers that are not finite.",
                "finite logits",
                received=f"NaN or infinity in {np.mean(~finite):.1%} of its outputs",
                fix="Check its weights for NaN, and its preprocessing for a division by zero.",
            )
        return None

    def _about_kind(self) -> Iterator[Finding]:
        if self.kind == "probabilities":
            yield Finding(
                "error",
                f"{self.name} outputs probabilities, but the losses apply a softmax.",
                "logits, or log-probabilities",
                received="values from 0 to 1 that sum to 1 in each pixel",
                fix="Remove the softmax, or wrap the network to return tf.math.log(probabilities + 1e-7).",
            )
        if self.kind == "one-hot":
            yield Finding(
                "error",
                f"{self.name} outputs one-hot labels, which contain no more than labels do.",
                "logits",
                received="a single 1 in each pixel, zeros otherwise",
                fix="Use the output before argmax.",
            )
        if self.kind == "unit":
            yield Finding(
                "warning",
                f"{self.name} outputs values from 0 to 1, perhaps of a sigmoid.",
                "logits of any size and sign",
                fix="Remove its last activation.",
            )

    def neighbours(self, batch: Sample) -> Iterator[Finding]:
        """Checks whether the output for an image depends on the other images of the first batch."""
        if self._first is None or len(batch.images) < 2:
            return
        alone = np.asarray(self._run(_part(batch, 1)), np.float32)[0]
        moved = np.abs(alone - self._first[0]).mean() / max(self._first[0].std(), 1e-12)
        if moved > _SAME:
            yield Finding(
                "error",
                f"The output of {self.name[0].lower()}{self.name[1:]} for an image depends on the other "
                f"images in the batch.",
                "inference mode, in which images are independent",
                received=f"outputs that change by {moved:.0%} of their standard deviation",
                fix="Call the network with training=False in the function that you pass as the teacher.",
            )

    def mismatch(self, batches: Sequence[Sample], preprocessing: bool) -> Iterator[Finding]:
        """Checks whether it was trained with other preprocessing, or with another order of classes.

        Args:
            preprocessing: Whether it can be run on images of other preprocessing.
        """
        found = None
        if preprocessing and self.score.mean_iou < _WEAK:
            found = self._other_preprocessing(max(batches, key=lambda batch: len(np.unique(batch.labels))))
        found = found or self._other_order()
        if found is not None:
            yield found

    def _other_preprocessing(self, batch):
        batch = _part(batch, _TRIED)
        if not (batch.labels >= 0).any():
            return None

        def tally(images):
            tally = Tally(self.info.num_classes)
            output = np.asarray(self._run(batch._replace(images=images.astype(np.float32))), np.float32)
            tally.add(as_logits(np.nan_to_num(output), self.kind), batch.labels)
            return tally

        usual = tally(batch.images).score()
        tallies = {code: tally(prepare(batch.images)) for code, prepare in PREPROCESSING.items()}
        code = max(tallies, key=lambda code: tallies[code].score().mean_iou)
        better = tallies[code].score()
        if (
            better.mean_iou < usual.mean_iou + 0.05
            or better.cross_entropy > 0.9 * usual.cross_entropy
            or not _convincing(better, tallies[code].random_baseline())
        ):
            return None
        return Finding(
            "error",
            f"{self.name} was trained with other preprocessing.",
            f"the images of its training, with which it reaches {better} on {len(batch.images)} images",
            received=f"RGB from 0 to 255, with which it reaches {usual}",
            fix=f"Load it so: {code}.",
        )

    def _other_order(self):
        order, moved = likely_order(self.tally.matrix)
        better = self.tally.score(order)
        # A single swapped class is a weak class; another order has at least two.
        if (
            len(moved) < 2
            or better.cross_entropy > self.score.cross_entropy
            or not _convincing(better, self.random_baseline)
        ):
            return None
        names = self.info.class_names
        return Finding(
            "error",
            f"{self.name} has its classes in another order.",
            f"that of data set {self.info.name!r}: {list(names)}",
            received=", ".join(f"{names[label]!r} in place of {names[channel]!r}" for label, channel in moved)
            + f". In the right order it would reach {better}; now it has {self.score}",
            fix=f"Load it so: load_teacher(model, class_map={dict(zip(names, order.tolist(), strict=True))}, "
            f"class_names={list(names)}).",
        )


def _convincing(score: Score, random_baseline: Score) -> bool:
    return (
        not score.is_uninformed(random_baseline)
        and score.cross_entropy < _CONVINCING * random_baseline.cross_entropy
    )


def _part(batch: Sample, count: int) -> Sample:
    recorded = {layer: values[:count] for layer, values in batch.recorded.items()}
    return Sample(batch.images[:count], batch.masks[:count], batch.labels[:count], recorded=recorded)
