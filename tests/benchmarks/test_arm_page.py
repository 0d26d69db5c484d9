"""What was counted on Arm: rows are kept, and the page says what they hold."""

import json

import pytest
from benchmarks import arm_models, arm_page

SIZE = (64, 96)
ROW = {
    "macs": 48_000_000,
    "int8": 8_000_000,
    "float": 12_000_000,
    "steps": {"as converted": 10_000_000, "fold_normalization": 8_000_000, "output_stride=4": 7_000_000},
    "core": "cortex-a76",
    "kinds": {"CONV_2D": [9_000_000, 3_000_000], "ADD": [1_000_000, 3_000_000]},
}


@pytest.fixture
def counting(monkeypatch):
    """The networks asked for, and the causes of those that fail."""
    asked, causes = [], {}

    def measure(child, request, minutes, gigabytes):
        asked.append((request["network"], request["size"]))
        cause = causes.get(request["network"])
        return {**({} if cause else ROW), "cause": cause}

    monkeypatch.setattr(arm_models, "measure", measure)
    return asked, causes


def test_rows_are_kept_and_what_failed_is_counted_again(tmp_path, counting):
    asked, causes = counting
    results = tmp_path / "models_arm.json"
    causes["unet"] = "out of patience"
    arm_models.run(results, [SIZE], ["segnet", "unet"])
    causes.clear()
    rows = arm_models.run(results, [SIZE, (32, 32)], ["segnet", "unet"])
    assert asked == [
        ("segnet", SIZE),
        ("unet", SIZE),
        ("unet", SIZE),
        ("segnet", (32, 32)),
        ("unet", (32, 32)),
    ]
    # In the order of the page, smaller sizes first.
    assert [(row["size"][0], row["network"]) for row in rows] == [
        (32, "unet"),
        (32, "segnet"),
        (64, "unet"),
        (64, "segnet"),
    ]
    assert json.loads(results.read_text())["rows"] == rows


def test_the_page_has_ratios_and_names_what_keeps_int8_up():
    text = arm_page.section({("unet", SIZE): {"network": "unet", "size": [*SIZE], **ROW, "cause": None}})
    assert "| `unet` | 0.05 | 8.0 | 12.0 | 0.67 | 6.00 |" in text
    assert "| `unet` | 64×96 | 10.00 | 8.00 | – | – | – | – | 7.00 at 4 |" in text
    # Of half of 9 and of 1, what is above: 3 − 0.5 of ADD alone.
    assert "- `unet` at 64×96, 0.67: ADD 3.0 (1.0)" in text
    assert "not milliseconds" in text and "android.md" in text


def test_the_page_says_how_far_a_network_is_from_what_was_aimed_at(monkeypatch):
    monkeypatch.setattr(arm_page, "_AIMS", {("unet", SIZE): (6.4e6, {"output_stride=4": 7e6})})
    row = {"network": "unet", "size": [*SIZE], **ROW, "cause": None}
    text = arm_page.section({("unet", SIZE): row})
    assert "6.4 M with logits at full size (8.00 M now, +25.0%)" in text
    assert "7.0 M with logits at stride 4 (7.00 M now, +0.0%)" in text
    # 48 M multiplications, 16 an instruction.
    assert "CONV_2D 3.0 M, ADD 3.0 M" in text and "would be 3.0 M" in text
    assert "aimed" not in arm_page.section({("segnet", SIZE): {**row, "network": "segnet"}})


def test_without_counts_there_is_no_part_and_no_figure():
    assert arm_page.section({}) == ""
    assert arm_page.figures(None) == ["–"] * 4


def test_two_counts_of_a_file_are_compared():
    row = {**ROW, "network": "unet", "size": [*SIZE], "again": 8_004_000}
    text = arm_page.section({("unet", SIZE): row, ("fcn", SIZE): {**row, "network": "fcn", "again": 8e6}})
    assert "starts of the emulator: 2; the counts differ by at most 0.0500%" in text
    assert "twice" not in arm_page.section({("unet", SIZE): {**row, "again": None}})


def test_sums_are_marked_and_their_error_is_told():
    whole = {**ROW, "network": "unet", "size": [*SIZE], "by_ops": {"int8": 8_040_000, "float": 12_012_000}}
    summed = {**ROW, "network": "fcn", "size": [*SIZE], "summed": True}
    assert "≈" not in arm_page.section({("unet", SIZE): whole})
    text = arm_page.section({("unet", SIZE): whole, ("fcn", SIZE): summed})
    assert "| `fcn` | 0.05 | ≈ 8.0 | ≈ 12.0 | 0.67 | 6.00 |" in text and "| `unet` | 0.05 | 8.0 |" in text
    assert "On 1 networks the sum is at most 0.5% from the whole" in text


def test_files_are_compared_once_and_the_page_says_how_they_fared(tmp_path, monkeypatch):
    asked = []

    def measure(child, request, minutes, gigabytes):
        asked.append((child[-1], request["network"]))
        found = {"pixels": 0.99625, "max_difference_steps": 1.0, "classes": 7, "images": 2}
        return {**found, "cause": None}

    monkeypatch.setattr(arm_models, "measure", measure)
    results = tmp_path / "arm_agreement.json"
    for _ in range(2):
        arm_models.compare(results, SIZE, ["segnet", "unet"])
    assert asked == [("benchmarks.one_arm_agreement", name) for name in ("segnet", "unet")]
    rows = {("unet", SIZE): {"network": "unet", "size": [*SIZE], **ROW, "cause": None}}
    text = arm_page.section(rows, arm_page.read(results))
    assert "| `unet` | 99.62% | 1.0 | 7 |" in text and "64×96, 2 images" in text
    assert "The same classes" not in arm_page.section(rows)
