"""Facades, hedges and fences: upright planes whose texture is computed pixel by pixel."""

import numpy as np

from tfsegkd.data.road_scenes.canvas import Canvas, View, cloud_tile, fraction, grain_tile, look_up
from tfsegkd.data.road_scenes.scene import Light, Scene
from tfsegkd.data.road_scenes.things import Wall


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
        canvas.polygon([corners[0], corners[1], corners[3], corners[2]], tuple(c * tone for c in wall.color))
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
        color, glow = _facade(wall, along, y, distance, lit)
        if light.night:
            shine = np.zeros(solid.shape, np.uint8)
            shine.reshape(-1)[spot] = glow
    elif wall.kind == "hedge":
        leaves = look_up(grain_tile(), y * 9.0, along * 9.0) * min(1.0, 12.0 / distance)
        clumps = look_up(cloud_tile(), y * 24.0 + wall.key, along * 24.0)
        tone = 0.82 + 0.16 * leaves + 0.32 * clumps
        color = tone[:, None] * np.array(wall.color, np.float32) * lit
    else:
        bars = fraction(along / wall.bay) < (0.42 if wall.kind == "rails" else 0.9)
        tone = np.where(bars, 1.0, 0.6) + 0.08 * look_up(grain_tile(), y * 3.0, along * 7.0)
        color = tone[:, None].astype(np.float32) * np.array(wall.color, np.float32) * lit
        if wall.kind == "rails":
            bars |= (y > wall.height * 0.9) | ((y > 0.1) & (y < 0.2))
            opaque = np.zeros_like(solid)
            opaque.reshape(-1)[spot] = bars
    patch = np.zeros((*solid.shape, 3), np.uint8)
    patch.reshape(-1, 3)[spot] = np.clip(color, 0, 255, out=color)
    canvas.paste((left, upper), patch, opaque, solid, shine)


def _facade(
    wall: Wall, along: np.ndarray, y: np.ndarray, distance: float, lit: float
) -> tuple[np.ndarray, np.ndarray]:
    """Color (P, 3) and own light (P,) of these points of a house front."""
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
    paint = np.array((wall.color, (57, 62, 67), wall.accent), np.float32) * np.float32(lit)
    return paint.take(kind, axis=0) * tone[:, None], (pane & (chance > 0.45)).view(np.uint8) * np.uint8(150)


def _roof(canvas: Canvas, view: View, wall: Wall, light: Light) -> None:
    """A hipped roof: the slope over the street, and the one over the near end."""
    inward, hip = -wall.normal[0] * 4.0, min(3.0, (wall.z1 - wall.z) / 3)
    eaves, top = wall.height, wall.height + wall.roof
    near, far = view.point(wall.x, eaves, wall.z), view.point(wall.x, eaves, wall.z1)
    ridge = view.point(wall.x + inward, top, wall.z + hip)
    color = tuple(0.55 * c + 0.45 * d for c, d in zip(wall.color, (110, 64, 52), strict=True))
    worn = 0.55 + 0.002 * wall.key
    canvas.begin(wall.label, wall.z1)
    lit = worn * light.shade(wall.normal[0] * 0.5, 0.85, 0.0)
    beyond = view.point(wall.x + inward, top, wall.z1 - hip)
    canvas.polygon([near, far, beyond, ridge], tuple(c * lit for c in color))
    lit = worn * light.shade(0.0, 0.85, -0.5)
    back = view.point(wall.x + 2 * inward, eaves, wall.z)
    canvas.polygon([near, ridge, back], tuple(c * lit for c in color))
