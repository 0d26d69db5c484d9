"""Puts houses, gardens, posts, cars and people into an empty street, by chance."""

from random import Random

from tfsegkd.data.road_scenes.scene import FAR, Camera, Street
from tfsegkd.data.road_scenes.things import Bicyclist, Car, Color, Person, Post, Thing, Tree, Wall

# Many of these greys, browns and greens are shared between classes on purpose: color alone must not do.
FACADES = (
    (128, 126, 124), (96, 94, 96), (176, 172, 166), (205, 200, 190), (146, 92, 74), (122, 74, 62),
    (190, 164, 128), (164, 178, 192), (108, 116, 104), (70, 72, 78), (222, 214, 196), (150, 140, 120),
)  # fmt: skip
PAVING = ((140, 138, 134), (118, 114, 110), (164, 158, 148), (96, 96, 98), (150, 128, 112), (128, 106, 94))
LEAVES = (
    (62, 88, 42),
    (84, 104, 48),
    (48, 72, 44),
    (104, 112, 52),
    (128, 104, 44),
    (78, 84, 60),
    (96, 76, 50),
)
CARS = (
    (24, 24, 28), (52, 54, 58), (98, 100, 104), (150, 152, 156), (214, 214, 212), (236, 236, 234),
    (136, 28, 30), (36, 58, 112), (46, 76, 56), (150, 132, 100), (92, 112, 136), (180, 120, 40),
)  # fmt: skip
CLOTHES = (
    (30, 30, 36), (60, 62, 68), (44, 54, 92), (120, 116, 110), (188, 184, 178), (142, 44, 44),
    (62, 88, 58), (150, 124, 84), (96, 66, 52), (206, 178, 60), (86, 118, 156), (30, 44, 34),
)  # fmt: skip
SIGNS = ((190, 30, 34), (34, 70, 160), (226, 188, 40), (36, 104, 62), (226, 226, 222), (200, 110, 36))
BODIES = {  # width, height, length
    "sedan": (1.8, 1.45, 4.5),
    "hatch": (1.75, 1.5, 3.9),
    "van": (2.0, 2.1, 5.0),
    "lorry": (2.4, 3.1, 7.5),
}
METAL = ((92, 94, 96), (58, 60, 62), (140, 142, 142), (48, 62, 54), (112, 98, 84), (170, 170, 166))


def tinted(draw: Random, color: Color, spread: float) -> Color:
    """`color`, brighter or darker by chance and a little off in hue."""
    level = 2.5 * spread * (draw.random() + draw.random() - 1.0)
    hue = 1.2 * spread
    r, g, b = (c + level + hue * (draw.random() - 0.5) for c in color)
    return max(4.0, r), max(4.0, g), max(4.0, b)


def populate(draw: Random, camera: Camera, street: Street) -> tuple[Thing, ...]:
    """Fills the street, far things first."""
    built = draw.betavariate(1.2, 0.8)  # from a green suburb (0) to a closed street front (1)
    everything: list[Thing] = _backdrop(draw, camera, built)
    for side in (-1, 1):
        everything += _frontage(draw, camera, street, side, built)
        everything += _kerbside(draw, street, side, built)
    everything += _traffic(draw, camera, street)
    everything += _people(draw, camera, street)
    return tuple(sorted(everything, key=lambda thing: -thing.order))


def _wall(draw, x, z, x1, z1, kind, height, color, normal, **style) -> Wall:
    width = draw.uniform(0.18, 0.38)
    drawn = {
        "accent": tinted(draw, draw.choice(SIGNS + CLOTHES), 12),
        "bay": draw.uniform(1.6, 3.6),
        "storey": draw.uniform(2.7, 3.6),
        "window": (width, draw.uniform(0.35, 0.6)),
        "shop": draw.random() < 0.35,
        "brick": draw.random() < 0.5,
        "roof": 0.0,
        "key": draw.randrange(256),
    }
    return Wall(x, z, x1, z1, height, color, normal=normal, kind=kind, **drawn | style)


def _backdrop(draw, camera, built) -> list[Thing]:
    """Houses and woods across the end of the road."""
    if draw.random() < 0.1:
        return []
    z, walls = FAR * 1.5, []
    shift = camera.x - camera.bend * z * z / 2  # the backdrop fills the view, wherever the road bends
    x = -1.1 * z
    while x < 1.1 * z:
        width = draw.uniform(14, 45)
        houses = draw.random() < built
        color = tinted(draw, draw.choice(FACADES if houses else LEAVES), 10)
        height = draw.uniform(6, 32) if houses else draw.uniform(4, 14)
        kind = "building" if houses else "hedge"
        walls.append(
            _wall(draw, x + shift, z, x + width + shift, z, kind, height, color, (0.0, -1.0), shop=False)
        )
        x += width
    return walls


def _frontage(draw, camera, street, side, built) -> list[Thing]:
    """What closes the pavement off: houses wall to wall, or fences with gardens behind."""
    line = street.lots[side > 0]
    line = side * max(abs(line), side * camera.x + 0.9)
    found: list[Thing] = []
    z, floors, nearer = 0.6, draw.uniform(1.5, 5.0), 99.0
    while z < FAR:
        if street.crossing and street.crossing[0] - 1.5 < z < street.crossing[1] + 1.0:
            z, nearer = street.crossing[1] + 1.5, 0.0
            continue
        end = z + draw.uniform(6, 18) * (1.0 + z / 60.0)  # far houses are too small to count
        if street.crossing and z < street.crossing[0] < end + 2:
            end = max(z + 0.5, street.crossing[0] - 1.5)
        if draw.random() > built:
            found += _garden(draw, line, side, z, end)
            nearer = 0.0
        else:
            height = max(3.2, 3.1 * (floors + draw.gauss(0.0, 0.8)))
            found += _house(draw, line, side, z, end, height, gable=height > nearer)
            nearer = height
        z = end
    return found


def _house(draw, line, side, z, end, height, gable) -> list[Wall]:
    color = tinted(draw, draw.choice(FACADES), 12)
    roof = draw.uniform(1.0, 3.0) if height < 11 and draw.random() < 0.7 else 0.0
    front = _wall(draw, line, z, line, end, "building", height, color, (-float(side), 0.0), roof=roof)
    if not gable:  # the neighbour hides it
        return [front]
    style = {name: getattr(front, name) for name in ("accent", "bay", "storey", "window", "brick", "key")}
    end_wall = _wall(
        draw, line, z + 0.01, line + side * draw.uniform(7, 12), z + 0.01, "building", height, color,
        (0.0, -1.0), shop=False, **style,
    )  # fmt: skip
    return [front, end_wall]


def _garden(draw, line, side, z, end) -> list[Thing]:
    found: list[Thing] = []
    normal = (-float(side), 0.0)
    leaves = tinted(draw, draw.choice(LEAVES), 10)
    if draw.random() < 0.35:
        back = line + side * draw.uniform(5, 9)
        found.append(
            _wall(draw, back, z, back, end + 0.02, "building", draw.uniform(5, 9),
                  tinted(draw, draw.choice(FACADES), 12), normal, roof=draw.uniform(1, 3), shop=False)
        )  # fmt: skip
    else:
        back = line + side * draw.uniform(1.5, 4)
        found.append(_wall(draw, back, z, back, end + 0.02, "hedge", draw.uniform(2.5, 6), leaves, normal))
    for _ in range(draw.randrange(3)):
        found.append(_tree(draw, line + side * draw.uniform(1.0, 3.5), draw.uniform(max(4.0, z), end + 4.0)))
    if draw.random() < 0.75:
        kind = draw.choice(("planks", "rails"))
        color = tinted(draw, draw.choice(METAL + PAVING + LEAVES[:2]), 12)
        height = draw.uniform(0.9, 1.9)
        found.append(
            _wall(draw, line, z, line, end, kind, height, color, normal, bay=draw.uniform(0.14, 0.3))
        )
    else:
        found.append(_wall(draw, line, z, line, end, "hedge", draw.uniform(1.0, 2.2), leaves, normal))
    return found


def _tree(draw, x, z) -> Tree:
    tall = draw.uniform(1.0, 2.1)
    conifer = draw.random() < 0.15
    radius = draw.uniform(1.0, 2.6)
    crown = (radius * 0.8, radius * 1.7) if conifer else (radius, radius * draw.uniform(0.8, 1.3))
    blobs = []
    for _ in range(34):
        y = 2.0 * draw.random() - 1.0
        room = (1.0 - y) * 0.5 if conifer else (1.0 - y * y) ** 0.5
        size = (0.16 + 0.26 * draw.random()) * (0.6 + 0.4 * room)
        blobs.append(((2.0 * draw.random() - 1.0) * room, y, size, 0.5 + 0.5 * draw.random() + 0.22 * y))
    blobs.sort(key=lambda blob: blob[3])  # bright leaves lie over dark ones
    color = tinted(draw, draw.choice(LEAVES), 10)
    bark = tinted(draw, (84, 72, 60), 14)
    return Tree(x, z, tall, draw.uniform(0.08, 0.22), crown, color, bark, tuple(blobs))


def _kerbside(draw, street, side, built) -> list[Thing]:
    """Lamps, signs and trees along the kerb."""
    found: list[Thing] = []
    kerb = side * (street.half_width + 0.45)
    lamps = draw.random() < 0.75
    metal = tinted(draw, draw.choice(METAL), 10)
    height, radius = draw.uniform(4.5, 8.0), draw.uniform(0.07, 0.13)
    arm = -side * draw.choice((0.0, 0.9, 1.6))
    z, step = draw.uniform(4.5, 16.0), draw.uniform(12, 26)
    while lamps and z < 75:
        plates = (_plate(draw, draw.uniform(2.0, 2.8)),) if draw.random() < 0.25 else ()
        found.append(Post(kerb, z, height, radius, arm, metal, plates))
        z += step
    z = draw.uniform(5.0, 12.0)
    while z < 55:
        if street.crossing and abs(z - street.crossing[0] + 1.5) < 5 and draw.random() < 0.7:
            plates = (("lights", draw.uniform(2.5, 3.1), 0.4, (28, 28, 28)),)
        else:
            middle = draw.uniform(2.0, 2.7)
            plates = (_plate(draw, middle),)
            if draw.random() < 0.25:
                plates += (_plate(draw, middle - 0.8),)
        tall = max(plate[1] + plate[2] for plate in plates)
        color = tinted(draw, draw.choice(METAL), 8)
        found.append(Post(kerb + side * draw.uniform(0.0, 0.5), z, tall, 0.045, 0.0, color, plates))
        z += draw.uniform(8, 30)
    if draw.random() < 0.7 - 0.35 * built:
        z, step = draw.uniform(5.0, 14.0), draw.uniform(7, 14)
        while z < 80:
            if not street.crossing or not street.crossing[0] - 2 < z < street.crossing[1] + 2:
                found.append(_tree(draw, kerb + side * draw.uniform(0.2, 0.6), z))
            z += step * draw.uniform(0.7, 1.4)
    return found


def _plate(draw, middle) -> tuple[str, float, float, Color]:
    shape = draw.choice(("disc", "triangle", "board", "wide", "ring"))
    return (shape, middle, draw.uniform(0.32, 0.5), tinted(draw, draw.choice(SIGNS), 10))


def _traffic(draw, camera, street) -> list[Car]:
    cars = []
    taken: list[tuple[float, float, float]] = []

    def park(x: float, z: float, heading: int):
        body = draw.choices(("sedan", "hatch", "van", "lorry"), (40, 35, 17, 8))[0]
        width, height, length = BODIES[body]
        scale = draw.uniform(0.93, 1.07)
        length *= scale
        near_camera = abs(x - camera.x) < 2.0 and z < 7.0
        if near_camera or any(abs(x - a) < 2.1 and z < c and b < z + length for a, b, c in taken):
            return
        taken.append((x, z - 0.7, z + length + 0.7))
        color = tinted(draw, draw.choice(CARS), 8)
        cars.append(Car(x, z, body, (width * scale, height * scale, length), heading, color))

    for side in (-1, 1):
        if draw.random() < 0.6:  # a row of parked cars
            z = draw.uniform(2.5, 14.0)
            heading = draw.choice((-1, 1))
            for _ in range(draw.randrange(1, 6)):
                park(side * (street.half_width - 1.1), z, heading)
                z += draw.uniform(5.5, 12.0)
        for _ in range(draw.randrange(3)):
            park(side * street.half_width * draw.uniform(0.25, 0.5), draw.uniform(7.0, 55.0), side)
    return cars


def _people(draw, camera, street) -> list[Thing]:
    found: list[Thing] = []
    for _ in range(draw.randrange(1, 8)):
        z = 3.5 + 34.0 * draw.random() ** 1.5
        side = draw.choice((-1, 1))
        x = side * (street.half_width + draw.uniform(0.3, 0.95) * street.sidewalk)
        if draw.random() < 0.12:
            x, z = draw.uniform(-1.0, 1.0) * street.half_width, max(z, 8.0)
        if abs(x - camera.x) > 0.8 or z > 6.0:
            for friend in range(2 if draw.random() < 0.25 else 1):
                found.append(_person(draw, x + 0.55 * friend, z + 0.2 * friend))
    for _ in range(draw.choices((0, 1, 2), (40, 40, 20))[0]):
        z = 4.5 + 16.0 * draw.random() ** 1.5
        x = draw.choice((-1, 1)) * street.half_width * draw.uniform(0.3, 0.9)
        if abs(x - camera.x) < 1.0:
            z += 3.0
        turn = draw.choice((-1, 1)) if draw.random() < 0.3 else draw.uniform(-0.5, 0.5)
        top, legs, skin = _dress(draw)
        frame = tinted(draw, draw.choice(SIGNS + METAL), 10)
        height = draw.uniform(1.6, 1.9)
        found.append(Bicyclist(x, z, turn, draw.uniform(-1, 1), height, top, legs, skin, frame))
    return found


def _dress(draw) -> tuple[Color, Color, Color]:
    skin = draw.choice(((206, 160, 130), (150, 104, 78), (92, 62, 48), (224, 184, 156)))
    return (
        tinted(draw, draw.choice(CLOTHES), 10),
        tinted(draw, draw.choice(CLOTHES[:8]), 8),
        tinted(draw, skin, 6),
    )


def _person(draw, x, z) -> Person:
    top, legs, skin = _dress(draw)
    return Person(
        x, z,
        height=draw.uniform(1.15, 1.95),
        width=draw.uniform(0.8, 1.25),
        stride=draw.uniform(-0.24, 0.24),
        swing=draw.uniform(-0.25, 0.25),
        lean=draw.uniform(-0.06, 0.06),
        top=top,
        legs=legs,
        skin=skin,
        bag=draw.random() < 0.35,
    )  # fmt: skip
