"""Augmentation against plain loops: where a crop looks, and which colors it sees."""

import colorsys
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd.data import resize_image, resize_mask, transforms
from tfsegkd.data.transforms import (
    NO_AUGMENTATION,
    Augmentation,
    ColorJitter,
    crop_of_map,
    look,
    look_at_map,
    random_view,
)

FRAME = (9, 14)
GEOMETRY_ONLY = Augmentation(0.6, 1.7, True, 0, 0, 0, 0)
KEYS = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (3, 2, 1), (3, 2, 2), (2**31 - 1, 40, 366)]
RNG = np.random.default_rng(0)
IMAGE = RNG.uniform(0, 255, (*FRAME, 3)).astype(np.float32)
MASK = RNG.integers(0, 5, FRAME).astype(np.uint8)
FILL = 127.5


def draws(key, stream, low=0.0, count=4):
    return tf.random.stateless_uniform([count], transforms._stream(tf.constant(key), stream), low, 1).numpy()


def geometry(key, frame, crop, augmentation):
    """Scale, offset in pixels of the scaled frame, and whether it is mirrored, in the words of the docs."""
    u = draws(key, transforms._GEOMETRY).astype(np.float64)
    scale = augmentation.min_scale * (augmentation.max_scale / augmentation.min_scale) ** u[0]
    top, left = (u[1 + axis] * (scale * frame[axis] - crop[axis]) for axis in (0, 1))
    return scale, top, left, augmentation.flip and u[3] < 0.5


def oracle(frame, key, crop, augmentation, fill, nearest):
    """Plain loops; returns the crop and where rounding may decide about it."""
    scale, top, left, mirrored = geometry(key, frame.shape[:2], crop, augmentation)
    out = np.zeros((*crop, frame.shape[2]))
    doubtful = np.zeros(crop, bool)

    def at(row, column):
        inside = 0 <= row < frame.shape[0] and 0 <= column < frame.shape[1]
        return frame[row, column].astype(np.float64) if inside else np.full(frame.shape[2], float(fill))

    for row in range(crop[0]):
        for column in range(crop[1]):
            seen = crop[1] - 1 - column if mirrored else column
            y = (row + 0.5 + top) / scale - 0.5
            x = (seen + 0.5 + left) / scale - 0.5
            if nearest:
                out[row, column] = at(math.floor(y + 0.5), math.floor(x + 0.5))
                doubtful[row, column] = any(abs((v + 0.5) - round(v + 0.5)) < 1e-4 for v in (y, x))
                continue
            y0, x0 = math.floor(y), math.floor(x)
            for dy, wy in ((0, y0 + 1 - y), (1, y - y0)):
                for dx, wx in ((0, x0 + 1 - x), (1, x - x0)):
                    out[row, column] += wy * wx * at(y0 + dy, x0 + dx)
    return out, doubtful


def views(keys, frame, crop, augmentation):
    return tf.stack([random_view(tf.constant(key), frame, crop, augmentation) for key in keys])


def test_the_keys_below_show_both_flips_and_both_smaller_and_larger_frames():
    seen = [geometry(key, FRAME, FRAME, GEOMETRY_ONLY) for key in KEYS]
    assert {bool(mirrored) for *_, mirrored in seen} == {True, False}
    assert min(scale for scale, *_ in seen) < 1 < max(scale for scale, *_ in seen)


@pytest.mark.parametrize("crop", [FRAME, (5, 6), (16, 11)])
@pytest.mark.parametrize("key", KEYS)
def test_images_are_sampled_bilinearly_between_pixel_centres(key, crop):
    view = views([key], FRAME, crop, GEOMETRY_ONLY)
    seen = look(IMAGE[None], view, crop, FILL, nearest=False)[0].numpy()
    expected, _ = oracle(IMAGE, key, crop, GEOMETRY_ONLY, FILL, nearest=False)
    assert seen.shape == (*crop, 3)
    np.testing.assert_allclose(seen, expected, atol=5e-3)


@pytest.mark.parametrize("crop", [FRAME, (5, 6), (16, 11)])
@pytest.mark.parametrize("key", KEYS)
def test_masks_keep_their_labels_and_void_surrounds_them(key, crop):
    view = views([key], FRAME, crop, GEOMETRY_ONLY)
    seen = look(MASK[None, ..., None], view, crop, 255, nearest=True)[0].numpy()
    expected, doubtful = oracle(MASK[..., None], key, crop, GEOMETRY_ONLY, 255, nearest=True)
    assert seen.dtype == np.uint8
    assert doubtful.mean() < 0.1
    np.testing.assert_array_equal(seen[~doubtful], expected[~doubtful])


@pytest.mark.parametrize("key", KEYS)
def test_no_augmentation_is_the_identity(key):
    view = views([key], FRAME, FRAME, NO_AUGMENTATION)
    np.testing.assert_array_equal(look(IMAGE[None], view, FRAME, FILL, nearest=False)[0], IMAGE)
    np.testing.assert_array_equal(
        look(MASK[None, ..., None], view, FRAME, 255, nearest=True)[0, ..., 0], MASK
    )
    np.testing.assert_array_equal(ColorJitter(NO_AUGMENTATION)(IMAGE[None], tf.constant([key]))[0], IMAGE)


def test_a_flip_alone_mirrors_exactly():
    flip_only = Augmentation(1, 1, True, 0, 0, 0, 0)
    mirrored = 0
    for index in range(12):
        seen = look(IMAGE[None], views([(0, 0, index)], FRAME, FRAME, flip_only), FRAME, FILL, nearest=False)[
            0
        ]
        flips = bool(draws((0, 0, index), transforms._GEOMETRY)[3] < 0.5)
        np.testing.assert_array_equal(seen, IMAGE[:, ::-1] if flips else IMAGE)
        mirrored += flips
    assert 0 < mirrored < 12


def test_image_and_mask_move_together():
    """Labels painted into the image as grey values are found again wherever no border is near."""
    frame, crop = (48, 64), (40, 40)
    labels = np.kron(RNG.integers(0, 5, (4, 4)), np.ones((12, 16), int)).astype(np.uint8)
    painted = np.repeat(50.0 * labels[..., None], 3, -1).astype(np.float32)
    compared = 0
    for index in range(8):
        view = views([(1, 0, index)], frame, crop, GEOMETRY_ONLY)
        image = look(painted[None], view, crop, 250.0, nearest=False)[0].numpy()
        mask = look(labels[None, ..., None], view, crop, 5, nearest=True)[0, ..., 0].numpy()
        around = np.stack([np.roll(mask, shift, (0, 1)) for shift in np.ndindex(5, 5)])
        inner = np.roll((around == around[0]).all(0), (-2, -2), (0, 1))
        inner[:2] = inner[-2:] = inner[:, :2] = inner[:, -2:] = False
        np.testing.assert_allclose(image[inner, 0], 50.0 * mask[inner], atol=1e-2)
        compared += inner.sum()
    assert compared > 8 * 300


@pytest.mark.parametrize(
    ("frame", "crop", "whole"), [((24, 40), (24, 40), (6, 10)), ((24, 40), (16, 24), (3, 5))]
)
@pytest.mark.parametrize("key", KEYS)
def test_a_map_of_another_resolution_looks_where_its_frame_does(key, frame, crop, whole):
    # Each position of the map holds its own centre, in pixels of the frame.
    rows, columns = ((np.arange(n) + 0.5) * m / n for n, m in zip(whole, frame, strict=True))
    centres = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).astype(np.float32)
    seen = look_at_map(centres, views([key], frame, crop, GEOMETRY_ONLY)[0], frame, crop).numpy()
    scale, top, left, mirrored = geometry(key, frame, crop, GEOMETRY_ONLY)
    assert seen.shape[:2] == tuple(round(w * c / f) for w, c, f in zip(whole, crop, frame, strict=True))
    assert seen.shape[:2] == crop_of_map(whole, frame, crop)
    for row in range(seen.shape[0]):
        for column in range(seen.shape[1]):
            y = (row + 0.5) * crop[0] / seen.shape[0]
            x = (column + 0.5) * crop[1] / seen.shape[1]
            x = crop[1] - x if mirrored else x
            # Between the outermost centres the map is linear; beyond them it stays as they are.
            expected = (
                np.clip((y + top) / scale, rows[0], rows[-1]),
                np.clip((x + left) / scale, *columns[[0, -1]]),
            )
            np.testing.assert_allclose(seen[row, column], expected, rtol=1e-4, atol=1e-3)


def test_scales_are_log_uniform_and_half_of_the_frames_are_mirrored():
    augmentation = Augmentation(0.5, 2.0)
    keys = tf.constant([(0, 0, index) for index in range(400)])
    many = tf.vectorized_map(lambda key: random_view(key, FRAME, FRAME, augmentation), keys).numpy()
    scales = 1 / many[:, 4]
    assert 0.5 <= scales.min() < 0.55 < 1.8 < scales.max() <= 2.0
    assert abs(np.log(scales).mean()) < 0.1
    assert 0.4 < (many[:, 0] < 0).mean() < 0.6
    np.testing.assert_allclose(abs(many[:, 0]), many[:, 4])


def test_the_same_key_gives_the_same_frame_eagerly_and_in_tf_data():
    keys = tf.constant(KEYS)
    augmentation = Augmentation()
    jitter = ColorJitter(augmentation)

    def one(key):
        return look(IMAGE[None], random_view(key, FRAME, FRAME, augmentation)[None], FRAME, FILL, False)[
            0
        ], key

    batches = tf.data.Dataset.from_tensor_slices(keys).map(one).batch(len(KEYS)).map(jitter)
    inside = next(iter(batches)).numpy()
    eager = jitter(tf.stack([one(key)[0] for key in keys]), keys).numpy()
    np.testing.assert_allclose(inside, eager, atol=1e-2)
    # An example does not depend on its neighbours in the batch.
    alone = jitter(one(keys[3])[0][None], keys[3:4])[0].numpy()
    np.testing.assert_allclose(alone, eager[3], atol=1e-2)


def test_seed_epoch_and_index_each_change_the_draws():
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1)]
    for stream, low in ((transforms._GEOMETRY, 0.0), (transforms._COLOR, -1.0)):
        values = np.array([draws(key, stream, low) for key in keys])
        assert len(np.unique(values)) == values.size
    assert abs(draws(KEYS[0], transforms._GEOMETRY) - draws(KEYS[0], transforms._COLOR)).min() > 1e-6


def plain_jitter(image, key, augmentation):
    """The same colors by textbook formulas, pixel by pixel."""
    brightness, contrast, saturation, hue = draws(key, transforms._COLOR, -1.0).astype(np.float64)
    image = image.astype(np.float64)
    if augmentation.brightness:
        image = np.clip(image + 255 * augmentation.brightness * brightness, 0, 255)
    if augmentation.contrast:
        mean = image.mean((0, 1))
        image = np.clip((image - mean) * (1 + augmentation.contrast * contrast) + mean, 0, 255)
    out = np.empty_like(image)
    for place in np.ndindex(image.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*image[place] / 255)
        share = 0.5 + 0.5 * augmentation.saturation * saturation
        s = min(s * share / (1 - share), 1)
        h = (h + 0.5 * augmentation.hue * hue) % 1
        out[place] = np.array(colorsys.hsv_to_rgb(h, s, v)) * 255
    return out


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue", "all"])
@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_colors_follow_the_formulas(name, strength):
    strengths = {n: strength * (name in (n, "all")) for n in ("brightness", "contrast", "saturation", "hue")}
    augmentation = Augmentation(1, 1, False, **strengths)
    images = np.stack([IMAGE, 255 - IMAGE, np.full_like(IMAGE, 40)])
    keys = KEYS[3:]
    seen = ColorJitter(augmentation)(tf.constant(images), tf.constant(keys)).numpy()
    assert not np.allclose(seen[0], IMAGE, atol=1)
    assert seen.min() >= 0
    assert seen.max() <= 255.001
    for image, key, got in zip(images, keys, seen, strict=True):
        np.testing.assert_allclose(got, plain_jitter(image, key, augmentation), atol=0.05)


@pytest.mark.parametrize("level", [0.0, 255.0])
def test_black_and_white_frames_stay_finite_and_in_range(level):
    keys = tf.constant([(0, 0, index) for index in range(16)])
    images = tf.fill((16, 2, 3, 3), level)
    seen = ColorJitter(Augmentation(1, 1, False, 1, 1, 1, 1))(images, keys).numpy()
    assert np.isfinite(seen).all()
    assert 0 <= seen.min() <= seen.max() <= 255.001


SCRIPT = """
import json, os, sys
import tensorflow as tf
if {touched_first}:
    tf.keras.layers.Dense
from tfsegkd.data.transforms import Augmentation, ColorJitter
images = tf.reshape(tf.range(2 * 4 * 4 * 3, dtype=tf.float32) * 2.5, (2, 4, 4, 3))
keys = tf.constant([[0, 0, 0], [1, 2, 3]])
seen = ColorJitter(Augmentation())(images, keys).numpy().round(2).tolist()
users = tf.keras.layers.Dense.__module__.split(".")[0]
print(json.dumps([os.environ.get("TF_USE_LEGACY_KERAS"), users, seen]))
"""


@pytest.mark.parametrize(
    ("variable", "touched_first", "package"),
    [
        (None, True, "keras"),
        pytest.param("0", False, "keras", marks=pytest.mark.slow),
        pytest.param("1", False, "tf_keras", marks=pytest.mark.slow),
    ],
)
def test_colors_do_not_depend_on_the_users_keras(variable, touched_first, package):
    environment = {key: value for key, value in os.environ.items() if key != "TF_USE_LEGACY_KERAS"}
    if variable is not None:
        environment["TF_USE_LEGACY_KERAS"] = variable
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("{touched_first}", str(touched_first))],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    left, users, seen = json.loads(process.stdout.splitlines()[-1])
    assert (left, users) == (variable, package)
    images = tf.reshape(tf.range(2 * 4 * 4 * 3, dtype=tf.float32) * 2.5, (2, 4, 4, 3))
    here = ColorJitter(Augmentation())(images, tf.constant([[0, 0, 0], [1, 2, 3]]))
    np.testing.assert_allclose(seen, here, atol=0.02)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"min_scale": 0}, "min_scale"),
        ({"min_scale": 1.2, "max_scale": 1.1}, "max_scale"),
        ({"brightness": -0.1}, "brightness"),
        ({"contrast": 1.1}, "contrast"),
        ({"saturation": float("nan")}, "saturation"),
        ({"hue": "much"}, "hue"),
    ],
)
def test_strengths_out_of_range_are_refused(arguments, name):
    with pytest.raises(ValueError, match=f"{name} must be a number from"):
        Augmentation(**arguments)


def test_resizing_averages_images_and_keeps_labels():
    image = np.repeat(RNG.integers(0, 256, (8, 12, 1)), 3, -1).astype(np.uint8)
    small = resize_image(image, (4, 6))
    assert small.shape == (4, 6, 3)
    assert abs(small.mean() - image.mean()) < 3
    mask = np.kron(RNG.integers(0, 5, (4, 6)), np.ones((2, 2), int)).astype(np.uint8)
    np.testing.assert_array_equal(resize_mask(mask, (4, 6)), mask[::2, ::2])
    np.testing.assert_array_equal(resize_mask(mask[::2, ::2].copy(), (8, 12)), mask)
    np.testing.assert_array_equal(resize_image(image, (8, 12)), image)
