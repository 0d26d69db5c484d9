"""Outlines and runs become the pixels that plain loops, and COCO's own code, say."""

import numpy as np
import pytest
from pycocotools import mask as coco_masks

from tfsegkd.data.annotations.polygons import area, circle, fill, from_runs, paint
from tfsegkd.data.annotations.source import Drawing, Region, draw


def by_loops(points, size):
    """Each pixel's center against each edge: a ray to the right crosses the outline oddly often."""
    inside = np.zeros(size, bool)
    for row, column in np.ndindex(size):
        x, y, crossings = column + 0.5, row + 0.5, 0
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, 0), strict=True):
            if (y0 <= y) != (y1 <= y) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) > x:
                crossings += 1
        inside[row, column] = crossings % 2
    return inside


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("count", [3, 4, 9])
def test_pixels_are_those_whose_center_lies_inside(seed, count):
    random = np.random.default_rng(seed)
    size = (11, 17)
    points = random.uniform(-4, 21, (count, 2))  # across the border, and across itself
    np.testing.assert_array_equal(fill(points, size), by_loops(points, size))
    mask = np.zeros(size, np.uint8)
    paint(mask, points, 3)
    np.testing.assert_array_equal(mask == 3, by_loops(points, size))


def test_a_box_in_whole_pixels_has_its_pixels_and_no_more():
    assert fill(np.array([(2, 1), (5, 1), (5, 3), (2, 3)], float), (4, 6)).tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 0],
        [0, 0, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_large_outlines_are_those_of_coco():
    random = np.random.default_rng(0)
    angles = np.sort(random.uniform(0, 2 * np.pi, 30))
    points = 100 + random.uniform(50, 95, (30, 1)) * np.stack([np.cos(angles), np.sin(angles)], -1)
    theirs = coco_masks.decode(coco_masks.frPyObjects([points.ravel().tolist()], 200, 200))[..., 0] > 0
    ours = fill(points, (200, 200))
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.98
    assert abs(area(points) / ours.sum() - 1) < 0.01


def test_a_circle_has_its_area():
    points = circle((30, 31), (30, 51))
    assert fill(points, (64, 64)).sum() == pytest.approx(np.pi * 20**2, rel=0.01)


def test_runs_are_those_of_coco():
    random = np.random.default_rng(0)
    mask = random.random((7, 5)) < 0.4
    counts = coco_masks.frPyObjects({"counts": [35], "size": [7, 5]}, 7, 5)
    assert not coco_masks.decode(counts).any()
    changes = np.flatnonzero(np.diff(np.concatenate([[False], mask.T.ravel()]).astype(int)))
    runs = np.diff(np.concatenate([[0], changes, [35]])).tolist()
    theirs = coco_masks.decode(coco_masks.frPyObjects({"counts": runs, "size": [7, 5]}, 7, 5))
    np.testing.assert_array_equal(theirs > 0, mask)
    np.testing.assert_array_equal(from_runs(runs, (7, 5)), mask)


@pytest.mark.parametrize("runs", [[30], [30, 6], [40, -5], [35.0], [[35]], []])
def test_runs_of_another_length_are_refused(runs):
    with pytest.raises(ValueError, match="7×5"):
        from_runs(runs, (7, 5))


@pytest.mark.parametrize("order", ["area", "file"])
def test_masks_are_decoded_once_and_drawn_over_each_other(order):
    random = np.random.default_rng(5)
    size, decoded = (9, 13), []
    masks = [random.random(size) < share for share in (0.2, 0.7, 0, 0.4)]
    masks[0][:, :4] = masks[0][:2] = False  # within a box of its own

    def region(number):
        def decode():
            decoded.append(number)
            return masks[number]

        return Region(number + 1, f"mask {number}", mask=decode)

    found = draw([region(number) for number in range(4)], size, Drawing(0, order))
    assert sorted(decoded) == [0, 1, 2, 3]
    expected = np.zeros(size)
    for number in sorted(range(4), key=lambda number: -masks[number].sum() if order == "area" else number):
        for row, column in np.argwhere(masks[number]):
            expected[row, column] = number + 1
    np.testing.assert_array_equal(found, expected)
