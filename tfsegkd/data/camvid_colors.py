"""CamVid in its original layout: 32 classes in colors, one folder of frames for all splits."""

import re
from pathlib import Path

from tfsegkd import checks
from tfsegkd.data.masks import Color
from tfsegkd.data.paths import Pair, counterparts, pictures
from tfsegkd.data.source import DatasetInfo

FOLDERS = "701_StillsRaw_full/ and LabeledApproved_full/"

# The colors of label_colors.txt, by the class of the eleven into which each is merged.
_COLORS = {
    "Sky": {"Sky": (128, 128, 128)},
    "Building": {
        "Archway": (192, 0, 128),
        "Bridge": (0, 128, 64),
        "Building": (128, 0, 0),
        "Tunnel": (64, 0, 64),
        "Wall": (64, 192, 0),
    },
    "Pole": {"Column_Pole": (192, 192, 128), "TrafficCone": (0, 0, 64)},
    "Road": {"LaneMkgsDriv": (128, 0, 192), "LaneMkgsNonDriv": (192, 0, 64), "Road": (128, 64, 128)},
    "Pavement": {"ParkingBlock": (64, 192, 128), "RoadShoulder": (128, 128, 192), "Sidewalk": (0, 0, 192)},
    "Tree": {"Tree": (128, 128, 0), "VegetationMisc": (192, 192, 0)},
    "SignSymbol": {
        "Misc_Text": (128, 128, 64),
        "SignSymbol": (192, 128, 128),
        "TrafficLight": (0, 64, 64),
    },
    "Fence": {"Fence": (64, 64, 128)},
    "Car": {
        "Car": (64, 0, 128),
        "OtherMoving": (128, 64, 64),
        "SUVPickupTruck": (64, 128, 192),
        "Train": (192, 64, 128),
        "Truck_Bus": (192, 128, 192),
    },
    "Pedestrian": {
        "Animal": (64, 128, 64),
        "CartLuggagePram": (64, 0, 192),
        "Child": (192, 128, 64),
        "Pedestrian": (64, 64, 0),
    },
    "Bicyclist": {"Bicyclist": (0, 128, 192), "MotorcycleScooter": (192, 0, 192)},
}
_VOID = (0, 0, 0)
_SPLITS = ("train", "val", "test")


def labels(info: DatasetInfo) -> dict[Color, int]:
    """Returns the label of each of the 32 colors."""
    merged = {
        color: info.class_names.index(name) for name, colors in _COLORS.items() for color in colors.values()
    }
    return {**merged, _VOID: info.ignore_label}


def folders(root: Path, split: str) -> tuple[Path, Path] | None:
    """Returns the folders of frames and of masks, or None if they do not exist."""
    for images, masks in (("701_StillsRaw_full", "LabeledApproved_full"), (split, f"{split}_labels")):
        if (root / images).is_dir() and (root / masks).is_dir():
            return root / images, root / masks
    return None


def pairs(root: Path, split: str) -> list[Pair]:
    """Returns the frames of a split and their masks.

    Raises:
        FileNotFoundError: if a folder is missing, or a frame or mask has no counterpart.
        ValueError: if the split of a frame cannot be derived from its name.
    """
    checks.one_of(split, _SPLITS, "split of camvid")
    found = folders(root, split)
    if found is None:
        raise FileNotFoundError(
            f"Not the original layout of CamVid in {str(root)!r}. Expected {FOLDERS}, or {split}/ and "
            f"{split}_labels/. Correct `data_dir`."
        )
    images, masks = (pictures(folder) for folder in found)
    joined = counterparts(images, {stem.removesuffix("_L"): path for stem, path in masks.items()}, root)
    if found[0].name == split:
        return joined
    return [(image, mask) for image, mask in joined if _split(image) == split]


def _split(image: Path) -> str:
    """Returns SegNet's split: test is one sequence and half of another, val the part labelled at 15 Hz."""
    match = re.fullmatch(r"(0006R0|0016E5|0001TP|Seq05VD)_f?(\d+)", image.stem)
    if match is None:
        raise ValueError(
            f"{str(image)!r} is not named as a frame of CamVid. Expected a name such as 0016E5_08640.png. "
            f"Move it away, or use `dataset=folder` for other frames."
        )
    sequence, number = match[1], int(match[2])
    if sequence == "Seq05VD" or (sequence == "0001TP" and number > 8520):
        return "test"
    return "val" if sequence == "0016E5" and 7959 <= number <= 8159 else "train"
