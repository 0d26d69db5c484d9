"""A source whose masks are drawn from outlines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfsegkd.data.annotations.polygons import area, paint
from tfsegkd.data.images import read_image, size_and_orientation, upright
from tfsegkd.data.source import DatasetInfo, Source

ORDERS = ("area", "file")


@dataclass(frozen=True)
class Region:
    """An annotated region.

    Args:
        label: Its class.
        where: Its name in messages, such as "annotation 7 of 'a.json'".
        polygons: Its outlines, (n, 2) of x and y in pixels each; their union is the region.
        mask: Returns the pixels, (H, W) bool, instead of outlines.
    """

    label: int
    where: str
    polygons: Sequence[np.ndarray] = ()
    mask: Callable[[], np.ndarray] | None = None


@dataclass(frozen=True)
class Annotated:
    """An image and its regions.

    Args:
        name: The name of the example.
        image: The file.
        regions: Returns the regions for the (height, width) of the image.
        size: The annotated (height, width), if the annotations contain it.
        files: The files of its annotations, which may be those of other images, too.
    """

    name: str
    image: Path
    regions: Callable[[tuple[int, int]], Sequence[Region]]
    size: tuple[int, int] | None = None
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Drawing:
    """How masks are drawn from regions.

    Args:
        rest: The label of pixels without a region.
        order: Which of two overlapping regions wins: 'area', the smaller, or 'file', the later in the file.
        like_image: Whether the stored pixels of photographs were annotated, rather than the upright ones.
    """

    rest: int
    order: str = "area"
    like_image: bool = False


class AnnotatedSource(Source):
    """Images with masks that are drawn from outlines on access.

    Args:
        info: The classes.
        examples: The images.
        drawing: How masks are drawn.
        notes: As of `Source`.
    """

    def __init__(
        self, info: DatasetInfo, examples: Sequence[Annotated], drawing: Drawing, notes: Sequence[str] = ()
    ):
        super().__init__(info, [example.name for example in examples])
        self.examples, self.drawing, self.notes = list(examples), drawing, tuple(notes)

    def files_of(self, index: int) -> tuple[Path, ...]:
        return (self.examples[index].image, *self.examples[index].files)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        example = self.examples[index]
        image, orientation = read_image(example.image), 1
        size = image.shape[:2]
        if self.drawing.like_image:
            size, orientation = size_and_orientation(example.image)
        if example.size and tuple(example.size) != size:
            raise ValueError(
                f"Image {str(example.image)!r} is {size[0]}×{size[1]} but was annotated at "
                f"{example.size[0]}×{example.size[1]} (height × width). Expected equal sizes. Give the "
                f"images that were annotated, or export the annotations again."
            )
        return image, upright(draw(example.regions(size), size, self.drawing), orientation)


def draw(regions: Sequence[Region], size: tuple[int, int], drawing: Drawing) -> np.ndarray:
    """Draws the mask of an image, (H, W) uint8.

    Raises:
        ValueError: for a region without an outline, with an invalid one, or outside of the image.
    """
    mask = np.full(size, drawing.rest, np.uint8)
    drawn = [(region, _checked(region, size)) for region in regions]
    if drawing.order == "area":
        drawn.sort(key=lambda each: -_area(*each))  # in file order for equal areas
    for region, decoded in drawn:
        if decoded is not None:
            box, pixels = decoded
            mask[box][pixels] = region.label
        for points in region.polygons:
            paint(mask, points, region.label)
    return mask


def _area(region: Region, decoded: tuple | None) -> float:
    return sum(map(area, region.polygons)) if decoded is None else float(decoded[1].sum())


def _checked(region: Region, size: tuple[int, int]) -> tuple[tuple[slice, slice], np.ndarray] | None:
    """Returns the box of a mask and its pixels there, decoded once; None for outlines."""
    if region.mask is None:
        _check_outlines(region, size)
        return None
    pixels = region.mask()
    if pixels.shape != tuple(size):
        height, width = pixels.shape
        raise _fault(region, f"is a mask of {height}×{width} for an image of {size[0]}×{size[1]}")
    rows, columns = (np.flatnonzero(pixels.any(axis)) for axis in (1, 0))
    # An image may have hundreds of masks, most of them small.
    box = tuple(slice(found[0], found[-1] + 1) if len(found) else slice(0) for found in (rows, columns))
    return box, pixels[box].copy()


def _check_outlines(region: Region, size: tuple[int, int]) -> None:
    if not len(region.polygons):
        raise _fault(region, "has no outline, perhaps only a box")
    for points in region.polygons:
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
            raise _fault(region, f"is an outline of {len(points)} points")
        if not np.isfinite(points).all():
            raise _fault(region, "has a point that is not finite")
        low, high = points.min(0), points.max(0)
        if (low >= size[::-1]).any() or (high <= 0).any():
            raise _fault(
                region,
                f"lies outside the image of {size[0]}×{size[1]} (height × width): x {low[0]:g}…{high[0]:g}, "
                f"y "
                f"{low[1]:g}…{high[1]:g}",
            )


def _fault(region, what):
    return ValueError(
        f"{region.where} {what}. Expected an outline of three points or more, in the image. Correct or "
        f"delete it, or leave such examples out with `skip_bad=True`."
    )
