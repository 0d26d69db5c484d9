"""A scene as a picture and a mask."""

import numpy as np

from tfsegkd.data.road_scenes import figures, ground, things, walls
from tfsegkd.data.road_scenes.canvas import Canvas, View
from tfsegkd.data.road_scenes.develop import develop
from tfsegkd.data.road_scenes.scene import Scene
from tfsegkd.data.source import IGNORE_LABEL

_PAINTERS = {
    things.Post: figures.paint_post,
    things.Tree: figures.paint_tree,
    things.Car: figures.paint_car,
    things.Person: figures.paint_person,
    things.Bicyclist: figures.paint_bicyclist,
}

# Optical depth of fog behind which a person who labels the picture sees nothing but sky.
_INVISIBLE = 3.5

# Where two classes meet, the void pixels are taken from the one further down this list.
_RANK = (
    things.POLE, things.SIGN, things.PERSON, things.BICYCLIST, things.CAR, things.FENCE, things.TREE,
    things.BUILDING, things.SIDEWALK, things.ROAD, things.SKY,
)  # fmt: skip


def render(scene: Scene, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Takes the picture of a scene and labels every pixel of it.

    Shapes:
        returns: image (H, W, 3) and labels (H, W), uint8; no pixel is void yet.
    """
    view = View(scene.camera, height, width)
    color, labels, far = ground.behind(scene, view)
    canvas = Canvas(color, labels, lit=scene.light.night)
    for thing in scene.things:
        if scene.weather.fog * thing.order > _INVISIBLE:
            continue
        if isinstance(thing, things.Wall):
            walls.paint_wall(canvas, view, thing, scene)
        else:
            _PAINTERS[type(thing)](canvas, view, thing, scene.light)
    color, labels, depth, shine = canvas.planes(far)
    return develop(scene, view, color, labels, depth, shine), labels


def with_void_band(labels: np.ndarray) -> np.ndarray:
    """Makes the borders between classes void, as annotators do, about one pixel wide in 144 rows.

    The band lies beside the smaller or nearer thing, never on it: a pole may be one pixel wide.
    """
    rank = np.empty(len(_RANK), np.int8)
    rank[list(_RANK)] = np.arange(len(_RANK), 0, -1)
    ranks = rank[labels]
    highest = ranks
    for _ in range(max(1, round(labels.shape[0] / 144))):
        grown = highest.copy()
        np.maximum(grown[1:], highest[:-1], out=grown[1:])
        np.maximum(grown[:-1], highest[1:], out=grown[:-1])
        np.maximum(grown[:, 1:], highest[:, :-1], out=grown[:, 1:])
        np.maximum(grown[:, :-1], highest[:, 1:], out=grown[:, :-1])
        highest = grown
    return np.where(highest > ranks, np.uint8(IGNORE_LABEL), labels)
