"""The pinhole camera, and the picture that things are painted on."""

import functools
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from tfsegkd.data.road_scenes.scene import Camera
from tfsegkd.data.road_scenes.things import Color

Point = tuple[float, float]


class View:
    """A camera at a picture size: from the road frame to pixels and, for planes, back.

    Args:
        camera: Where it stands and looks.
        height, width: Size of the picture in pixels.

    Shapes:
        right, down: (H, W), the slopes of the ray through each pixel.
    """

    def __init__(self, camera: Camera, height: int, width: int):
        self.camera, self.height, self.width = camera, height, width
        self.focal = camera.focal * width
        self._cos, self._sin = math.cos(camera.roll), math.sin(camera.roll)
        # Pixel (0, 0) has its middle at (0, 0), as the drawing routines have it.
        self._u, self._v = camera.centre * width - 0.5, camera.horizon * height - 0.5
        u = (np.arange(width, dtype=np.float32) - self._u)[None, :] / self.focal
        v = (np.arange(height, dtype=np.float32) - self._v)[:, None] / self.focal
        self.right = (u * self._cos + v * self._sin).astype(np.float32)
        self.down = (v * self._cos - u * self._sin).astype(np.float32)

    def across(self, x: float, z: float) -> float:
        """Metres to the right of the camera, for a point of the road frame."""
        return x + self.camera.bend * z * z / 2 - self.camera.x

    def point(self, x: float, y: float, z: float) -> Point:
        """The pixel at which a point of the road frame appears."""
        z = max(z, 0.3)
        a = self.focal * self.across(x, z) / z
        b = self.focal * (self.camera.height - y) / z
        return self._u + a * self._cos - b * self._sin, self._v + a * self._sin + b * self._cos

    def direction(self, x: float, y: float, z: float) -> Point:
        """The pixel at which something infinitely far away appears."""
        a, b = self.focal * x / z, -self.focal * y / z
        return self._u + a * self._cos - b * self._sin, self._v + a * self._sin + b * self._cos


class Canvas:
    """Keeps color, identity and, at night, own light of what was painted last on each pixel.

    Args:
        color: (H, W, 3), uint8: what lies behind everything.
        labels: (H, W), uint8, its labels.
        lit: Whether to keep a plane of own light.
    """

    def __init__(self, color: np.ndarray, labels: np.ndarray, lit: bool):
        self.size = color.shape[1], color.shape[0]
        self._color = Image.fromarray(color)
        self._ident = Image.new("I", self.size, 0)
        self._shine = Image.new("L", self.size, 0) if lit else None
        self._brush, self._stamp = ImageDraw.Draw(self._color), ImageDraw.Draw(self._ident)
        self._torch = ImageDraw.Draw(self._shine) if lit else None
        self._behind = labels
        self._labels, self._depths, self._current = [0], [0.0], 0

    def begin(self, label: int, depth: float) -> None:
        """Everything painted from now on has this label and distance."""
        self._current += 1
        self._labels.append(label)
        self._depths.append(depth)

    def polygon(self, points: Sequence[Point], color: Color, shine: int = 0) -> None:
        self._brush.polygon(points, _bytes(color))
        self._stamp.polygon(points, self._current)
        if self._torch:
            self._torch.polygon(points, shine)

    def line(self, points: Sequence[Point], width: float, color: Color, shine: int = 0) -> None:
        pixels = max(1, round(width))
        self._brush.line(points, _bytes(color), pixels)
        self._stamp.line(points, self._current, pixels)
        if self._torch:
            self._torch.line(points, shine, pixels)

    def disc(self, middle: Point, across: float, up: float, color: Color, shine: int = 0) -> None:
        """An ellipse with these half axes, in pixels."""
        box = _box(middle, across, up)
        self._brush.ellipse(box, _bytes(color))
        self._stamp.ellipse(box, self._current)
        if self._torch:
            self._torch.ellipse(box, shine)

    def ring(self, middle: Point, across: float, up: float, color: Color, width: float) -> None:
        """An ellipse's line; what one sees through it belongs to the thing, as annotators have it."""
        box = _box(middle, across, up)
        self._brush.ellipse(box, None, _bytes(color), max(1, round(width)))
        self._stamp.ellipse(box, self._current)

    def paste(
        self,
        corner: tuple[int, int],
        patch: np.ndarray,
        opaque: np.ndarray,
        solid: np.ndarray,
        shine: np.ndarray | None,
    ) -> None:
        """Lays a uint8 patch where the mask `opaque` says so; it counts as the thing wherever `solid`."""
        seen = Image.fromarray(opaque.view(np.uint8) * np.uint8(255))
        solid = seen if solid is opaque else Image.fromarray(solid.view(np.uint8) * np.uint8(255))
        self._color.paste(Image.fromarray(patch), corner, seen)
        self._ident.paste(self._current, (*corner, corner[0] + solid.width, corner[1] + solid.height), solid)
        if self._shine:
            light = np.zeros(patch.shape[:2], np.uint8) if shine is None else shine
            self._shine.paste(Image.fromarray(light), corner, solid)

    def planes(self, far: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """What came of it.

        Args:
            far: (H, W), the distance of what lies behind everything.

        Returns:
            Color (H, W, 3) uint8, labels (H, W) uint8, distance (H, W) float32, own light (H, W) uint8.
        """
        ident = np.asarray(self._ident)
        behind = ident == 0
        labels = np.where(behind, self._behind, np.array(self._labels, np.uint8).take(ident))
        depths = np.where(behind, far, np.array(self._depths, np.float32).take(ident))
        shine = None if self._shine is None else np.asarray(self._shine)
        return np.asarray(self._color), labels, depths, shine


def _box(middle: Point, across: float, up: float) -> tuple[float, float, float, float]:
    return middle[0] - across, middle[1] - up, middle[0] + across, middle[1] + up


def _bytes(color: Color) -> tuple[int, int, int]:
    r, g, b = color
    return min(255, max(0, int(r))), min(255, max(0, int(g))), min(255, max(0, int(b)))


@functools.cache
def grain_tile() -> np.ndarray:
    """(256, 256) float32 white noise, mean 0 and deviation 1, that textures look up in metres."""
    return _frozen(np.random.default_rng(1).standard_normal((256, 256), np.float32))


@functools.cache
def cloud_tile() -> np.ndarray:
    """(256, 256) float32 smooth noise of several scales, about -1…1."""
    draw = np.random.default_rng(2)
    total = np.zeros((256, 256), np.float32)
    for cells, weight in ((4, 1.0), (8, 0.7), (16, 0.45), (32, 0.3), (64, 0.2)):
        rough = Image.fromarray(draw.standard_normal((cells, cells), np.float32))
        total += weight * np.asarray(rough.resize((256, 256), Image.Resampling.BICUBIC))
    return _frozen(total / (2 * total.std()))


def look_up(tile: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The tile, repeated without end, at these real coordinates (the cell they fall in)."""
    # Cutting off the fraction rounds down only what is positive.
    cells = ((rows + 8192).astype(np.int32) & 255) * 256 + ((columns + 8192).astype(np.int32) & 255)
    return tile.ravel().take(cells)


def fraction(values: np.ndarray) -> np.ndarray:
    """What lies behind the decimal point; many times faster than `values % 1`."""
    return values - np.floor(values)


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
