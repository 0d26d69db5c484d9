"""Predictions of the networks of a report for validation images."""

import base64
import dataclasses
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tfsegkd import metrics, models
from tfsegkd._keras import keras
from tfsegkd.atomic import sha256
from tfsegkd.data import Source, resize_image, resize_mask, spread
from tfsegkd.evaluation import Predictor
from tfsegkd.progress_bar import counted
from tfsegkd.reporting.run import RunRecord

WIDTH = 480  # maximum pixels of an image in the report
_BATCH = 8
_MOST_BYTES = 8_000_000  # maximum size of all images, as text in the report

# The key of a network: the index of its run, and its stage.
Key = tuple[int, str]


@dataclasses.dataclass
class Disagreement:
    """Pixel counts where a float network and its int8 file predict different classes.

    Args:
        valid, differing: By labelled class.
        fixed, broken: The differing pixels that only int8, and only float, predicts correctly.
    """

    valid: np.ndarray
    differing: np.ndarray
    fixed: int = 0
    broken: int = 0

    def add(self, label: np.ndarray, before: np.ndarray, after: np.ndarray, ignore_label: int) -> None:
        """Adds an image."""
        counted, num_classes = label != ignore_label, len(self.valid)
        label, before, after = label[counted], before[counted], after[counted]
        differs = before != after
        self.valid += np.bincount(label, minlength=num_classes)
        self.differing += np.bincount(label[differs], minlength=num_classes)
        self.fixed += int(np.sum(differs & (after == label)))
        self.broken += int(np.sum(differs & (before == label)))


@dataclasses.dataclass(frozen=True)
class Examination:
    """The predictions of networks for images of a split.

    Args:
        source: The split.
        indices: The indices of the images.
        confusions: For each network, over these images, [label][prediction].
        ious: For each network, (images, classes); NaN for classes neither labelled nor predicted.
        masks: For each network, the packed labels of each image at report size.
        disagreements: By run index.
        widths: By run index, the maximum number of output channels of a layer over the students.
    """

    source: Source
    indices: Sequence[int]
    confusions: Mapping[Key, np.ndarray]
    ious: Mapping[Key, np.ndarray]
    masks: Mapping[Key, Sequence[bytes]]
    disagreements: Mapping[int, Disagreement]
    widths: Mapping[int, Mapping[str, int]]


def examine(runs: Sequence[RunRecord], source: Source, count: int) -> Examination:
    """Runs every network of `runs` on the same images.

    Networks that several runs share, such as a teacher, run once.

    Args:
        runs: The runs; their networks must predict the classes of `source`.
        source: The validation split.
        count: The number of evenly spaced images.
    """
    info = source.info
    indices = spread(len(source), count)
    keys = {
        (number, stage): sha256(path)
        for number, run in enumerate(runs)
        for stage, path in run.networks.items()
    }
    paths = {keys[number, stage]: runs[number].networks[stage] for number, stage in keys}
    widths = {}
    predictors = {name: Predictor(_open(path, widths.setdefault(name, {}))) for name, path in paths.items()}
    square, zeros = (info.num_classes,) * 2, lambda: np.zeros(info.num_classes, np.int64)
    confusions = {name: np.zeros(square, np.int64) for name in paths}
    ious, masks = ({name: [] for name in paths} for _ in range(2))
    disagreements = {
        number: Disagreement(zeros(), zeros()) for number, run in enumerate(runs) if run.float_student
    }
    for label, predicted in _predictions(predictors, source, indices):
        for name, prediction in predicted.items():
            confusion = metrics.confusion_matrix(label, prediction, info.num_classes, info.ignore_label)
            confusions[name] += confusion
            ious[name].append(metrics.iou(confusion))
            masks[name].append(pack(prediction))
        for number, counts in disagreements.items():
            before, after = (predicted[keys[number, stage]] for stage in (runs[number].float_student, "int8"))
            counts.add(label, before, after, info.ignore_label)
    return Examination(
        source,
        indices,
        {key: confusions[name] for key, name in keys.items()},
        ious={key: np.array(ious[name]) for key, name in keys.items()},
        masks={key: masks[name] for key, name in keys.items()},
        disagreements=disagreements,
        widths={
            # A teacher's layers may have the same names as the student's.
            number: _widest(
                widths.get(name, {})
                for (of, stage), name in keys.items()
                if of == number and stage != "teacher"
            )
            for number in range(len(runs))
        },
    )


def chosen(examination: Examination, finals: Sequence[Key], count: int) -> list[int]:
    """Selects the images to show: the worst, and as many evenly spaced others.

    Args:
        examination: The predictions.
        finals: The networks whose mean decides which are worst.
        count: The number of images.

    Returns:
        Positions in `examination.indices`, worst first.
    """
    scores = np.mean([mean_of_frames(examination.ious[key]) for key in finals], axis=0)
    order = np.argsort(scores, kind="stable").tolist()
    worst, others = order[: (count + 1) // 2], order[(count + 1) // 2 :]
    return worst + [others[position] for position in spread(len(others), count // 2)]


def mean_of_frames(ious: np.ndarray) -> np.ndarray:
    """Returns the mean IoU of each image over its classes; 1 without any."""
    present = ~np.isnan(ious)
    return np.where(present.any(1), np.nansum(ious, 1) / np.maximum(present.sum(1), 1), 1.0)


def pictures(examination: Examination, positions: Sequence[int]) -> list[dict]:
    """Returns images for the page, as many as fit.

    Args:
        examination: The predictions.
        positions: The positions of the images, in order.
    """
    found, size = [], 0
    for position in positions:
        index = examination.indices[position]
        image, label = examination.source[index]
        height, width = _shown_size(label)
        image = {
            "name": examination.source.names[index],
            "width": width,
            "height": height,
            "image": _webp(resize_image(image, (height, width))),
            "label": _text(pack(label)),
            "masks": {_name(key): _text(masks[position]) for key, masks in examination.masks.items()},
            "iou": {_name(key): _scores(ious[position]) for key, ious in examination.ious.items()},
        }
        size += len(image["image"]) + len(image["label"]) + sum(map(len, image["masks"].values()))
        if size > _MOST_BYTES and found:
            break
        found.append(image)
    return found


def pack(mask: np.ndarray) -> bytes:
    """Returns labels at report size, row by row, compressed."""
    return zlib.compress(resize_mask(mask.astype(np.uint8), _shown_size(mask)).tobytes(), 9)


def _predictions(
    predictors: Mapping[str, Predictor], source: Source, indices: Sequence[int]
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Yields the label of each image, and the predictions of each network at its size."""
    for start in counted(range(0, len(indices), _BATCH), "running the networks"):
        examples = [source[index] for index in indices[start : start + _BATCH]]
        predicted = [{} for _ in examples]
        for name, predictor in predictors.items():
            logits = predictor.logits(
                np.stack([resize_image(image, predictor.size) for image, _ in examples])
            )
            for predictions, of_one, (_, label) in zip(predicted, logits, examples, strict=True):
                predictions[name] = metrics.labels_at(of_one, label.shape)
        yield from ((label, predictions) for (_, label), predictions in zip(examples, predicted, strict=True))


def _open(path: Path, widths: dict[str, int]) -> keras.Model | Path:
    if path.suffix == ".tflite":
        return path
    model = models.load(path)
    # Layers with a kernel: activations and norms have the same channels.
    convolutions = [
        layer for layer in model.layers if any("kernel" in weight.name for weight in layer.weights)
    ]
    widths |= {layer.name: layer.output_shape[-1] for layer in convolutions}
    return model


def _widest(networks) -> dict[str, int]:
    found = {}
    for widths in networks:
        for name, width in widths.items():
            found[name] = max(width, found.get(name, 0))
    return found


def _shown_size(mask: np.ndarray) -> tuple[int, int]:
    height, width = mask.shape
    shown = min(width, WIDTH)
    return max(1, round(height * shown / width)), shown


def _scores(ious: np.ndarray) -> list[float | None]:
    """Returns the mean IoU of the image, and the IoU of each class."""
    values = [*mean_of_frames(ious[None]), *ious]
    return [None if np.isnan(value) else round(float(value), 4) for value in values]


def _name(key: Key) -> str:
    return f"{key[0]}/{key[1]}"


def _webp(image: np.ndarray) -> str:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "WEBP", quality=80, method=4)
    return f"data:image/webp;base64,{_text(content.getvalue())}"


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
