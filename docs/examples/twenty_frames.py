"""Twenty road scenes as a folder of images and masks, for a first run without pictures of your own.

python docs/examples/twenty_frames.py mydata
python tools/train.py --flagfile=configs/own_folder.cfg --data_dir=mydata
"""

import sys
from pathlib import Path

from PIL import Image

from tfsegkd.data.road_scenes import RoadScenes


def write(directory: str | Path = "mydata", count: int = 20) -> None:
    """Writes `labels.txt`, `images/*.jpg` and `masks/*.png` into a new directory."""
    root = Path(directory)
    scenes = RoadScenes("train", height=240, width=320, num_images=count)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    (root / "labels.txt").write_text("\n".join(scenes.info.class_names) + "\n", encoding="utf-8")
    for name, (image, mask) in zip(scenes.names, scenes, strict=True):
        Image.fromarray(image).save(root / "images" / f"{name}.jpg", quality=95)
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")


if __name__ == "__main__":
    write(*sys.argv[1:2])
