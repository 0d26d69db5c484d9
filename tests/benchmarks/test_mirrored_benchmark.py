"""Mirror agreement beside what labels say, at toy size."""

import pytest
from benchmarks import mirrored

from tfsegkd import evaluation, models
from tfsegkd.data.road_scenes import RoadScenes
from tfsegkd.distillation import mirror_agreement


def test_each_teacher_is_measured_on_each_images(tmp_path, capsys):
    path = tmp_path / "unet.keras"
    model = models.build("unet(width=2)", 11, (32, 48, 3))
    model.save(path)
    images = [(split, RoadScenes(split, height=32, width=48, num_images=3)) for split in ("train", "val")]
    rows = mirrored.run([str(path)], images, (32, 48))
    assert [row["images"] for row in rows] == ["train", "val"]
    for row, (_, source) in zip(rows, images, strict=True):
        assert row["mean_iou"] == pytest.approx(evaluation.evaluate(model, source).mean_iou)
        assert row["mirror_agreement"] == pytest.approx(mirror_agreement(model, source, (32, 48)))
    assert f"| {rows[1]['mirror_agreement']:.1%}".rstrip("%") in capsys.readouterr().out
    with pytest.raises(ValueError, match="--images=DATASET@SPLIT"):
        mirrored.run([str(path)], [], (32, 48))
