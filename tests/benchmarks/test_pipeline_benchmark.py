"""The benchmark of the pipeline at toy size: it times what it says. No time is judged here."""

import math

import numpy as np
import pytest
from benchmarks import pipeline
from benchmarks.interleaved import Seconds

from tfsegkd import data

CASES = (
    "decode",
    "resize",
    "batches without color jitter",
    "batches of kept frames",
    "batches, decoding each time",
    "a step on one batch",
    "steps on kept frames",
    "steps, decoding each time",
)


def test_frames_in_files_are_the_scenes(tmp_path):
    pipeline.write_frames(tmp_path, 3, (32, 48))
    scenes = data.load("road_scenes(height=32, width=48, num_images=3)", "train")
    written = data.load("folder", "all", tmp_path)
    assert written.info.class_names == scenes.info.class_names
    for (image, mask), (expected, labels) in zip(written, scenes, strict=True):
        np.testing.assert_array_equal(image, expected)
        np.testing.assert_array_equal(mask, labels)


def test_rows_are_for_an_image_and_over_a_step():
    seconds = {name: Seconds((place,) * 3, (2 * place,) * 3) for place, name in enumerate(CASES, start=1)}
    images = {name: 5 if name == "decode" else 10 for name in CASES}
    rows = {row["what"]: row for row in pipeline._rows(seconds, images)}
    assert set(rows) == set(CASES)
    row = rows["decode"]
    assert (row["milliseconds"], row["cpu_milliseconds"]) == (200, 400)
    assert row["ratio"] == row["cpu_ratio"] == 2 / 6
    assert rows["a step on one batch"]["ratio"] == 1


def test_the_bound_is_what_takes_longer():
    def rows(**milliseconds):
        values = {
            "a step on one batch": 10.0,
            "batches of kept frames": 4.0,
            "batches, decoding each time": 4.0,
        }
        fed = {"steps on kept frames": 10.5, "steps, decoding each time": 24.0}
        values |= fed | {key.replace("_", " "): value for key, value in milliseconds.items()}
        return [{"what": name, "milliseconds": value, "ratio": value / 10} for name, value in values.items()]

    first, second = pipeline.bound(rows()).splitlines()
    assert first == "batches of kept frames: the network is the bound; a step takes +5 %."
    assert second.endswith("the network is the bound; a step takes +140 %.")
    assert "of kept frames: the pipeline is the bound" in pipeline.bound(rows(batches_of_kept_frames=11.0))


@pytest.mark.slow
def test_a_small_run_measures_everything(capsys):
    rows = pipeline.run(
        (32, 48), 2, rounds=1, student="unet(width=4)", frame_size=(40, 60), batches_per_round=2
    )
    assert [row["what"] for row in rows] == list(CASES)
    for row in rows:
        assert all(math.isfinite(value) and value > 0 for key, value in row.items() if key != "what")
    printed = capsys.readouterr().out
    assert all(f"| {name} |" in printed for name in CASES) and "is the bound" in printed
