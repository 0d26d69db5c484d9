"""Pictures: the right colors in the right places."""

import numpy as np
import pytest
from fake_source import INFO, PALETTE, SIZE, FakeSource, network
from PIL import Image

from tfsegkd.evaluation import colored, overlay, overlays

MASK = np.array([[0, 1, 2], [3, 4, 255]], np.uint8)
IMAGE = np.full((2, 3, 3), 100, np.uint8)


def test_labels_have_their_colors_and_void_is_white():
    drawn = colored(MASK, INFO)
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn.reshape(6, 3), [*PALETTE, (255, 255, 255)])


def test_an_overlay_mixes_and_leaves_void_alone():
    drawn = overlay(IMAGE, MASK, INFO).reshape(6, 3)
    want = [[int(0.6 * part + 40) for part in color] for color in PALETTE]
    np.testing.assert_allclose(drawn[:5], want, atol=1)
    np.testing.assert_array_equal(drawn[5], [100, 100, 100])


def test_rows_and_columns_of_a_picture(tmp_path):
    source = FakeSource([SIZE, (6, 12), SIZE])
    path = tmp_path / "overlays.png"
    overlays(path, source, {"teacher": network(), "student": network()}, count=2)
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.mode == "RGB"
        drawn = np.asarray(picture)
    # The first and the last example, four cells of 240 pixels each, below a line of titles.
    rows, header = 240 * 8 // 12, drawn.shape[0] - 2 * 240 * 8 // 12
    assert drawn.shape[1] == 4 * 240 and 0 < header < 40
    assert (drawn[:header] < 128).any(), "titles"
    for number, index in enumerate((0, 2)):
        image, mask = source[index]
        row = drawn[header + number * rows : header + (number + 1) * rows]
        for column, want in enumerate((image, overlay(image, mask, INFO))):
            cell = row[:, column * 240 : (column + 1) * 240]
            large = Image.fromarray(want).resize((240, rows), Image.Resampling.BILINEAR)
            np.testing.assert_array_equal(cell, large)
        np.testing.assert_array_equal(row[:, 480:720], row[:, 720:])


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (2, 2), (9, 2)])
def test_no_more_rows_than_examples(count, rows, tmp_path):
    overlays(tmp_path / "overlays.png", FakeSource([SIZE, SIZE]), {}, count)
    with Image.open(tmp_path / "overlays.png") as picture:
        assert picture.width == 480 and (picture.height - 18) == rows * 160
