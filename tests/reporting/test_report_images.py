"""What is counted of the frames is what plain loops count."""

import base64
import io
import zlib

import numpy as np
import pytest
from PIL import Image

from tfsegkd import models, runtime
from tfsegkd.reporting import images as report_images
from tfsegkd.reporting import read_runs


@pytest.fixture(scope="module")
def runs(finished):
    return read_runs([finished])


@pytest.fixture(scope="module")
def examined(runs, source):
    return report_images.examine(runs, source, 100)


def logits(run, stage, image):
    path = run.networks[stage]
    if stage == "int8":
        return runtime.Network(path).predict(image[None])[0]
    return models.load(path)(image[None].astype(np.float32)).numpy()[0]


@pytest.mark.parametrize("stage", ["student", "int8"])
def test_confusion_and_iou_by_plain_loops(stage, runs, examined, source):
    counts, ious = np.zeros((3, 3), int), []
    for image, mask in source:
        guess = logits(runs[0], stage, image).argmax(-1)
        own = np.zeros((3, 3), int)
        for want, got in zip(mask.ravel(), guess.ravel(), strict=True):
            if want != 255:
                own[want, got] += 1
        counts += own
        union = [own[k].sum() + own[:, k].sum() - own[k, k] for k in range(3)]
        ious.append([own[k, k] / union[k] if union[k] else np.nan for k in range(3)])
    np.testing.assert_array_equal(examined.confusions[0, stage], counts)
    np.testing.assert_allclose(examined.ious[0, stage], ious)


def test_disagreement_by_plain_loops(runs, examined, source):
    valid, differing, fixed, broken = np.zeros(3, int), np.zeros(3, int), 0, 0
    for image, mask in source:
        before, after = (logits(runs[0], stage, image).argmax(-1) for stage in ("student", "int8"))
        for want, a, b in zip(mask.ravel(), before.ravel(), after.ravel(), strict=True):
            if want == 255:
                continue
            valid[want] += 1
            differing[want] += a != b
            fixed += a != b and b == want
            broken += a != b and a == want
    found = examined.disagreements[0]
    np.testing.assert_array_equal(found.valid, valid)
    np.testing.assert_array_equal(found.differing, differing)
    assert (found.fixed, found.broken) == (fixed, broken) and fixed and broken


def test_layers_are_as_wide_as_in_the_widest_student(examined):
    # The teacher has a layer of the same name and nine channels, which says nothing about the student's.
    assert examined.widths == {0: {"wide": 6, "logits": 3}}


def test_frames_are_spread_over_the_split(runs, source):
    few = report_images.examine(runs, source, 4)
    assert few.indices == [0, 4, 7, 11]
    assert few.ious[0, "int8"].shape == (4, 3)


def test_the_worst_come_first_and_the_others_are_spread(examined):
    key = (0, "int8")
    positions = report_images.chosen(examined, [key], 6)
    means = [np.nanmean(scores) for scores in examined.ious[key]]
    order = np.argsort(means, kind="stable").tolist()
    assert positions[:3] == order[:3]
    assert positions[3] == order[3] and positions[-1] == order[-1] and len(set(positions)) == 6
    assert sorted(report_images.chosen(examined, [key], 100)) == list(range(12))


def test_pictures_hold_the_image_the_label_and_each_prediction(runs, examined, source):
    (picture,) = report_images.pictures(examined, [5])
    image, mask = source[5]
    assert (picture["name"], picture["width"], picture["height"]) == ("frame_05.png", 48, 32)

    def unpacked(text):
        return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(32, 48)

    np.testing.assert_array_equal(unpacked(picture["label"]), mask)
    np.testing.assert_array_equal(
        unpacked(picture["masks"]["0/student"]), logits(runs[0], "student", image).argmax(-1)
    )
    head, content = picture["image"].split(",")
    assert head == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as seen:
        # The noise is the same in all colors, which WebP keeps fairly well.
        assert np.abs(np.asarray(seen, float) - image).mean() < 12
    scores = picture["iou"]["0/int8"]
    np.testing.assert_allclose(scores[1:], examined.ious[0, "int8"][5], atol=1e-4)
    assert scores[0] == pytest.approx(np.nanmean(examined.ious[0, "int8"][5]), abs=1e-4)


def test_pictures_stop_where_the_page_is_full(examined, monkeypatch):
    monkeypatch.setattr(report_images, "_MOST_BYTES", 3 * len(str(report_images.pictures(examined, [0]))))
    assert 1 < len(report_images.pictures(examined, range(12))) < 12
    monkeypatch.setattr(report_images, "_MOST_BYTES", 1)
    assert len(report_images.pictures(examined, range(12))) == 1


def test_large_frames_are_shown_smaller():
    mask = np.zeros((500, 1000), np.uint8)
    mask[:, 500:] = 7
    small = np.frombuffer(zlib.decompress(report_images.pack(mask)), np.uint8).reshape(240, 480)
    assert (small[:, :240] == 0).all() and (small[:, 240:] == 7).all()
