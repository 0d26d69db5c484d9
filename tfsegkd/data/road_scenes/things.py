"""The things that stand in a street; lengths in metres, in the road frame (see scene.py)."""

from dataclasses import dataclass
from typing import ClassVar

Color = tuple[float, float, float]

SKY, BUILDING, POLE, ROAD, SIDEWALK, TREE, SIGN, FENCE, CAR, PERSON, BICYCLIST = range(11)


@dataclass(frozen=True)
class Thing:
    """Anything that stands on the ground; `z` is where its nearest point is."""

    label: ClassVar[int]
    x: float
    z: float

    @property
    def order(self) -> float:
        """Things are painted by falling order."""
        return self.z


@dataclass(frozen=True)
class Wall(Thing):
    """An upright plane from (x, z) to (x1, z1): a facade, a hedge or a fence."""

    x1: float
    z1: float
    height: float
    color: Color
    accent: Color
    normal: tuple[float, float]  # x and z of the side we see
    kind: str  # "building", "hedge", "planks", "rails"
    bay: float
    storey: float
    window: tuple[float, float]
    shop: bool
    brick: bool
    roof: float  # metres that a sloping roof rises above the wall
    key: int

    @property
    def label(self) -> int:
        return {"building": BUILDING, "hedge": TREE}.get(self.kind, FENCE)

    @property
    def order(self) -> float:
        # What stands before a long wall must be painted after it, however near the wall's near end is.
        return max(self.z, self.z1)


@dataclass(frozen=True)
class Tree(Thing):
    """A trunk under a crown of `blobs`: each x, y, radius in crown radii, and a brightness."""

    label: ClassVar[int] = TREE
    trunk: float
    girth: float
    crown: tuple[float, float]
    color: Color
    bark: Color
    blobs: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class Post(Thing):
    """A pole that may carry a lamp arm, signs, or a traffic light; the things it carries are signs."""

    label: ClassVar[int] = POLE
    height: float
    radius: float
    arm: float
    color: Color
    plates: tuple[tuple[str, float, float, Color], ...]  # shape, height of its middle, size, color


@dataclass(frozen=True)
class Car(Thing):
    """A car, van or lorry along the road; `heading` 1 drives away from us."""

    label: ClassVar[int] = CAR
    body: str
    size: tuple[float, float, float]  # width, height, length
    heading: int
    color: Color


@dataclass(frozen=True)
class Person(Thing):
    """Someone on foot: `stride` and `swing` bend the legs and arms."""

    label: ClassVar[int] = PERSON
    height: float
    width: float
    stride: float
    swing: float
    lean: float
    top: Color
    legs: Color
    skin: Color
    bag: bool


@dataclass(frozen=True)
class Bicyclist(Thing):
    """Someone on a bicycle, seen by `turn` from behind (0) to the side (±1)."""

    label: ClassVar[int] = BICYCLIST
    turn: float
    pedal: float
    height: float
    top: Color
    legs: Color
    skin: Color
    frame: Color
