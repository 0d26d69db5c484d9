"""Posts, trees, cars and people: the things that are drawn from outlines."""

import math

from tfsegkd.data.road_scenes.canvas import Canvas, View
from tfsegkd.data.road_scenes.scene import Light
from tfsegkd.data.road_scenes.things import SIGN, Bicyclist, Car, Color, Person, Post, Tree

# Side views of a car from its back (0) to its front (1), in shares of its length and height.
_PROFILES = {
    "sedan": (
        (0, 0.18),
        (0, 0.62),
        (0.13, 0.67),
        (0.27, 1),
        (0.58, 1),
        (0.75, 0.65),
        (0.98, 0.52),
        (1, 0.18),
    ),
    "hatch": ((0, 0.18), (0, 0.6), (0.05, 0.68), (0.13, 1), (0.62, 1), (0.78, 0.64), (0.98, 0.52), (1, 0.18)),
    "van": ((0, 0.12), (0, 0.5), (0, 0.55), (0.02, 1), (0.74, 1), (0.9, 0.55), (0.99, 0.47), (1, 0.12)),
    "lorry": ((0, 0.14), (0, 0.5), (0, 0.55), (0, 1), (0.7, 1), (0.74, 0.72), (0.96, 0.7), (1, 0.14)),
}
_DARK = (30.0, 32.0, 36.0)


def scaled(color: Color, factor: float) -> Color:
    return color[0] * factor, color[1] * factor, color[2] * factor


def paint_post(canvas: Canvas, view: View, post: Post, light: Light) -> None:
    """Paints a pole and what it carries."""
    scale = view.focal / post.z
    lit = light.shade(0.5, 0.0, -0.7)
    color = scaled(post.color, lit)
    foot, head = view.point(post.x, 0.0, post.z), view.point(post.x, post.height, post.z)
    canvas.begin(post.label, post.z)
    canvas.line([foot, head], 2 * post.radius * scale, color)
    if post.arm:
        tip = view.point(post.x + post.arm, post.height + 0.1, post.z)
        canvas.line([head, tip], 1.4 * post.radius * scale, color)
        canvas.disc(tip, max(1.0, 0.3 * scale), max(0.5, 0.1 * scale), (238, 224, 176), 255)
    if not post.plates:
        return
    canvas.begin(SIGN, post.z)
    for shape, middle, size, paint in post.plates:
        _plate(canvas, view, post, shape, middle, size, scaled(paint, light.shade(0.0, 0.2, -0.9)))


def _plate(canvas, view, post, shape, middle, size, color) -> None:
    def corner(across, up):
        return view.point(post.x + across * size, middle + up * size, post.z - 0.05)

    pixels = size * view.focal / post.z
    inner = tuple(0.25 * c + 168 for c in color) if sum(color) < 480 else scaled(color, 0.35)
    centre = corner(0, 0)
    if shape in ("disc", "ring"):
        canvas.disc(centre, pixels, pixels, color)
        if shape == "ring":
            canvas.disc(centre, pixels * 0.66, pixels * 0.66, inner)
        elif pixels > 3:
            canvas.polygon(
                [corner(-0.6, -0.15), corner(0.6, -0.15), corner(0.6, 0.15), corner(-0.6, 0.15)], inner
            )
    elif shape == "triangle":
        canvas.polygon([corner(-1, -0.8), corner(1, -0.8), corner(0, 0.95)], color)
        canvas.polygon([corner(-0.55, -0.5), corner(0.55, -0.5), corner(0, 0.5)], inner)
    elif shape == "lights":
        canvas.polygon(
            [corner(-0.45, -1.1), corner(0.45, -1.1), corner(0.45, 1.1), corner(-0.45, 1.1)], color
        )
        lamp, up = ((226, 50, 40), 0.68) if post.z % 2.0 < 1.0 else ((70, 220, 130), -0.68)
        canvas.disc(corner(0, up), 0.32 * pixels, 0.32 * pixels, lamp, 230)
    else:
        wide, tall = (1.5, 0.6) if shape == "wide" else (0.75, 1.0)
        canvas.polygon(
            [corner(-wide, -tall), corner(wide, -tall), corner(wide, tall), corner(-wide, tall)], color
        )
        if pixels > 2.5:
            for up in (0.45, -0.1):
                a, b = up * tall, (up - 0.25) * tall
                wide_in = 0.7 * wide
                canvas.polygon(
                    [corner(-wide_in, a), corner(wide_in, a), corner(wide_in, b), corner(-wide_in, b)], inner
                )


def paint_tree(canvas: Canvas, view: View, tree: Tree, light: Light) -> None:
    """Paints a trunk and a crown of leaf clumps."""
    scale = view.focal / tree.z
    wide, tall = tree.crown
    lit = light.shade(-0.3, 0.6, -0.6)
    canvas.begin(tree.label, tree.z)
    middle = view.point(tree.x, tree.trunk + tall, tree.z)
    if -wide * scale * 1.6 < middle[0] < view.width + wide * scale * 1.6:
        foot = view.point(tree.x, 0.0, tree.z)
        canvas.line([foot, middle], 2 * tree.girth * scale, scaled(tree.bark, lit))
        # A crown a few pixels wide does not need all its clumps.
        every, larger = (3, 1.5) if wide * scale < 7 else (2, 1.2) if wide * scale < 16 else (1, 1.0)
        for x, y, size, bright in tree.blobs[::every]:
            radius = size * wide * scale * larger
            spot = (middle[0] + x * wide * scale, middle[1] - y * tall * scale)
            canvas.disc(spot, radius, radius * 0.9, scaled(tree.color, lit * bright))


def paint_car(canvas: Canvas, view: View, car: Car, light: Light) -> None:
    """Paints a vehicle: its upper faces from far to near, then the side that faces us."""
    width, height, length = car.size
    x0, x1 = car.x - width / 2, car.x + width / 2
    profile = _PROFILES[car.body]
    if car.heading < 0:
        profile = tuple((1 - a, b) for a, b in reversed(profile))
    outline = [(b * height, car.z + a * length) for a, b in profile]
    left = [view.point(x0, y, z) for y, z in outline]
    right = [view.point(x1, y, z) for y, z in outline]
    canvas.begin(car.label, car.z + 1.0)
    glass = 52.0 if not light.night else 40.0
    for i in reversed(range(len(outline) - 1)):
        (ya, za), (yb, zb) = outline[i], outline[i + 1]
        size = math.hypot(yb - ya, zb - za)
        if size < 1e-6:
            continue
        # The faces over the belt line that are neither the bonnet nor the roof are windows.
        slanted = yb != ya and min(ya, yb) > 0.5 * height and max(ya, yb) > 0.9 * height
        bright = light.shade(0.0, (zb - za) / size, -(yb - ya) / size)
        color = (glass, glass * 1.05, glass * 1.12) if slanted and car.body != "lorry" else car.color
        canvas.polygon([left[i], right[i], right[i + 1], left[i + 1]], scaled(color, bright))
    _car_end(canvas, view, car, light)
    middle = view.across(car.x, car.z)
    if abs(middle) > width / 2 - 0.1:
        _car_side(canvas, view, car, light, left if middle > 0 else right, x0 if middle > 0 else x1)


def _car_end(canvas, view, car, light) -> None:
    """Lights, number plate, tyres and the shade under the near end."""
    width, height, _ = car.size
    z, low = car.z, 0.18 * height

    def spot(across, up):
        return view.point(car.x + across * width, up * height, z)

    scale = view.focal / z
    canvas.polygon(
        [spot(-0.5, 0.3), spot(0.5, 0.3), spot(0.5, 0.17), spot(-0.5, 0.17)], scaled(car.color, 0.45)
    )
    for side in (-0.36, 0.36):
        a, b, c, d = (
            spot(side - 0.09, 0.2),
            spot(side + 0.09, 0.2),
            spot(side + 0.09, 0),
            spot(side - 0.09, 0),
        )
        canvas.polygon([a, b, c, d], (18, 18, 20))
        lamp = (206, 36, 34) if car.heading > 0 else (240, 240, 226)
        canvas.disc(spot(side * 1.1, 0.48), 0.14 * scale, 0.08 * scale, lamp, 140 if car.heading > 0 else 255)
    if scale > 12:
        a, b, c, d = spot(-0.15, 0.36), spot(0.15, 0.36), spot(0.15, 0.28), spot(-0.15, 0.28)
        canvas.polygon([a, b, c, d], (190, 190, 180))
    if car.body in ("van", "lorry") and car.heading > 0 and low * scale > 2:
        canvas.polygon(
            [spot(-0.4, 0.9), spot(-0.03, 0.9), spot(-0.03, 0.6), spot(-0.4, 0.6)], scaled(_DARK, 1.3)
        )
        canvas.polygon([spot(0.03, 0.9), spot(0.4, 0.9), spot(0.4, 0.6), spot(0.03, 0.6)], scaled(_DARK, 1.3))


def _car_side(canvas, view, car, light, outline, x) -> None:
    _, height, length = car.size
    bright = light.shade(-1.0 if x < car.x else 1.0, 0.0, 0.0)

    def at(share, up):
        share = share if car.heading > 0 else 1 - share
        return view.point(x, up * height, car.z + share * length)

    canvas.polygon(outline, scaled(car.color, bright))
    if car.body in ("sedan", "hatch"):
        start = 0.2 if car.body == "sedan" else 0.12
        window = [at(start, 0.67), at(start + 0.08, 0.94), at(0.57, 0.94), at(0.71, 0.67)]
        canvas.polygon(window, scaled(_DARK, 0.8 + 0.8 * bright))
        canvas.line([at(0.44, 0.66), at(0.44, 0.96)], 0.08 * view.focal / car.z, scaled(car.color, bright))
    else:
        canvas.polygon([at(0.76, 0.62), at(0.76, 0.86), at(0.8, 0.86), at(0.88, 0.62)], _DARK)
    radius = 0.33 if car.body != "lorry" else 0.48
    for share in (0.19, 0.81):
        middle = car.z + (share if car.heading > 0 else 1 - share) * length
        turns = [i * math.pi / 5 for i in range(10)]
        tyre = [view.point(x, radius * (1 + math.sin(a)), middle + radius * math.cos(a)) for a in turns]
        canvas.polygon(tyre, (22, 22, 24))
        if view.focal / middle > 14:
            rim = [
                view.point(x, radius + 0.5 * radius * math.sin(a), middle + 0.5 * radius * math.cos(a))
                for a in turns
            ]
            canvas.polygon(rim, (118, 118, 120))


def paint_person(canvas: Canvas, view: View, person: Person, light: Light) -> None:
    """Paints someone walking."""
    tall, wide = person.height, person.width * person.height / 1.75
    scale = view.focal / person.z
    lit = light.shade(0.0, 0.2, -0.8)
    top, legs, skin = (scaled(c, lit) for c in (person.top, person.legs, person.skin))

    def at(across, up):
        return view.point(person.x + across + person.lean * up * tall, up * tall, person.z)

    canvas.begin(person.label, person.z)
    for way in (-1, 1):
        step = way * person.stride * tall * 0.6
        hip, foot = way * 0.07 * wide, step + way * 0.06 * wide
        canvas.polygon(
            [
                at(hip - 0.09 * wide, 0.5),
                at(hip + 0.09 * wide, 0.5),
                at(foot + 0.06, 0.0),
                at(foot - 0.06, 0.0),
            ],
            legs,
        )
        canvas.line([at(foot - 0.04, 0.015), at(foot + 0.1, 0.015)], 0.07 * scale, (26, 24, 24))
        hand = way * 0.26 * wide - way * person.swing * tall * 0.5
        canvas.line([at(way * 0.2 * wide, 0.79), at(hand, 0.47)], 0.1 * scale, scaled(top, 0.88))
    canvas.polygon(
        [at(-0.22 * wide, 0.8), at(-0.1 * wide, 0.85), at(0.1 * wide, 0.85), at(0.22 * wide, 0.8),
         at(0.17 * wide, 0.47), at(-0.17 * wide, 0.47)], top,
    )  # fmt: skip
    if person.bag:
        canvas.polygon([at(0.12, 0.76), at(0.3, 0.74), at(0.3, 0.55), at(0.12, 0.53)], scaled(legs, 0.7))
    canvas.disc(at(0, 0.925), 0.105 * scale * tall / 1.75, 0.07 * scale * tall, skin)
    canvas.disc(at(0, 0.955), 0.105 * scale * tall / 1.75, 0.045 * scale * tall, (40, 30, 26))


def paint_bicyclist(canvas: Canvas, view: View, rider: Bicyclist, light: Light) -> None:
    """Paints someone on a bicycle."""
    scale = view.focal / rider.z
    lit = light.shade(0.0, 0.2, -0.8)
    top, legs, skin, frame = (scaled(c, lit) for c in (rider.top, rider.legs, rider.skin, rider.frame))
    turn = rider.turn

    def at(forward, up, aside=0.0):
        return view.point(rider.x + forward * turn + aside * (1 - abs(turn)), up, rider.z)

    canvas.begin(rider.label, rider.z)
    across = max(0.06, 0.34 * abs(turn)) * scale
    for wheel in (0.52, -0.52):
        canvas.ring(at(wheel, 0.34), across, 0.34 * scale, (24, 24, 26), 0.07 * scale)
    thin = 0.05 * scale
    canvas.line([at(-0.52, 0.34), at(-0.1, 0.3), at(0.4, 0.85), at(0.52, 0.34)], thin, frame)
    canvas.line([at(-0.52, 0.34), at(-0.2, 0.85), at(0.4, 0.85), at(-0.1, 0.3), at(-0.2, 0.85)], thin, frame)
    hip, shoulder = at(-0.2, 0.95), at(0.12, 0.8 * rider.height)
    for way in (-1, 1):
        pedal = 0.3 + 0.14 * way * rider.pedal
        knee = at(0.14, 0.68 + 0.1 * way * rider.pedal, 0.14 * way)
        canvas.line([at(-0.2, 0.93, 0.08 * way), knee, at(-0.05, pedal, 0.12 * way)], 0.15 * scale, legs)
        canvas.line(
            [at(0.12, 0.78 * rider.height, 0.2 * way), at(0.42, 0.98, 0.27 * way)],
            0.1 * scale,
            scaled(top, 0.88),
        )
    back = 0.19 * (1 - 0.4 * abs(turn)) * scale
    canvas.polygon(
        [(hip[0] - back * 0.8, hip[1]), (hip[0] + back * 0.8, hip[1]),
         (shoulder[0] + back, shoulder[1]), (shoulder[0] - back, shoulder[1])], top,
    )  # fmt: skip
    head = at(0.18, 0.92 * rider.height)
    canvas.disc(head, 0.1 * scale, 0.125 * scale, skin)
    canvas.disc((head[0], head[1] - 0.06 * scale), 0.11 * scale, 0.075 * scale, scaled(frame, 0.8))
