"""Sky, ground and walls: the surfaces whose texture is computed pixel by pixel."""

import numpy as np
from PIL import Image, ImageDraw

from tfsegkd.data.road_scenes.canvas import Canvas, View, cloud_tile, fraction, grain_tile, look_up
from tfsegkd.data.road_scenes.scene import FAR, Scene
from tfsegkd.data.road_scenes.things import ROAD, SIDEWALK, SKY, Car, Person, Post, Tree, Wall

SKY_DISTANCE = 260.0  # metres, as far as fog is concerned


def behind(scene: Scene, view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sky and the empty street.

    Returns:
        Colour (H, W, 3) uint8, labels (H, W) uint8, distance (H, W) float32.
    """
    shape = view.height, view.width
    colour = np.empty((*shape, 3), np.float32)
    labels, far = np.full(shape, SKY, np.uint8), np.full(shape, SKY_DISTANCE, np.float32)
    seen = view.down > 0.004
    # The camera may be rolled: rows from `first` on see some ground, rows from `last` on nothing else.
    first = view.height - int(np.count_nonzero(seen.any(axis=1)))
    last = view.height - int(np.count_nonzero(seen.all(axis=1)))
    colour[last:] = 0.0
    colour[:last] = _sky(scene, view.right[:last], view.down[:last])
    down, ground = view.down[first:], seen[first:]
    z = view.camera.height / np.maximum(down, 0.004)
    x = view.right[first:] * z + (view.camera.x - view.camera.bend * 0.5 * z * z)
    painted, road = _ground(scene, x, z)
    painted *= _shadows(scene, view, x, z, first)[..., None]
    colour[first:] = np.where(ground[..., None], painted, colour[first:])
    labels[first:] = np.where(ground, np.where(road, ROAD, SIDEWALK), SKY)
    far[first:] = np.where(ground, z, SKY_DISTANCE)
    return np.clip(colour, 0, 255).astype(np.uint8), labels, far


def _sky(scene: Scene, right: np.ndarray, down: np.ndarray) -> np.ndarray:
    light = scene.light
    up = np.clip(-down * 1.6, 0.0, 1.0)[..., None]
    colour = np.array(light.sky_low, np.float32) * (1 - up) + np.array(light.sky_top, np.float32) * up
    if light.clouds > 0.15:
        # Clouds lie in a plane high above, so that they crowd towards the horizon.
        high = 1.0 / np.maximum(0.06 - down, 0.06)
        key = scene.grain % 251
        noise = look_up(cloud_tile(), high * 16 + key, right * high * 12 + key)
        cover = np.clip(noise + light.clouds - 0.3, 0.0, 1.0)[..., None]
        white = np.array(light.sky_low, np.float32) * 0.5 + 118.0
        if light.kind == "overcast":
            colour *= 1.0 - 0.16 * cover
        else:
            colour += (white - colour) * cover * 0.8
    return colour


def _ground(scene: Scene, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour and road mask of the ground at (x, z)."""
    street = scene.street
    key = scene.grain % 255
    out = np.abs(x)
    road = out < street.half_width
    if street.crossing:
        road |= (z > street.crossing[0]) & (z < street.crossing[1])
    near = 1.0 / (1.0 + z * 0.12)  # a pixel far away averages its texture out
    rough = look_up(grain_tile(), z * 14.0 + key, x * 14.0)
    broad = look_up(cloud_tile(), z * 4.0, x * 10.0 + key)
    tone = 1.0 + 0.09 * near * rough + 0.09 * broad
    for x0, x1, z0, z1, shade in street.patches:
        tone[(x > x0) & (x < x1) & (z > z0) & (z < z1) & road] *= shade
    joints = (fraction(x / street.tile) < 0.06 + 0.004 * z / street.tile) | (fraction(z / street.tile) < 0.07)
    tone -= 0.3 * near * (joints & ~road)
    tone += 0.16 * ((out > street.half_width) & (out < street.half_width + 0.18))  # the kerb stone
    tone -= 0.22 * ((out > street.half_width - 0.22) & road)  # the gutter
    colour = np.where(
        road[..., None], np.array(street.asphalt, np.float32), np.array(street.paving, np.float32)
    )
    colour *= tone[..., None]
    if street.paint > 0:
        amount = _markings(scene, x, z, out) * road * (street.paint * np.clip(0.9 + 0.5 * rough, 0.3, 1.0))
        colour += (225.0 - colour) * amount[..., None]
    return colour, road


def _markings(scene: Scene, x: np.ndarray, z: np.ndarray, out: np.ndarray) -> np.ndarray:
    street = scene.street
    lines = (out < 0.08) & (fraction(z / 6.0) < 0.53)
    if street.half_width > 4.2:
        lines |= np.abs(out - street.half_width + 2.2) < 0.06  # the parking lane
    if street.crossing:
        lines &= (z < street.crossing[0] - 4.0) | (z > street.crossing[1])
        if street.zebra:
            start = street.crossing[0]
            stripes = (z > start - 3.4) & (z < start - 0.6) & (fraction(x) < 0.5) & (out < street.half_width)
            lines |= stripes
    return lines


def _shadows(scene: Scene, view: View, x: np.ndarray, z: np.ndarray, first: int) -> np.ndarray:
    """How much light reaches the ground, 0…1."""
    light = scene.light
    soft = 0.75 if light.ambient > 0.75 else 1.0
    drawn = Image.new("L", (view.width, view.height), 0)
    brush = ImageDraw.Draw(drawn)
    # A point at height y throws its shadow this far from its foot, per metre.
    run_x, run_z = 0.0, 0.0
    if light.ambient < 0.75:
        steep = max(light.sun[1], 0.2)
        run_x, run_z = -light.sun[0] / steep, -light.sun[2] / steep

    def blot(points, strength=255):
        if all(point[2] > 0.4 for point in points):
            brush.polygon([view.point(*point) for point in points], strength)

    for thing in scene.things:
        if thing.z > 45:
            continue
        if isinstance(thing, Car):
            width, height, length = thing.size
            side, away = width / 2 + 0.06, run_z * height * 0.8
            shift = run_x * height * 0.8
            blot(_slab(thing.x, thing.z, side, length), 235)
            if shift or away:
                front, back = thing.z + min(0.0, away), thing.z + length + max(0.0, away)
                left, right = thing.x - side + min(0.0, shift), thing.x + side + max(0.0, shift)
                blot([(left, 0, front), (right, 0, front), (right, 0, back), (left, 0, back)])
        elif isinstance(thing, Tree):
            middle = thing.trunk + thing.crown[1]
            mx, mz = thing.x + run_x * middle, thing.z + run_z * middle
            strength = 255 if run_z else 90
            for bx, by, size, _ in thing.blobs[:: 3 if run_z else 9]:
                cx = mx + thing.crown[0] * bx + run_x * thing.crown[1] * by
                cz = mz + run_z * thing.crown[1] * by
                blot(_slab(cx, cz - size, size * thing.crown[0], 2 * size), strength)
        elif isinstance(thing, Post | Person):
            half = 0.06 if isinstance(thing, Post) else 0.2
            if run_z:
                tx, tz = thing.x + run_x * thing.height, thing.z + run_z * thing.height
                blot([(thing.x - half, 0, thing.z), (thing.x + half, 0, thing.z),
                      (tx + half, 0, tz), (tx - half, 0, tz)])  # fmt: skip
            if isinstance(thing, Person):
                blot(_slab(thing.x, thing.z - 0.1, 0.25, 0.25), 150)
    dark = np.asarray(drawn)[first:].astype(np.float32) / 255.0
    if run_x:
        dark = np.maximum(dark, _house_shadow(scene, x, z, run_x, run_z))
    return 1.0 - dark * (1.0 - light.ambient) * soft - (dark * 0.45 if light.ambient >= 0.75 else 0.0)


def _slab(x: float, z: float, half: float, length: float) -> list[tuple[float, float, float]]:
    return [(x - half, 0, z), (x + half, 0, z), (x + half, 0, z + length), (x - half, 0, z + length)]


def _house_shadow(scene: Scene, x: np.ndarray, z: np.ndarray, run_x: float, run_z: float) -> np.ndarray:
    """Whether the row of houses on the sun's side stands between the sun and the ground at (x, z)."""
    side = -1 if run_x > 0 else 1
    heights = np.zeros(int(FAR) + 1, np.float32)
    for wall in scene.things:
        if isinstance(wall, Wall) and wall.x == wall.x1 and wall.normal[0] == -side:
            heights[int(wall.z) : int(wall.z1)] = wall.height
    away = np.abs(x - scene.street.lots[side > 0])
    # The ray to the sun meets the building line this high up and this far along.
    height = away / abs(run_x)
    along = np.clip(z - run_z * height, 0, FAR).astype(np.int32)
    return (heights[along] > height).astype(np.float32)


def paint_wall(canvas: Canvas, view: View, wall: Wall, scene: Scene) -> None:
    """Paints one wall with its windows, leaves or bars."""
    ax, az, bx, bz = view.across(wall.x, wall.z), wall.z, view.across(wall.x1, wall.z1), wall.z1
    light = scene.light
    lit = light.shade(wall.normal[0], 0.0, wall.normal[1])
    top = wall.height * (1.25 if wall.kind == "hedge" else 1.0)
    corners = [view.point(x, y, z) for x, z in ((wall.x, az), (wall.x1, bz)) for y in (0.0, top)]
    left = max(0, int(min(u for u, _ in corners)) - 1)
    right = min(view.width, int(max(u for u, _ in corners)) + 2)
    upper = max(0, int(min(v for _, v in corners)) - 1)
    lower = min(view.height, int(max(v for _, v in corners)) + 2)
    if wall.roof:
        _roof(canvas, view, wall, light)
    if left >= right or upper >= lower:
        return
    canvas.begin(wall.label, (az + bz) / 2)
    if (right - left) * (lower - upper) < 160:
        tone = lit * (0.8 if wall.kind == "building" else 0.9)  # a few dark windows or leaves, averaged
        canvas.polygon([corners[0], corners[1], corners[3], corners[2]], tuple(c * tone for c in wall.colour))
        return
    ray, fall = view.right[upper:lower, left:right], view.down[upper:lower, left:right]
    with np.errstate(divide="ignore", invalid="ignore"):  # rays along the wall never meet it
        t = (ray * az - ax) / ((bx - ax) - ray * (bz - az))
        hit = (t >= 0) & (t <= 1)
    t = np.where(hit, t, np.float32(0.0))
    y = view.camera.height - fall * (az + t * (bz - az))
    along = t * float(np.hypot(bx - ax, bz - az))
    rim = top
    if wall.kind == "hedge":
        rim = wall.height * (1.0 + 0.25 * look_up(cloud_tile(), along * 4.0, np.float32(wall.key)))
    solid = hit & (y >= -0.05) & (y <= rim)
    if not solid.any():
        return
    distance = max(az, 1.0)
    # From here on only the wall's own pixels count; the rectangle around them may be twice as large.
    spot = np.flatnonzero(solid)
    along, y = along.ravel().take(spot), y.ravel().take(spot)
    opaque, shine = solid, None
    if wall.kind == "building":
        colour, glow = _facade(wall, along, y, distance, lit)
        if light.night:
            shine = np.zeros(solid.shape, np.uint8)
            shine.reshape(-1)[spot] = glow
    elif wall.kind == "hedge":
        leaves = look_up(grain_tile(), y * 9.0, along * 9.0) * min(1.0, 12.0 / distance)
        clumps = look_up(cloud_tile(), y * 24.0 + wall.key, along * 24.0)
        tone = 0.82 + 0.16 * leaves + 0.32 * clumps
        colour = tone[:, None] * np.array(wall.colour, np.float32) * lit
    else:
        bars = fraction(along / wall.bay) < (0.42 if wall.kind == "rails" else 0.9)
        tone = np.where(bars, 1.0, 0.6) + 0.08 * look_up(grain_tile(), y * 3.0, along * 7.0)
        colour = tone[:, None].astype(np.float32) * np.array(wall.colour, np.float32) * lit
        if wall.kind == "rails":
            bars |= (y > wall.height * 0.9) | ((y > 0.1) & (y < 0.2))
            opaque = np.zeros_like(solid)
            opaque.reshape(-1)[spot] = bars
    patch = np.zeros((*solid.shape, 3), np.uint8)
    patch.reshape(-1, 3)[spot] = np.clip(colour, 0, 255, out=colour)
    canvas.paste((left, upper), patch, opaque, solid, shine)


def _facade(
    wall: Wall, along: np.ndarray, y: np.ndarray, distance: float, lit: float
) -> tuple[np.ndarray, np.ndarray]:
    """Colour (P, 3) and own light (P,) of these points of a house front."""
    across, storeys = along / wall.bay, y / wall.storey
    column, row = np.floor(across), np.floor(storeys)
    aside, rise = np.abs(across - column - 0.5), storeys - row
    half, tall = wall.window
    glass = (aside < half) & (rise > 0.26) & (rise < 0.26 + tall) & (y < wall.height - 0.3)
    tone = 1.0 + 0.1 * look_up(cloud_tile(), y * 6.0 + wall.key, along * 6.0)
    if distance < 40:
        tone += (0.06 if distance < 20 else 0.03) * look_up(grain_tile(), y * 10.0, along * 10.0)
        tone += 0.14 * ((aside < half + 0.05) & (rise > 0.2) & (rise < 0.26))  # window sills
    if wall.brick and distance < 30:
        tone -= 0.16 * (fraction(y / 0.3) < 0.27)
    tone -= 0.2 * (y > wall.height - 0.35)  # the cornice
    kind = glass.view(np.uint8)
    if wall.shop:
        display = (aside < 0.44) & (y > 0.5) & (y < wall.storey - 0.85)
        board = (y > wall.storey - 0.75) & (y < wall.storey - 0.1)
        kind = np.where(y < wall.storey, display + 2 * board, kind).astype(np.uint8)
    # Each pane mirrors something else.
    chance = look_up(grain_tile(), row * 7.0 + wall.key, column)
    pane = kind == 1
    tone = np.where(pane, 1.0 + 0.7 * chance, tone)
    paint = np.array((wall.colour, (57, 62, 67), wall.accent), np.float32) * np.float32(lit)
    return paint.take(kind, axis=0) * tone[:, None], (pane & (chance > 0.45)).view(np.uint8) * np.uint8(150)


def _roof(canvas: Canvas, view: View, wall: Wall, light) -> None:
    """A hipped roof: the slope over the street, and the one over the near end."""
    inward, hip = -wall.normal[0] * 4.0, min(3.0, (wall.z1 - wall.z) / 3)
    eaves, top = wall.height, wall.height + wall.roof
    near, far = view.point(wall.x, eaves, wall.z), view.point(wall.x, eaves, wall.z1)
    ridge = view.point(wall.x + inward, top, wall.z + hip)
    colour = tuple(0.55 * c + 0.45 * d for c, d in zip(wall.colour, (110, 64, 52), strict=True))
    worn = 0.55 + 0.002 * wall.key
    canvas.begin(wall.label, wall.z1)
    lit = worn * light.shade(wall.normal[0] * 0.5, 0.85, 0.0)
    beyond = view.point(wall.x + inward, top, wall.z1 - hip)
    canvas.polygon([near, far, beyond, ridge], tuple(c * lit for c in colour))
    lit = worn * light.shade(0.0, 0.85, -0.5)
    back = view.point(wall.x + 2 * inward, eaves, wall.z)
    canvas.polygon([near, ridge, back], tuple(c * lit for c in colour))
