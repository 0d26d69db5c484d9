"""A file on Arm's kernels beside itself here and beside Keras."""

import shutil

import numpy as np
import pytest

from tfsegkd._keras import keras
from tfsegkd.export import export_tflite, verify_on_arm
from tfsegkd.runtime import ArmCount, Network, arm


def test_what_differs_there_is_told_by_class(exported, aware_model, images, info, monkeypatch):
    path = exported[0]
    here = Network(path).predict(images)
    there = here.copy()
    chosen = here.argmax(-1)
    label = int(np.bincount(chosen.ravel()).argmax())
    # On Arm, a quarter of the pixels of one class would become another one.
    place = np.argwhere(chosen == label)
    moved = place[: len(place) // 4]
    there[tuple(moved.T)] = np.roll(there[tuple(moved.T)], 1, -1)
    monkeypatch.setattr(arm, "run", lambda path, images, core: there)
    monkeypatch.setattr(arm, "count", lambda path, ops, core: ArmCount(1234567, core))
    found = verify_on_arm(path, aware_model, images, info.class_names)
    assert (found.instructions, found.core, found.num_images) == (1234567, "cortex-a76", len(images))
    assert found.here.pixels == pytest.approx(1 - len(moved) / chosen.size)
    assert found.here.by_class[info.class_names[label]] == pytest.approx(1 - len(moved) / len(place))
    others = [share for name, share in found.here.by_class.items() if name != info.class_names[label]]
    assert {share for share in others if share is not None} <= {1.0}
    assert found.here.max_difference == pytest.approx(np.abs(there - here).max())
    step = Network(path).output_quantization[0]
    assert found.here.max_difference_steps == pytest.approx(found.here.max_difference / step)
    exact = np.asarray(aware_model(images.astype(np.float32), training=False))
    assert found.keras.pixels == pytest.approx((there.argmax(-1) == exact.argmax(-1)).mean())
    assert "1.23 M instructions" in str(found) and info.class_names[label] in str(found)


def test_one_channel_is_two_classes(images, tmp_path, monkeypatch):
    image = keras.Input((64, 96, 3), name="image")
    model = keras.Model(image, keras.layers.Conv2D(1, 1, name="logit")(image), name="binary")
    model.get_layer("logit").set_weights([np.ones((1, 1, 3, 1)), np.array([-400.0])])
    export_tflite(model, tmp_path / "binary.tflite", "float32", "float32")
    exact = images.astype(np.float32).sum(-1, keepdims=True) - 400
    there = np.where(np.arange(96)[:, None] < 24, -exact, exact)  # a quarter of the columns is inverted
    monkeypatch.setattr(arm, "run", lambda path, images, core: there)
    monkeypatch.setattr(arm, "count", lambda path, ops, core: ArmCount(1, core))
    found = verify_on_arm(tmp_path / "binary.tflite", model, images, ("ground", "sky"))
    same = (there > 0) == (exact > 0)
    for one in (found.here, found.keras):
        assert one.pixels == pytest.approx(same.mean(), abs=1e-3) and one.pixels < 0.8
        assert one.by_class["sky"] == pytest.approx(same[exact > 0].mean(), abs=1e-3)
        assert one.by_class["ground"] == pytest.approx(same[exact <= 0].mean(), abs=1e-3)
    assert set(verify_on_arm(tmp_path / "binary.tflite", model, images).here.by_class) == {"0", "1"}


@pytest.mark.arm
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-aarch64"), reason="needs qemu-user")
def test_arms_kernels_compute_what_ours_do(exported, aware_model, images):
    found = verify_on_arm(exported[0], aware_model, images)
    assert found.here.pixels >= 0.995 and found.here.max_difference_steps <= 1.01
    assert found.keras.pixels > 0.97
