"""From painted surfaces to a photograph: light, fog, rain, lens and sensor."""

import functools

import numpy as np
from PIL import Image, ImageDraw

from tfsegkd.data.road_scenes.canvas import View
from tfsegkd.data.road_scenes.scene import Scene
from tfsegkd.data.road_scenes.things import ROAD, SKY

# How much fine texture each class shows, from SKY to BICYCLIST.
_ROUGH = np.array([0.0, 0.03, 0.02, 0.02, 0.03, 0.17, 0.02, 0.05, 0.02, 0.05, 0.05], np.float32)
_APART = 1009  # samples between the noise of one color channel and the next


def develop(
    scene: Scene,
    view: View,
    color: np.ndarray,
    labels: np.ndarray,
    depth: np.ndarray,
    shine: np.ndarray | None,
) -> np.ndarray:
    """Takes the picture of what was painted.

    Args:
        color: (H, W, 3), uint8. labels: (H, W). depth: (H, W), metres. shine: (H, W), uint8, own light.

    Returns:
        (H, W, 3), uint8.
    """
    random = np.random.default_rng(scene.grain)
    picture = color.astype(np.float32)
    sky = labels == SKY
    texture = random.standard_normal(labels.shape, np.float32) * _ROUGH.take(labels) + 1.0
    if shine is None:
        picture *= texture[..., None]
        picture *= np.where(sky[..., None], np.float32(1.0), np.array(scene.light.color, np.float32))
    else:
        _night(scene, view, picture, texture, sky, depth, shine)
    if scene.weather.rain:
        _wet(scene, view, picture, labels)
    _fog(scene, picture, depth)
    if scene.light.glare:
        _glare(scene, view, picture, sky)
    if scene.weather.rain:
        picture += _streaks(scene, view, random)[..., None]
    return _expose(scene, picture, random)


def _night(scene, view, picture, texture, sky, depth, shine) -> None:
    """Street light everywhere, headlights ahead, and whatever shines by itself, with a halo."""
    beam = 1.3 * np.exp(-(((view.right + 0.02) / 0.42) ** 2)) * np.exp(-depth / 16.0)
    beam *= np.clip(1.2 - np.maximum(-view.down, 0.0) * 9.0, 0.0, 1.0)
    lamps = 0.22 * (1.0 + np.cos(depth * 0.38))
    level = np.array(scene.light.color, np.float32) * (0.7 + lamps)[..., None]
    level += beam[..., None] * np.array((0.75, 0.72, 0.66), np.float32)
    picture *= np.where(sky[..., None], np.float32(1.0), level * texture[..., None])
    glow = shine.astype(np.float32)
    small = Image.fromarray(shine).resize(
        (max(2, view.width // 10), max(2, view.height // 10)), Image.Resampling.BOX
    )
    halo = np.asarray(small.resize((view.width, view.height), Image.Resampling.BICUBIC), np.float32)
    picture += (0.8 * glow + 0.9 * halo)[..., None] * np.array((1.0, 0.86, 0.6), np.float32)


def _wet(scene, view, picture, labels) -> None:
    """A wet road is darker and mirrors what stands beyond it."""
    horizon = int(scene.camera.horizon * view.height)
    rows = np.maximum(horizon - 1 - np.arange(view.height - horizon), 0)
    mirrored = picture[rows]
    road = picture[horizon:]
    share = np.where(labels[horizon:] == ROAD, 0.42 * scene.weather.rain, 0.0)[..., None]
    road *= 1.0 - share * 0.6
    road += (mirrored - road) * share.astype(np.float32)


def _fog(scene, picture, depth) -> None:
    low = np.array(scene.light.sky_low, np.float32)
    fog = low * 0.5 + low.mean() * 0.5
    share = 1.0 - np.exp(-scene.weather.fog * depth)
    picture += (fog - picture) * share[..., None]


def _glare(scene, view, picture, sky) -> None:
    """The sun shines into the lens."""
    sun = scene.light.sun
    u, v = view.direction(sun[0], sun[1], max(sun[2], 0.2))
    across = np.arange(view.width, dtype=np.float32)[None, :] - u
    down = np.arange(view.height, dtype=np.float32)[:, None] - v
    far = (across**2 + down**2) / view.width**2
    bright = 0.25 * np.exp(-far * 2.0)
    row, column = min(max(int(v), 0), view.height - 1), min(max(int(u), 0), view.width - 1)
    if sky[row, column]:  # nothing stands before the sun
        bright += 0.75 * np.exp(-far * 18.0) + 1.2 * np.exp(-far * 400.0)
    bright *= scene.light.glare
    picture += bright[..., None] * np.array((215.0, 180.0, 130.0), np.float32)


def _streaks(scene, view, random) -> np.ndarray:
    """Rain drops drawn long by their fall."""
    drawn = Image.new("L", (view.width, view.height), 0)
    brush = ImageDraw.Draw(drawn)
    drops = random.random((int(150 * scene.weather.rain), 4))
    slant = float(random.normal(0.0, 0.12))
    for x, y, size, bright in drops.tolist():
        u, v, length = x * view.width, y * view.height, (0.02 + 0.07 * size) * view.height
        brush.line([(u, v), (u + slant * length, v + length)], int(8 + 30 * bright))
    return np.asarray(drawn, np.float32) * (0.35 if scene.light.night else 1.0)


def _expose(scene, picture, random) -> np.ndarray:
    sensor = scene.sensor
    picture = _blurred(picture, np.float32(sensor.blur))
    gain = np.array(sensor.white, np.float32) * np.float32(sensor.exposure)
    picture *= _vignette(*picture.shape[:2], round(sensor.vignette, 2))[..., None] * gain
    # Photon noise grows with the light, read-out noise does not. The channels share one long row of noise,
    # far enough apart: drawing it is the dearest step of all.
    pixels = picture.shape[0] * picture.shape[1]
    row = random.standard_normal(pixels + 2 * _APART, np.float32) * np.float32(sensor.noise)
    amount = 0.5 + 0.0035 * picture[..., 1]
    for channel in range(3):
        start = channel * _APART
        picture[..., channel] += row[start : start + pixels].reshape(amount.shape) * amount
    np.clip(picture, 0.0, 255.0, out=picture)
    curve = 255.0 * (np.arange(256) / 255.0) ** sensor.gamma
    return np.rint(curve).astype(np.uint8).take(picture.astype(np.uint8))


def _blurred(picture: np.ndarray, share: np.float32) -> np.ndarray:
    """Each pixel gives `share` of itself to either neighbour, down and then across."""
    for swapped in (False, True):
        given = picture * share
        picture = picture - 2 * given
        rows, gift = (picture.swapaxes(0, 1), given.swapaxes(0, 1)) if swapped else (picture, given)
        rows[1:] += gift[:-1]
        rows[:-1] += gift[1:]
        rows[0] += gift[0]
        rows[-1] += gift[-1]
    return picture


@functools.lru_cache(maxsize=64)
def _vignette(height: int, width: int, strength: float) -> np.ndarray:
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :] ** 2
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
    return (1.0 - strength * ((across + down) / 2.0) ** 1.5).astype(np.float32)
