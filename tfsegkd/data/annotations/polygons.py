"""Masks from polygons and RLE."""

import numpy as np


def fill(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the pixels whose center is in a polygon, (H, W) bool, by the even-odd rule.

    Args:
        points: (n, 2), x and y in pixels; (0, 0) is the corner of the first pixel, (0.5, 0.5) its center.
        size: (H, W).
    """
    height, width = size
    begin, end = points, np.roll(points, -1, 0)
    # Rows whose center an edge crosses, with its lower end but not its upper one.
    low = np.ceil(np.minimum(begin[:, 1], end[:, 1]) - 0.5).clip(0, height).astype(int)
    high = np.ceil(np.maximum(begin[:, 1], end[:, 1]) - 0.5).clip(0, height).astype(int)
    edges = np.repeat(np.arange(len(points)), high - low)
    rows = np.arange(len(edges)) - np.repeat(np.cumsum(high - low) - high, high - low)
    (x0, y0), (x1, y1) = begin[edges].T, end[edges].T
    crossings = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
    columns = np.ceil(crossings - 0.5).clip(0, width).astype(int)
    counts = np.bincount(rows * (width + 1) + columns, minlength=height * (width + 1))
    inside = counts.reshape(height, width + 1).cumsum(1, dtype=np.int32) % 2 == 1
    return inside[:, :width]


def paint(mask: np.ndarray, points: np.ndarray, label: int) -> None:
    """Sets the label of the pixels of a mask, (H, W), whose center is in a polygon; see `fill`."""
    left, top = np.floor(points.min(0)).clip(0, mask.shape[::-1]).astype(int)
    right, bottom = np.ceil(points.max(0)).clip(0, mask.shape[::-1]).astype(int)
    part = mask[top:bottom, left:right]
    part[fill(points - (left, top), part.shape)] = label


def area(points: np.ndarray) -> float:
    """Returns the area of a polygon."""
    x, y = points.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def circle(center, edge) -> np.ndarray:
    """Returns a circle through `edge` as a polygon."""
    center = np.asarray(center, float)
    radius = np.hypot(*(np.asarray(edge, float) - center))
    angles = np.linspace(0, 2 * np.pi, max(12, int(4 * radius)), endpoint=False)
    return center + radius * np.stack([np.cos(angles), np.sin(angles)], -1)


def from_runs(counts, size: tuple[int, int]) -> np.ndarray:
    """Returns the mask of uncompressed RLE, (H, W) bool: lengths of runs of 0, 1, 0, … down the columns.

    Raises:
        ValueError: if the sum of the runs is not the size of the mask.
    """
    counts = np.asarray(counts)
    if (
        counts.ndim != 1
        or counts.dtype.kind not in "iu"
        or (counts < 0).any()
        or counts.sum() != np.prod(size)
    ):
        raise ValueError(f"its runs do not make up the {size[0]}×{size[1]} pixels of its size")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size[::-1]).T
