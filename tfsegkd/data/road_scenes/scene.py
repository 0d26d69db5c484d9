"""What a scene is made of; nothing here knows of pixels.

The road frame: x metres to the right of the road's middle, y metres up, z metres ahead of the camera. A
bend moves everything sideways by bend·z²/2 when it is projected.
"""

from dataclasses import dataclass

from tfsegkd.data.road_scenes.things import Color, Thing

FAR = 90.0  # metres; beyond it there is only the backdrop


@dataclass(frozen=True)
class Camera:
    """Where the picture is taken from; `focal` and `centre` are in image widths, `horizon` in heights."""

    focal: float
    centre: float
    horizon: float
    height: float
    x: float
    roll: float
    bend: float


@dataclass(frozen=True)
class Street:
    """The ground and the lines along which things are placed; lengths in metres."""

    half_width: float
    sidewalk: float
    lots: tuple[float, float]  # x of the left and the right building line
    crossing: tuple[float, float] | None  # z where a side street begins and ends
    zebra: bool
    asphalt: Color
    paving: Color
    tile: float
    paint: float  # how fresh the lane markings are, 0…1
    patches: tuple[tuple[float, float, float, float, float], ...]  # repairs: x0, x1, z0, z1, shade


@dataclass(frozen=True)
class Light:
    """Sun and sky; `sun` points to the sun, `ambient` is the share of light that shadows keep."""

    kind: str
    sun: tuple[float, float, float]
    ambient: float
    color: tuple[float, float, float]
    sky_top: Color
    sky_low: Color
    clouds: float
    glare: float

    @property
    def night(self) -> bool:
        return self.kind == "night"

    def shade(self, x: float, y: float, z: float) -> float:
        """How bright a surface with this normal is, 1 for one that faces the sun."""
        facing = max(0.0, x * self.sun[0] + y * self.sun[1] + z * self.sun[2])
        return self.ambient + (1.0 - self.ambient) * min(1.0, 1.25 * facing)


@dataclass(frozen=True)
class Weather:
    """`fog` is the extinction per metre, `rain` runs from 0 (dry) to 1."""

    fog: float
    rain: float


@dataclass(frozen=True)
class Sensor:
    """What the camera does to the light; `noise` in grey levels, `blur` the share taken by a neighbour."""

    exposure: float
    white: tuple[float, float, float]
    gamma: float
    noise: float
    blur: float
    vignette: float


@dataclass(frozen=True)
class Scene:
    """One scene. `things` run from far to near; `grain` seeds everything that is drawn pixel by pixel."""

    camera: Camera
    street: Street
    light: Light
    weather: Weather
    sensor: Sensor
    things: tuple[Thing, ...]
    grain: int
