"""The built-in data set, as a source."""

import threading

import numpy as np

from tfsegkd.checks import one_of, whole
from tfsegkd.data.registry import datasets
from tfsegkd.data.road_scenes.render import render, with_void_band
from tfsegkd.data.road_scenes.sample import sample_scene
from tfsegkd.data.source import DatasetInfo, Source

INFO = DatasetInfo(
    name="road_scenes",
    class_names=(
        "sky", "building", "pole", "road", "sidewalk", "tree", "sign", "fence", "car", "person", "bicyclist",
    ),
    palette=(
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (0, 0, 192), (128, 128, 0),
        (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
)  # fmt: skip

NUM_IMAGES = {"train": 480, "val": 96, "test": 96}
_SMALLEST, _LARGEST = 32, 4096


class RoadScenes(Source):
    """Streets drawn by the package itself, for a first training without any download.

    Scenes differ in their street, camera, traffic, light (sun, overcast, low sun, night) and weather (haze,
    fog, rain). A scene depends on `seed`, `split` and its index alone: at another size it is the same street
    in another resolution, and no two splits share one. Each is drawn when it is first read and then kept.

    Args:
        split: 'train', 'val' or 'test'.
        height: Height of the pictures in pixels, from 32 on.
        width: Width of the pictures in pixels, from 32 on.
        num_images: How many scenes; by default 480 for training, 96 for each of the others.
        seed: Another number gives another city.

    Shapes:
        image: (H, W, 3), uint8, RGB, read-only.
        mask: (H, W), uint8, read-only: CamVid's eleven classes, in its order; 255 where they meet.

    Raises:
        ValueError: for an unknown split, or a size, number or seed out of range.
    """

    def __init__(
        self, split: str, height: int = 144, width: int = 192, num_images: int | None = None, seed: int = 0
    ):
        one_of(split, tuple(NUM_IMAGES), "split of road_scenes")
        self.split = split
        self.height = whole(height, _SMALLEST, "height of road_scenes", _LARGEST)
        self.width = whole(width, _SMALLEST, "width of road_scenes", _LARGEST)
        self.seed = whole(seed, 0, "seed of road_scenes", 2**63 - 1)
        count = NUM_IMAGES[split] if num_images is None else num_images
        count = whole(count, 1, "num_images of road_scenes", 10**6)
        super().__init__(INFO, [f"{split}_{index:05d}" for index in range(count)])
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        # One lock a scene: several threads may draw, but none draws what another is drawing.
        self._locks = [threading.Lock() for _ in range(count)]

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        index = range(len(self))[index]  # -1 is the last scene, not another one; too large an index raises
        with self._locks[index]:
            if index not in self._kept:
                self._kept[index] = self._draw(index)
            return self._kept[index]

    def _draw(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        image, labels = render(sample_scene(self.seed, self.split, index), self.height, self.width)
        mask = with_void_band(labels)
        # Whoever wrote into a kept picture would change every later epoch.
        image.setflags(write=False)
        mask.setflags(write=False)
        return image, mask


@datasets.register("road_scenes")
def road_scenes(
    split: str,
    data_dir=None,
    height: int = 144,
    width: int = 192,
    num_images: int | None = None,
    seed: int = 0,
) -> RoadScenes:
    """Built-in road scenes, drawn by the package itself: see `RoadScenes`. `data_dir` has no use here."""
    return RoadScenes(split, height, width, num_images, seed)
