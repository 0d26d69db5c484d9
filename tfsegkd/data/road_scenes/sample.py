"""Draws a scene at random: its street, camera, light and weather."""

from random import Random

from tfsegkd.data.road_scenes.populate import PAVING, populate, tinted
from tfsegkd.data.road_scenes.scene import Camera, Light, Scene, Sensor, Street, Weather


def sample_scene(seed: int, split: str, index: int) -> Scene:
    """The scene with this address; always the same one, and unlike any other split's."""
    # A string is hashed whole, so that no two addresses run into each other as sums of numbers would.
    draw = Random(f"tfsegkd road scene {seed}/{split}/{index}")
    half_width = draw.uniform(2.8, 5.5)
    sidewalk = draw.uniform(1.8, 4.0)
    camera = _camera(draw, half_width, sidewalk)
    street = _street(draw, half_width, sidewalk)
    light = _light(draw)
    weather = _weather(draw)
    things = populate(draw, camera, street)
    return Scene(camera, street, light, weather, _sensor(draw, light.night), things, draw.getrandbits(64))


def _camera(draw: Random, half_width: float, sidewalk: float) -> Camera:
    on_foot = draw.random() < 0.2
    side = draw.choice((-1, 1))
    offset = (
        half_width + draw.uniform(0.3, 0.6) * sidewalk if on_foot else half_width * draw.uniform(0.1, 0.6)
    )
    return Camera(
        focal=draw.uniform(0.62, 1.05),
        # From the pavement one looks a little towards the road.
        centre=0.5 + (side * 0.12 if on_foot else 0.0) + draw.uniform(-0.12, 0.12),
        horizon=draw.uniform(0.36, 0.54),
        height=draw.uniform(1.45, 1.75) if on_foot else draw.uniform(1.15, 2.3),
        x=side * offset,
        roll=draw.gauss(0.0, 0.018),
        bend=draw.choice((0.0, 1.0)) * draw.gauss(0.0, 0.004),
    )


def _street(draw: Random, half_width: float, sidewalk: float) -> Street:
    setback = half_width + sidewalk
    crossing = None
    if draw.random() < 0.35:
        start = draw.uniform(10.0, 35.0)
        crossing = (start, start + draw.uniform(6.0, 12.0))
    grey = draw.uniform(58, 128)
    patches = []
    for _ in range(draw.randrange(4)):
        x, z = draw.uniform(-half_width, half_width), draw.uniform(3.0, 25.0)
        patches.append((x, x + draw.uniform(0.4, 2.0), z, z + draw.uniform(0.5, 6.0), draw.uniform(0.7, 1.2)))
    return Street(
        half_width=half_width,
        sidewalk=sidewalk,
        lots=(-setback - draw.uniform(0.0, 2.5), setback + draw.uniform(0.0, 2.5)),
        crossing=crossing,
        zebra=draw.random() < 0.7,
        asphalt=tinted(draw, (grey, grey, grey * draw.uniform(0.95, 1.08)), 4),
        paving=tinted(draw, draw.choice(PAVING), 14),
        tile=draw.uniform(0.4, 1.2),
        paint=draw.choice((0.0, 1.0, 1.0, 1.0)) * draw.uniform(0.25, 1.0),
        patches=tuple(patches),
    )


def _light(draw: Random) -> Light:
    kind = draw.choices(("clear", "overcast", "low sun", "night"), (35, 30, 20, 15))[0]
    around, facing = draw.uniform(-1.0, 1.0), draw.choice((-1, 1))
    if kind == "clear":
        height, ambient, color = draw.uniform(0.6, 1.6), draw.uniform(0.38, 0.55), (1.02, 1.0, 0.96)
        top, low = (70, 120, 200), (185, 208, 230)
    elif kind == "overcast":
        height, ambient, color = 3.0, draw.uniform(0.8, 0.95), (0.92, 0.95, 0.99)
        grey = draw.uniform(135, 225)
        top, low = (grey * 0.88, grey * 0.9, grey * 0.94), (grey, grey, grey)
    elif kind == "low sun":
        height, ambient = draw.uniform(0.15, 0.4), draw.uniform(0.4, 0.6)
        dim = draw.uniform(0.6, 0.95)
        color = (1.1 * dim, 0.92 * dim, 0.76 * dim)
        top, low = (95, 115, 165), (235, draw.uniform(150, 200), draw.uniform(100, 160))
    else:
        height, ambient = 1.0, 0.9
        dim = draw.uniform(0.22, 0.42)
        color = (dim * 1.05, dim * 0.98, dim * draw.uniform(0.8, 1.15))
        top, low = (14, 16, 28), (38, 36, 44)
    length = (around**2 + height**2 + 1.0) ** 0.5
    return Light(
        kind=kind,
        sun=(around / length, height / length, facing * (1.0 - abs(around) * 0.5) / length),
        ambient=ambient,
        color=color,
        sky_top=tinted(draw, top, 3 if kind == "night" else 12),
        sky_low=tinted(draw, low, 3 if kind == "night" else 10),
        clouds=draw.uniform(0.0, 1.0) if kind != "night" else 0.0,
        glare=draw.uniform(0.4, 1.0) if kind == "low sun" and facing > 0 else 0.0,
    )


def _weather(draw: Random) -> Weather:
    kind = draw.choices(("dry", "haze", "fog", "rain"), (50, 18, 14, 18))[0]
    fog = {"dry": (0.0005, 0.002), "haze": (0.003, 0.01), "fog": (0.015, 0.045), "rain": (0.002, 0.012)}[kind]
    return Weather(fog=draw.uniform(*fog), rain=draw.uniform(0.3, 1.0) if kind == "rain" else 0.0)


def _sensor(draw: Random, night: bool) -> Sensor:
    warm = draw.gauss(0.0, 0.06)
    return Sensor(
        exposure=draw.uniform(0.8, 1.3),
        white=(1.0 + warm, 1.0 + draw.gauss(0.0, 0.015), 1.0 - warm),
        gamma=draw.uniform(0.82, 1.2),
        noise=draw.uniform(3.0, 10.0) if night else draw.uniform(1.0, 6.0),
        blur=draw.uniform(0.06, 0.26),
        vignette=draw.uniform(0.0, 0.45),
    )
