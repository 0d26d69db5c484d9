"""The original CamVid: colors of 32 classes, merged, and the splits that follow from the frames' names."""

import numpy as np
import pytest
from PIL import Image

from tfsegkd import data

# The data set's label_colors.txt, and the merge to SegNet's classes: the number of each, or void.
LABEL_COLORS = """
64 128 64\tAnimal
192 0 128\tArchway
0 128 192\tBicyclist
0 128 64\tBridge
128 0 0\t\tBuilding
64 0 128\tCar
64 0 192\tCartLuggagePram
192 128 64\tChild
192 192 128\tColumn_Pole
64 64 128\tFence
128 0 192\tLaneMkgsDriv
192 0 64\tLaneMkgsNonDriv
128 128 64\tMisc_Text
192 0 192\tMotorcycleScooter
128 64 64\tOtherMoving
64 192 128\tParkingBlock
64 64 0\t\tPedestrian
128 64 128\tRoad
128 128 192\tRoadShoulder
0 0 192\t\tSidewalk
192 128 128\tSignSymbol
128 128 128\tSky
64 128 192\tSUVPickupTruck
0 0 64\t\tTrafficCone
0 64 64\t\tTrafficLight
192 64 128\tTrain
128 128 0\tTree
192 128 192\tTruck_Bus
64 0 64\t\tTunnel
192 192 0\tVegetationMisc
0 0 0\t\tVoid
64 192 0\tWall
"""
MERGED = [9, 1, 10, 1, 1, 8, 9, 9, 2, 7, 3, 3, 6, 10, 8, 4, 9, 3, 4, 4, 6, 0, 8, 2, 6, 8, 5, 8, 1, 5, 255, 1]
COLORS = np.array(
    [[int(word) for word in line.split()[:3]] for line in LABEL_COLORS.split("\n")[1:-1]], np.uint8
)
SPLITS = {
    "train": ["0001TP_006690", "0001TP_008520", "0006R0_f03930", "0016E5_00390", "0016E5_08640"],
    "val": ["0016E5_07959", "0016E5_08159"],
    "test": ["0001TP_008550", "Seq05VD_f00000", "Seq05VD_f05100"],
}


def write(images, masks, stems):
    """Frame n is of the grey value n; its mask shows the 32 colors, rolled by n."""
    for folder in (images, masks):
        folder.mkdir(parents=True, exist_ok=True)
    for number, stem in enumerate(stems):
        Image.new("RGB", (8, 4), (number,) * 3).save(images / f"{stem}.png")
        pixels = np.roll(COLORS, number, 0).reshape(4, 8, 3)
        Image.fromarray(pixels).save(masks / f"{stem}_L.png")


@pytest.fixture
def original(tmp_path):
    stems = [stem for split in SPLITS.values() for stem in split]
    write(tmp_path / "701_StillsRaw_full", tmp_path / "LabeledApproved_full", stems)
    return tmp_path


def test_the_32_colors_are_merged_to_eleven_classes(original):
    source = data.load("camvid", "train", original)
    assert source.info is data.load("camvid(layout=32)", "train", original).info
    assert source.info.num_classes == 11
    for image, mask in source:
        np.testing.assert_array_equal(mask.ravel(), np.roll(MERGED, image[0, 0, 0]))
    assert set(MERGED) == {*range(11), 255}


@pytest.mark.parametrize("split", SPLITS)
def test_the_splits_are_segnet_s(original, split):
    assert data.load("camvid(layout='32')", split, original).names == [
        f"{stem}.png" for stem in SPLITS[split]
    ]


def test_the_numbers_of_frames_are_the_published_ones(original):
    # The frames of the data set: every 30th of three sequences, every second of a part of 0016E5.
    names = [f"0001TP_{n:06d}" for n in range(6690, 10381, 30)] + [
        f"0006R0_f{n:05d}" for n in range(930, 3931, 30)
    ]
    names += [f"Seq05VD_f{n:05d}" for n in range(0, 5101, 30)] + [
        f"0016E5_{n:05d}" for n in range(7959, 8160, 2)
    ]
    stills, masks = original / "701_StillsRaw_full", original / "LabeledApproved_full"
    for name in names:
        (stills / f"{name}.png").touch()
        (masks / f"{name}_L.png").touch()
    counts = {split: len(data.load("camvid", split, original)) for split in SPLITS}
    # Of the 204 further frames of 0016E5 two are in the tree.
    assert counts == {"train": 367 - 204 + 2, "val": 101, "test": 233}


def test_copies_with_a_folder_for_each_split(tmp_path):
    write(tmp_path / "val", tmp_path / "val_labels", ["0006R0_f00930", "frame of my own"])
    source = data.load("camvid", "val", tmp_path)
    assert source.names == ["0006R0_f00930.png", "frame of my own.png"]
    np.testing.assert_array_equal(source[1][1].ravel(), np.roll(MERGED, 1))
    assert data.load("camvid(only='0006R0')", "val", tmp_path).names == ["0006R0_f00930.png"]


def test_a_list_decides_for_the_other_layout(original):
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(original / "mask.png")
    Image.new("RGB", (4, 3)).save(original / "image.png")
    (original / "train.txt").write_text("./image.png ./mask.png\n")
    assert data.load("camvid", "train", original).names == ["image.png"]
    assert len(data.load("camvid(layout=32)", "train", original)) == 5
    with pytest.raises(FileNotFoundError, match=r"No list .*val\.txt.*Lists there: \['train'\]"):
        data.load("camvid(layout=segnet)", "val", original)
    with pytest.raises(ValueError, match=r"layout of camvid must be one of \['segnet', '32'\]"):
        data.load("camvid(layout=11)", "train", original)


def test_a_color_of_no_class_is_located(original):
    path = original / "LabeledApproved_full" / "0016E5_07959_L.png"
    pixels = np.asarray(Image.open(path)).copy()
    pixels[1, 6] = (128, 64, 129)
    Image.fromarray(pixels).save(path)
    message = r"0016E5_07959_L\.png' has color \(128, 64, 129\) at row 1, column 6, without a class"
    with pytest.raises(ValueError, match=message):
        data.load("camvid", "val", original)[0]


def test_missing_and_unknown_files_are_named(original, tmp_path):
    stills, masks = original / "701_StillsRaw_full", original / "LabeledApproved_full"
    (stills / "0016E5_07959.png").rename(stills / "holiday.png")
    with pytest.raises(FileNotFoundError, match=r"1 of the 10 images .*\['holiday'\]"):
        data.load("camvid", "val", original)
    (masks / "0016E5_07959_L.png").rename(masks / "holiday_L.png")
    with pytest.raises(ValueError, match=r"holiday\.png' is not named as a frame of CamVid"):
        data.load("camvid", "val", original)
    with pytest.raises(ValueError, match=r"split of camvid must be one of \['train', 'val', 'test'\]"):
        data.load("camvid", "vale", original)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="701_StillsRaw_full/ and LabeledApproved_full/"):
        data.load("camvid(layout=32)", "val", tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="Expected the SegNet layout of CamVid, or the original one"):
        data.load("camvid", "val", tmp_path / "empty")
