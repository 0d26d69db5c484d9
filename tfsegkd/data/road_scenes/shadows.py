"""How much light reaches the ground: shadows thrown by the sun, and the dark under things."""

import numpy as np
from PIL import Image, ImageDraw

from tfsegkd.data.road_scenes.canvas import View
from tfsegkd.data.road_scenes.scene import FAR, Scene
from tfsegkd.data.road_scenes.things import Car, Person, Post, Thing, Tree, Wall

Outline = list[tuple[float, float]]  # x and z of the corners of a shadow on the ground
_FARTHEST = 45.0  # metres; shadows beyond are too flat to be seen


def light_on_ground(scene: Scene, view: View, x: np.ndarray, z: np.ndarray, first: int) -> np.ndarray:
    """The share of light, 0…1, at the ground points (x, z) that rows `first` and below see."""
    light = scene.light
    sunny = light.ambient < 0.75
    # A point at height y throws its shadow this far from its foot, per metre of y.
    steep = max(light.sun[1], 0.2)
    run = (-light.sun[0] / steep, -light.sun[2] / steep) if sunny else (0.0, 0.0)
    drawn = Image.new("L", (view.width, view.height), 0)
    brush = ImageDraw.Draw(drawn)
    for thing in scene.things:
        if thing.z < _FARTHEST:
            for outline, strength in _shadows(thing, *run, sunny):
                if all(corner[1] > 0.4 for corner in outline):
                    brush.polygon([view.point(across, 0.0, ahead) for across, ahead in outline], strength)
    dark = np.asarray(drawn)[first:].astype(np.float32) / 255.0
    if not sunny:
        return 1.0 - dark * (0.45 + 0.75 * (1.0 - light.ambient))
    if run[0]:
        dark = np.maximum(dark, _house_shadow(scene, x, z, *run))
    return 1.0 - dark * (1.0 - light.ambient)


def _shadows(thing: Thing, run_x: float, run_z: float, sunny: bool) -> list[tuple[Outline, int]]:
    """Outlines on the ground, each with its strength, 0…255."""
    if isinstance(thing, Car):
        return _car_shadows(thing, run_x, run_z)
    if isinstance(thing, Tree):
        return _tree_shadows(thing, run_x, run_z, sunny)
    found = []
    if sunny and isinstance(thing, Post | Person):
        half = 0.06 if isinstance(thing, Post) else 0.2
        tip_x, tip_z = thing.x + run_x * thing.height, thing.z + run_z * thing.height
        foot = [(thing.x - half, thing.z), (thing.x + half, thing.z)]
        found.append(([*foot, (tip_x + half, tip_z), (tip_x - half, tip_z)], 255))
    if isinstance(thing, Person):
        found.append((_slab(thing.x - 0.25, thing.x + 0.25, thing.z - 0.1, thing.z + 0.15), 150))
    return found


def _car_shadows(car: Car, run_x: float, run_z: float) -> list[tuple[Outline, int]]:
    width, height, length = car.size
    aside, ahead = run_x * height * 0.8, run_z * height * 0.8
    left, right = car.x - width / 2 - 0.06, car.x + width / 2 + 0.06
    found = [(_slab(left, right, car.z, car.z + length), 235)]
    if aside or ahead:
        left, right = left + min(0.0, aside), right + max(0.0, aside)
        near, far = car.z + min(0.0, ahead), car.z + length + max(0.0, ahead)
        found.append((_slab(left, right, near, far), 255))
    return found


def _tree_shadows(tree: Tree, run_x: float, run_z: float, sunny: bool) -> list[tuple[Outline, int]]:
    found = []
    wide, tall = tree.crown
    for x, y, size, _ in tree.blobs[:: 3 if sunny else 9]:
        height = tree.trunk + tall * (1.0 + y)
        middle_x, middle_z = tree.x + wide * x + run_x * height, tree.z + run_z * height
        half = size * wide
        found.append(
            (_slab(middle_x - half, middle_x + half, middle_z - size, middle_z + size), 255 if sunny else 90)
        )
    return found


def _slab(left: float, right: float, near: float, far: float) -> Outline:
    return [(left, near), (right, near), (right, far), (left, far)]


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
