"""What tools/inspect_data.py counts, prints and draws."""

import json

import numpy as np
import pytest
from PIL import Image

from tfsegkd.data import DatasetInfo, Source
from tfsegkd.evaluation import contact_sheet

NAMES = ("field", "road", "sky")


@pytest.fixture
def folder(tmp_path):
    """Ten frames; the last two are for validation. Masks are half field, a quarter road, a quarter void."""
    root = tmp_path / "data"
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    (root / "labels.txt").write_text("\n".join(NAMES))
    for number in range(10):
        size = (16, 24) if number < 7 else (8, 12)
        mask = np.repeat([0, 0, 1, 255], size[0] // 4)[:, None].repeat(size[1], 1).astype(np.uint8)
        Image.new("RGB", size[::-1], (25 * number,) * 3).save(root / "images" / f"{number}.png")
        Image.fromarray(mask).save(root / "masks" / f"{number}.png")
    return root


def test_what_is_in_a_folder(shell, folder):
    (folder / "images" / "3.png").write_bytes(b"")
    out = folder.parent / "inspection"
    result = shell("inspect_data", "--dataset=folder", f"--data_dir={folder}", f"--output_dir={out}")
    assert result.code == 0, result.err
    report = json.loads((out / "inspection.json").read_text())
    train, val = report["splits"]["train"], report["splits"]["val"]
    assert (train["examples"], val["examples"]) == (7, 2)
    assert train["sizes"] == {"16x24": 5, "8x12": 2}
    shares = {row["name"]: (round(row["share"], 4), row["examples"]) for row in train["classes"]}
    assert shares == {"field": (0.6667, 7), "road": (0.3333, 7), "sky": (0, 0)}
    assert train["void_share"] == 0.25 and train["never_present"] == ["sky"]
    assert list(train["bad"]) == ["3.png"]
    assert "folder train: 7 examples\n  height x width: 16x24 (5), 8x12 (2)\n" in result.out
    assert "note: There are no splits: of 10 examples" in result.out and len(train["notes"]) == 1
    assert "never present: sky\n" in result.out and "cannot be read: Cannot read" in result.out
    for split in ("train", "val"):
        with Image.open(out / f"{split}.png") as picture:
            assert picture.format == "PNG" and picture.width == 1280


def test_frames_without_labels_are_shown_as_they_are(shell, folder):
    out = folder.parent / "inspection"
    flags = ("--dataset=unlabelled", f"--data_dir={folder / 'images'}", f"--output_dir={out}", "--splits=all")
    result = shell("inspect_data", *flags)
    assert result.code == 0, result.err
    assert "unlabelled all: 10 examples" in result.out and "without labels" in result.out
    assert json.loads((out / "inspection.json").read_text())["splits"]["all"]["classes"] == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--splits=train,vale"], ["vale"]),
        (["--noskip_bad_examples"], ["Cannot read", "3.png"]),
        (["--examples=0"], ["examples"]),
    ],
)
def test_faults_are_one_line(shell, folder, flags, words):
    (folder / "images" / "3.png").write_bytes(b"")
    where = ("--dataset=folder", f"--data_dir={folder}", f"--output_dir={folder.parent / 'out'}")
    result = shell("inspect_data", *where, *flags)
    assert result.code == 1
    assert "Traceback" not in result.err and all(word in result.err for word in words)


class Halves(Source):
    """Black frames, their upper half of class 0, the lower half void."""

    def __init__(self, count, size=(60, 40)):
        super().__init__(
            DatasetInfo("halves", ("first", "second"), ((255, 0, 0), (0, 255, 0))),
            [f"é {n}" for n in range(count)],
        )
        self.size = size

    def read(self, index):
        mask = np.zeros(self.size, np.uint8)
        mask[self.size[0] // 2 :] = 255
        return np.zeros((*self.size, 3), np.uint8), mask


def drawn(path, source, **options):
    contact_sheet(path, source, "a title", **options)
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def test_labels_lie_beside_their_image_and_void_is_striped(tmp_path):
    sheet = drawn(tmp_path / "sheet.png", Halves(1), shares=[1.0, None, 0.5])
    red = (sheet == (153, 0, 0)).all(-1)  # 60 % of the class's color over black
    rows, columns = np.nonzero(red)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    assert red[top:bottom, left:right].all()
    # As wide to high as half of a frame of 60×40.
    assert abs((bottom - top) / (right - left) - 30 / 40) < 0.02
    below = sheet[bottom + 2 : bottom + (bottom - top) - 2, left:right]
    assert {tuple(color) for color in below.reshape(-1, 3)} == {(0, 0, 0), (165, 165, 165)}
    assert (sheet[top:bottom, left - 311 : left - 1][:, 150:160] == 0).all()


@pytest.mark.parametrize("size", [(1, 400), (400, 1), (37, 53)])
def test_sheets_of_any_shape_and_length(tmp_path, size):
    heights = []
    for count, examples in ((1, 3), (5, 3), (5, 99)):
        sheet = drawn(tmp_path / "sheet.png", Halves(count, size), count=examples)
        assert sheet.shape[1] == 1280 and (sheet != 255).any()
        heights.append(sheet.shape[0])
    assert heights == sorted(heights)


def test_without_labels_there_is_no_legend(tmp_path):
    source = Halves(4)
    source.labelled = False
    assert not (drawn(tmp_path / "sheet.png", source) == (255, 0, 0)).all(-1).any()
