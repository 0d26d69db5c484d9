"""Recognition of the labelling tool of a directory."""

import re
from pathlib import Path

from tfsegkd.data.paths import files_in

_HEAD = 1 << 16  # of a JSON file, with its first keys
_MOST = 20  # files that are opened
_KEYS = (
    ("coco", re.compile(r'"(annotations|categories)"\s*:\s*\[\s*(\{|\])')),
    ("labelme", re.compile(r'"shapes"\s*:\s*\[')),
)


def export_of(root: Path) -> str | None:
    """Returns the data set type of a directory by its characteristic files; None if unknown."""
    for name, pattern in (
        ("cvat", "labelmap.txt"),
        ("roboflow", "_classes.csv"),
        ("roboflow", "*/_classes.csv"),
        ("label_studio", "**/task-*-annotation-*-by-*.png"),
    ):
        if next(root.glob(pattern), None):
            return name
    for path in files_in(root, {".json"}, below=True)[:_MOST]:
        with open(path, encoding="utf-8", errors="replace") as file:
            head = file.read(_HEAD)
        for name, keys in _KEYS:
            if keys.search(head):
                return name
    if any(files_in(root, {".yaml", ".yml"})) or next(root.glob("**/labels/**/*.txt"), None):
        return "yolo"
    return None
