"""Our quantization beside others', at toy size."""

import json

import pytest
from benchmarks import quantization
from benchmarks.quantization import FOREIGN, page

from tfsegkd import models
from tfsegkd.data.road_scenes import RoadScenes


def test_the_page_names_what_raised():
    of_unet = {"network": "runs/unet.keras", "name": "unet", "size": (192, 256)}
    measured = {"latency_ms": 4.0, "ratio": 1.0, "agreement": 1.0, "mean_iou": 0.5}
    rows = [
        dict(way="float", float_ops=9, partitions=1, **of_unet, **measured),
        dict(way="TF-MOT", cause="RuntimeError: Layer join is not supported", **of_unet),
    ]
    text = page(rows, 32)
    assert "| `unet` | 192×256 | TF-MOT | **raises** |" in text
    assert "| `unet` | 192×256 | float | 9 | 1 | – | 4.00 | 1.00 | 100.00 | 50.00 |" in text
    assert "- `unet`, TF-MOT: RuntimeError: Layer join is not supported" in text
    assert "32 images" in text and "at random" not in text


@pytest.mark.slow
def test_every_way_is_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(quantization, "foreign_python", lambda directory: (None, "it cannot be installed"))
    train, val = (RoadScenes(split, height=48, width=64, num_images=4) for split in ("train", "val"))
    results, document = tmp_path / "a.json", tmp_path / "a.md"
    saved = tmp_path / "erfnet.keras"
    models.build("erfnet(width_multiplier=0.25)", train.info.num_classes, (48, 64, 3)).save(saved)
    rows = quantization.run(results, document, train, val, (32, 32), [str(saved)], 3)
    assert {(row["name"], row["size"]) for row in rows} == {("erfnet", (48, 64))}
    by_way = {row["way"]: row for row in rows}
    assert list(by_way) == ["float", "tfsegkd", "TF-MOT", "converter", "converter, 16x8", FOREIGN]
    assert by_way["tfsegkd"]["float_ops"] == 0 and by_way["tfsegkd"]["partitions"] == 1
    assert by_way["float"]["float_ops"] > 0 and by_way["float"]["ratio"] == by_way["float"]["agreement"] == 1
    # BatchNorm after a Concatenate, which TF-MOT has no rule for.
    assert "RuntimeError" in by_way["TF-MOT"]["cause"]
    assert by_way[FOREIGN]["cause"] == "it cannot be installed"
    assert json.loads(results.read_text())["rows"][1]["way"] == "tfsegkd" and "erfnet" in document.read_text()
