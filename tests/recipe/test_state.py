"""The record of what is done."""

import json

import pytest

from tfsegkd.recipe.state import State

SETTINGS = {"size": (48, 64), "schedule": {"epochs": 2}, "seed": 0}


def test_a_stage_that_is_done_is_found_again(tmp_path):
    state = State(tmp_path)
    assert state.result("teacher", SETTINGS) is None
    state.complete("teacher", SETTINGS, {"mean_iou": 0.5})
    for reader in (state, State(tmp_path)):
        assert reader.result("teacher", SETTINGS) == {"mean_iou": 0.5}
        assert reader.result("student", SETTINGS) is None


def test_the_command_is_noted_before_a_stage_can_die(tmp_path):
    state = State(tmp_path, flags={"epochs": 2, "distill": ["pixelwise"]})
    assert not (tmp_path / "flags.json").exists()
    state.begin("teacher", SETTINGS)
    assert json.loads((tmp_path / "flags.json").read_text()) == {"epochs": 2, "distill": ["pixelwise"]}


def test_settings_that_changed_are_named(tmp_path):
    State(tmp_path).complete("teacher", SETTINGS, {})
    changed = {"size": (48, 64), "schedule": {"epochs": 3}, "crop_size": (32, 32)}
    with pytest.raises(ValueError) as error:
        State(tmp_path).result("teacher", changed)
    message = str(error.value)
    for words in (
        "epochs was 2 and is 3",
        "seed was 0 and is not given",
        "crop_size is [32, 32] and was not given",
        "`output_dir`",
    ):
        assert words in message
    assert "size was [48" not in message, "a tuple and the list that JSON makes of it are equal"


def test_a_setting_that_is_none_may_be_left_out(tmp_path):
    State(tmp_path).complete("teacher", SETTINGS, {"mean_iou": 0.5})
    assert State(tmp_path).result("teacher", {**SETTINGS, "crop_size": None}) == {"mean_iou": 0.5}


def test_other_class_names_are_noticed_unless_an_older_record_lacks_them(tmp_path):
    def with_train(**more):
        return {**SETTINGS, "train": {"dataset": "folder", "fingerprint": "ab", **more}}

    older, newer = State(tmp_path / "older"), State(tmp_path / "newer")
    older.complete("teacher", with_train(), {"mean_iou": 0.5})
    newer.complete("teacher", with_train(class_names=["road", "car"]), {"mean_iou": 0.5})
    swapped = with_train(class_names=["car", "road"])
    assert older.result("teacher", swapped) == {"mean_iou": 0.5}
    with pytest.raises(ValueError, match=r"class_names was \['road', 'car'\] and is \['car', 'road'\]"):
        newer.result("teacher", swapped)
    with pytest.raises(ValueError, match="dataset was 'folder' and is 'coco'"):
        older.result("teacher", with_train(dataset="coco"))


def test_an_older_fingerprint_is_compared_as_far_as_it_goes(tmp_path):
    def with_train(fingerprint):
        return {**SETTINGS, "train": {"fingerprint": fingerprint}, "held_out": fingerprint}

    older, newer = State(tmp_path / "older"), State(tmp_path / "newer")
    older.complete("teacher", with_train("ab"), {"mean_iou": 0.5})
    newer.complete("teacher", with_train("ab-12"), {"mean_iou": 0.5})
    assert older.result("teacher", with_train("ab-13")) == {"mean_iou": 0.5}
    for state, changed in ((older, "cd-12"), (newer, "ab-13")):
        with pytest.raises(ValueError, match=rf"held_out was .*; fingerprint was .* and is '{changed}'"):
            state.result("teacher", with_train(changed))


@pytest.mark.parametrize("content", [b"", b'{"teacher": {"sett', b"\xff\xfe", b"[]", b'{"teacher": 3}'])
def test_a_damaged_record_says_so(content, tmp_path):
    (tmp_path / "state.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"state.json' is damaged.*Delete it"):
        State(tmp_path)


def test_the_answer_to_a_nan_may_change(tmp_path):
    before, after = ({"schedule": {"epochs": 2, "halve_at_nan": count}} for count in (0, 3))
    State(tmp_path).complete("teacher", before, {"mean_iou": 0.5})
    assert State(tmp_path).result("teacher", after) == {"mean_iou": 0.5}
