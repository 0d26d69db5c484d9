"""Plots of predictions."""

from collections.abc import Mapping
from os import PathLike

import numpy as np
from PIL import Image, ImageDraw

from tfsegkd._keras import keras
from tfsegkd.data import DatasetInfo, Source, resize_image, spread
from tfsegkd.evaluation.predictor import Predictor
from tfsegkd.metrics import labels_at

_HEADER = 18
_COLUMN = 240  # pixels
_OPACITY = 0.6


def colored(mask: np.ndarray, info: DatasetInfo) -> np.ndarray:
    """Returns labels as colors; void is white.

    Args:
        mask: (H, W) labels.
        info: Whose palette to use.

    Returns:
        (H, W, 3) uint8.

    Shapes:
        mask: (H, W). returns: (H, W, 3), uint8.

    Example:
        image, mask = source[0]
        evaluation.colored(mask, info).shape  # (32, 48, 3)
    """
    palette = np.full((256, 3), 255, np.uint8)
    palette[: info.num_classes] = info.palette
    return palette[mask]


def overlay(image: np.ndarray, mask: np.ndarray, info: DatasetInfo) -> np.ndarray:
    """Returns the image with its labels overlaid in color.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) labels.
        info: Whose palette to use.

    Returns:
        (H, W, 3) uint8.

    Shapes:
        image: (H, W, 3) uint8. mask: (H, W). returns: (H, W, 3), uint8.

    Example:
        image, mask = source[0]
        evaluation.overlay(image, mask, info).shape  # (32, 48, 3)
    """
    mixed = _OPACITY * colored(mask, info) + (1 - _OPACITY) * image
    return np.where((mask == info.ignore_label)[..., None], image, mixed).astype(np.uint8)


def overlays(
    path: str | PathLike,
    source: Source,
    networks: Mapping[str, keras.Model | str | PathLike],
    count: int,
) -> None:
    """Draws image, label and the prediction of each network, one example per row, as PNG.

    Args:
        path: The file to write.
        source: The examples, of which `count` evenly spaced ones are drawn.
        networks: The networks, by column title.
        count: The number of rows.

    Example:
        evaluation.overlays("overlays.png", source, {"student": student}, count=2)
    """
    indices = spread(len(source), count)
    predictors = {title: Predictor(network) for title, network in networks.items()}
    rows = []
    for index in indices:
        image, mask = source[index]
        cells = [image, overlay(image, mask, source.info)]
        for predictor in predictors.values():
            logits = predictor.logits(resize_image(image, predictor.size)[None])[0]
            cells.append(overlay(image, labels_at(logits, mask.shape), source.info))
        height = _COLUMN * mask.shape[0] // mask.shape[1]
        rows.append(np.hstack([resize_image(cell, (height, _COLUMN)) for cell in cells]))
    drawn = np.vstack(rows)
    picture = Image.new("RGB", (drawn.shape[1], _HEADER + drawn.shape[0]), "white")
    picture.paste(Image.fromarray(drawn), (0, _HEADER))
    draw = ImageDraw.Draw(picture)
    for column, title in enumerate(["image", "label", *networks]):
        draw.text((column * _COLUMN + 4, 3), title, fill="black")
    picture.save(path)
