"""The built-in scenes: the same everywhere, different from each other, and labelled as promised."""

import dataclasses
import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tfsegkd
from tfsegkd.data.registry import datasets
from tfsegkd.data.road_scenes import RoadScenes, source, things
from tfsegkd.data.road_scenes.canvas import View
from tfsegkd.data.road_scenes.render import render, with_void_band
from tfsegkd.data.road_scenes.sample import sample_scene
from tfsegkd.data.road_scenes.scene import Sensor, Weather

THIN_AND_SMALL = ("pole", "sign")


def digest(examples) -> str:
    total = hashlib.sha256()
    for image, mask in examples:
        total.update(image.tobytes() + mask.tobytes())
    return total.hexdigest()


# The parent packages are stood in for, so that the child has nothing but what the scenes themselves need.
CHILD = """
import hashlib, sys, types
for name, path in (("tfsegkd", {root!r}), ("tfsegkd.data", {root!r} + "/data")):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [path]
from tfsegkd.data.road_scenes import RoadScenes
total = hashlib.sha256()
for image, mask in RoadScenes("val", 48, 64, 3, seed=7):
    total.update(image.tobytes() + mask.tobytes())
print(total.hexdigest(), "tensorflow" in sys.modules)
"""


def test_same_in_another_process_without_tensorflow():
    environment = os.environ | {"PYTHONHASHSEED": "123"}
    command = [sys.executable, "-c", CHILD.format(root=tfsegkd.__path__[0])]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert printed.split() == [digest(RoadScenes("val", 48, 64, 3, seed=7)), "False"]


def test_same_in_any_reading_order_and_whatever_the_number_of_images():
    forwards, backwards = RoadScenes("train", 48, 64, 5), RoadScenes("train", 48, 64, 9)
    late = [backwards.read(index) for index in reversed(range(5))][::-1]
    assert digest(forwards) == digest(late)


def test_threads_draw_each_scene_once(monkeypatch):
    drawn = []

    def counted(scene, height, width):
        drawn.append(scene)
        return render(scene, height, width)

    monkeypatch.setattr(source, "render", counted)
    scenes = RoadScenes("train", 48, 64, 6)
    wanted = [0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0] * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(scenes.read, wanted))
    assert len(drawn) == 6
    fresh = RoadScenes("train", 48, 64, 6)
    for index, (image, mask) in zip(wanted, found, strict=True):
        assert image is scenes.read(index)[0]
        np.testing.assert_array_equal(image, fresh.read(index)[0])
        np.testing.assert_array_equal(mask, fresh.read(index)[1])


def test_callers_cannot_spoil_what_is_kept():
    image, mask = RoadScenes("test", 48, 64, 1)[0]
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0] = 0
    with pytest.raises(ValueError, match="read-only"):
        mask += 1


@pytest.mark.parametrize("height, width", [(97, 131), (144, 192), (32, 32), (33, 200), (200, 33)])
def test_sizes_types_and_labels(height, width):
    scenes = RoadScenes("val", height, width, 3)
    for image, mask in scenes:
        assert image.shape == (height, width, 3) and image.dtype == np.uint8
        assert mask.shape == (height, width) and mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {*range(scenes.info.num_classes), scenes.info.ignore_label}
        assert image.std() > 2


def test_another_size_is_the_same_scene():
    for index in range(6):
        scene = sample_scene(0, "train", index)
        _, small = render(scene, 72, 96)
        _, large = render(scene, 216, 288)
        assert (large[1::3, 1::3] == small).mean() > 0.88


def test_default_lengths_and_names():
    assert [len(RoadScenes(split)) for split in ("train", "val", "test")] == [480, 96, 96]
    names = [name for split in ("train", "val", "test") for name in RoadScenes(split).names]
    assert len(set(names)) == len(names)


def test_no_two_scenes_share_their_parameters():
    scenes = [
        sample_scene(seed, split, index)
        for seed in (0, 1)
        for split in ("train", "val", "test")
        for index in range(25)
    ]
    for part in ("camera", "street", "sensor", "grain"):
        assert len({getattr(scene, part) for scene in scenes}) == len(scenes), part
    # One street could still be another's with a new camera on it: no wall or car may come twice either.
    stock = [thing for scene in scenes for thing in scene.things]
    assert len(set(stock)) == len(stock)


def test_another_seed_or_split_is_another_mask():
    masks = [
        RoadScenes(split, 48, 64, 1, seed=seed)[0][1]
        for split, seed in (("train", 0), ("train", 1), ("val", 0))
    ]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert (masks[i] != masks[j]).mean() > 0.05


def test_class_names_stand_at_their_labels():
    for label, name in enumerate(source.INFO.class_names):
        assert getattr(things, name.upper()) == label
    assert len(set(source.INFO.palette)) == len(source.INFO.palette) == source.INFO.num_classes


def test_every_class_appears_often_enough():
    masks = np.stack([mask for _, mask in RoadScenes("train", num_images=40)])
    for label, name in enumerate(source.INFO.class_names):
        found = masks == label
        assert found.any(axis=(1, 2)).mean() > (0.6 if name in THIN_AND_SMALL else 0.3), name
        assert found.mean() > 0.0015, name
    assert 0.01 < (masks == 255).mean() < 0.12


@pytest.mark.parametrize("height, reach", [(48, 1), (288, 2), (432, 3)])
def test_void_lies_at_class_borders_only_and_at_all_of_them(height, reach):
    width = 40
    _, labels = render(sample_scene(3, "train", 1), height, width)
    mask = with_void_band(labels)
    void = mask == 255
    assert (mask == labels)[~void].all()
    assert void.any()
    near = [
        (a, b) for a in range(-reach, reach + 1) for b in range(-reach, reach + 1) if abs(a) + abs(b) <= reach
    ]
    for row in range(height):
        for column in range(width):
            here = labels[row, column]
            if void[row, column]:
                around = [(row + a, column + b) for a, b in near]
                inside = [labels[r, c] for r, c in around if 0 <= r < height and 0 <= c < width]
                assert any(other != here for other in inside)
            for r, c in ((row + 1, column), (row, column + 1)):
                if r < height and c < width and labels[r, c] != here:
                    assert void[row, column] or void[r, c]


def test_void_spares_a_pole_one_pixel_wide():
    labels = np.full((20, 21), things.SKY, np.uint8)
    labels[:, 10] = things.POLE
    mask = with_void_band(labels)
    assert (mask[:, 10] == things.POLE).all()
    assert (mask[:, [9, 11]] == 255).all()
    assert (np.delete(mask, [9, 10, 11], axis=1) == things.SKY).all()


def test_rays_go_through_the_points_they_show():
    for index in range(20):
        camera = sample_scene(0, "val", index).camera
        view = View(camera, 145, 190)
        random = np.random.default_rng(index)
        for x, y, z in zip(
            random.uniform(-4, 4, 30), random.uniform(0, 3, 30), random.uniform(5, 60, 30), strict=True
        ):
            column, row = (round(value) for value in view.point(x, y, z))
            if 0 <= row < 145 and 0 <= column < 190:
                sideways = (x + camera.bend * z * z / 2 - camera.x) / z
                half_a_pixel = 0.75 / (camera.focal * 190)
                assert abs(view.right[row, column] - sideways) < half_a_pixel
                assert abs(view.down[row, column] - (camera.height - y) / z) < half_a_pixel


def test_near_things_hide_far_ones_and_are_larger():
    scene = next(
        scene for index in range(50) if (scene := sample_scene(0, "train", index)).light.kind == "overcast"
    )
    person = next(thing for thing in scene.things if isinstance(thing, things.Person))
    camera = dataclasses.replace(scene.camera, x=0.0, bend=0.0, roll=0.0, centre=0.5)
    lorry = things.Car(0.0, 8.0, "lorry", (2.4, 3.1, 7.5), 1, (90.0, 90.0, 90.0))

    def people(*persons, cars=()):
        standing = sorted((*persons, *cars), key=lambda thing: -thing.order)
        weather = Weather(fog=0.0, rain=0.0)
        _, labels = render(
            dataclasses.replace(scene, camera=camera, weather=weather, things=tuple(standing)), 144, 192
        )
        return int((labels == things.PERSON).sum())

    near, far = (dataclasses.replace(person, x=0.0, z=z) for z in (6.0, 24.0))
    assert people(near) > 6 * people(far) > 0
    assert people(far, cars=(lorry,)) == 0
    assert people(near, cars=(lorry,)) == people(near)


def test_fog_takes_what_it_hides_out_of_the_mask():
    scene = sample_scene(0, "train", 0)
    clear, foggy = (
        render(dataclasses.replace(scene, weather=Weather(fog=fog, rain=0.0)), 72, 96)[1]
        for fog in (0.0, 1.0)
    )
    assert (clear == things.BUILDING).sum() > (foggy == things.BUILDING).sum()
    assert (foggy == things.CAR).sum() == 0


def test_light_and_sensor_change_the_picture_but_not_the_labels():
    scene = sample_scene(0, "train", 5)
    dark = dataclasses.replace(scene, sensor=Sensor(0.4, (1.0, 1.0, 1.0), 1.0, 3.0, 0.1, 0.2))
    (image, labels), (other, other_labels) = render(scene, 72, 96), render(dark, 72, 96)
    np.testing.assert_array_equal(labels, other_labels)
    assert other.mean() < image.mean()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"split": "trian"}, r"split of road_scenes.*'train', 'val', 'test'.*'trian'"),
        ({"split": "train", "height": 8}, r"height of road_scenes.*from 32 to 4096.*8"),
        ({"split": "train", "width": 19.5}, r"width of road_scenes.*whole number.*19.5"),
        ({"split": "train", "num_images": 0}, r"num_images of road_scenes.*from 1.*0"),
        ({"split": "train", "seed": -1}, r"seed of road_scenes.*from 0.*-1"),
        ({"split": "train", "seed": True}, r"seed of road_scenes.*True"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        RoadScenes(**arguments)


def test_found_by_name_with_its_options():
    scenes = datasets.build(
        "road_scenes(height=48, width=64, num_images=2, seed=7)", split="val", data_dir=None
    )
    assert digest(scenes) == digest(RoadScenes("val", 48, 64, 2, seed=7))


def test_index_beyond_the_end():
    scenes = RoadScenes("val", 32, 32, 2)
    with pytest.raises(IndexError):
        scenes[2]
    with pytest.raises(IndexError):
        scenes.read(2)
    assert scenes[-1][0] is scenes.read(-1)[0] is scenes[1][0]
