"""What lies behind all things: the sky and the empty street, pixel by pixel."""

import numpy as np

from tfsegkd.data.road_scenes.canvas import View, cloud_tile, fraction, grain_tile, look_up
from tfsegkd.data.road_scenes.scene import Scene
from tfsegkd.data.road_scenes.shadows import light_on_ground
from tfsegkd.data.road_scenes.things import ROAD, SIDEWALK, SKY

SKY_DISTANCE = 260.0  # metres, as far as fog is concerned


def behind(scene: Scene, view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sky and the empty street.

    Returns:
        Color (H, W, 3) uint8, labels (H, W) uint8, distance (H, W) float32.
    """
    shape = view.height, view.width
    color = np.empty((*shape, 3), np.float32)
    labels, far = np.full(shape, SKY, np.uint8), np.full(shape, SKY_DISTANCE, np.float32)
    seen = view.down > 0.004
    # The camera may be rolled: rows from `first` on see some ground, rows from `last` on nothing else.
    first = view.height - int(np.count_nonzero(seen.any(axis=1)))
    last = view.height - int(np.count_nonzero(seen.all(axis=1)))
    color[last:] = 0.0
    color[:last] = _sky(scene, view.right[:last], view.down[:last])
    down, ground = view.down[first:], seen[first:]
    z = view.camera.height / np.maximum(down, 0.004)
    x = view.right[first:] * z + (view.camera.x - view.camera.bend * 0.5 * z * z)
    painted, road = _ground(scene, x, z)
    painted *= light_on_ground(scene, view, x, z, first)[..., None]
    color[first:] = np.where(ground[..., None], painted, color[first:])
    labels[first:] = np.where(ground, np.where(road, ROAD, SIDEWALK), SKY)
    far[first:] = np.where(ground, z, SKY_DISTANCE)
    return np.clip(color, 0, 255).astype(np.uint8), labels, far


def _sky(scene: Scene, right: np.ndarray, down: np.ndarray) -> np.ndarray:
    light = scene.light
    up = np.clip(-down * 1.6, 0.0, 1.0)[..., None]
    color = np.array(light.sky_low, np.float32) * (1 - up) + np.array(light.sky_top, np.float32) * up
    if light.clouds > 0.15:
        # Clouds lie in a plane high above, so that they crowd towards the horizon.
        high = 1.0 / np.maximum(0.06 - down, 0.06)
        key = scene.grain % 251
        noise = look_up(cloud_tile(), high * 16 + key, right * high * 12 + key)
        cover = np.clip(noise + light.clouds - 0.3, 0.0, 1.0)[..., None]
        white = np.array(light.sky_low, np.float32) * 0.5 + 118.0
        if light.kind == "overcast":
            color *= 1.0 - 0.16 * cover
        else:
            color += (white - color) * cover * 0.8
    return color


def _ground(scene: Scene, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Color and road mask of the ground at (x, z)."""
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
    color = np.where(
        road[..., None], np.array(street.asphalt, np.float32), np.array(street.paving, np.float32)
    )
    color *= tone[..., None]
    if street.paint > 0:
        amount = _markings(scene, x, z, out) * road * (street.paint * np.clip(0.9 + 0.5 * rough, 0.3, 1.0))
        color += (225.0 - color) * amount[..., None]
    return color, road


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
