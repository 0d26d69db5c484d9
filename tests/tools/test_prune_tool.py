"""tools/prune.py: a saved network in, a smaller one out."""

import json

import pytest

from tfsegkd import models
from tfsegkd.graph import cost

SCENES = "--dataset=road_scenes(height=32, width=48, num_images=12)"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "dense.keras"
    models.build("unet(width=8)", 11, (32, 48, 3)).save(path)
    return path


def test_a_network_is_pruned_without_data(shell, saved, tmp_path):
    output = tmp_path / "new" / "pruned.keras"
    result = shell("prune", f"--model={saved}", "--importance=l1", "--round_to=2", f"--output={output}")
    assert result.code == 0, result.err
    assert result.out.startswith("pruned to macs:0.5 by l1")
    pruned, report = models.load(output), json.loads(output.with_suffix(".json").read_text())
    assert 0.4 < cost(pruned).macs / cost(models.load(saved)).macs <= 0.5
    assert report["after"]["macs"] == cost(pruned).macs and report["kept"]["stage1_conv"]


def test_the_groups_are_described(shell, saved):
    result = shell("prune", f"--model={saved}", "--describe")
    assert result.code == 0 and result.out.startswith("unet: 22 groups with")
    assert "'pixels' is an input of the network" in result.out


@pytest.mark.slow
def test_the_whole_path_and_any_point_of_it(shell, saved, tmp_path):
    output = tmp_path / "pruned.keras"
    line = (
        f"--model={saved}",
        "--importance=cost_complexity",
        SCENES,
        "--batch_size=2",
        f"--output={output}",
    )
    result = shell("prune", *line, "--target=macs")
    assert result.code == 0, result.err
    path = json.loads((tmp_path / "pruned_path" / "path.json").read_text())
    table = (tmp_path / "pruned_path.md").read_text()
    assert table in result.out and len(table.splitlines()) == 2 + len(path["points"])
    assert (tmp_path / "pruned_path.png").stat().st_size > 10_000
    again = shell("prune", *line, "--target=macs", "--point=1")
    assert again.code == 0, again.err
    assert cost(models.load(output)).macs == path["points"][1]["macs"]


def test_what_is_wrong_is_one_line(shell, saved, tmp_path):
    output = f"--output={tmp_path / 'pruned.keras'}"
    cases = {
        ("--model=gone.keras", output): "gone.keras",
        (f"--model={saved}",): "--output=None must be",
        (f"--model={saved}", "--output=pruned.tflite"): "'pruned.tflite' must be",
        (f"--model={saved}", output): "Expected data=batches of (images, masks)",
        (f"--model={saved}", output, "--importance=l1", "--target=macs:0"): "--target must be one of",
        (f"--model={saved}", output, "--point=3"): "Add --importance=cost_complexity",
        (f"--model={saved}", output, "--importance=cost_complexity", "--target=flops"): "--target must be",
        (f"--model={saved}", output, "--importance=l1", "--target=macs:0.01"): "is out of reach",
        (
            *(f"--model={saved}", output, "--importance=l1", "--target=latency:0.5"),
            "--latency_table=phone.csv",
        ): "phone.csv",
    }
    for flags, words in cases.items():
        result = shell("prune", *flags)
        *_, line = result.err.splitlines()
        assert result.code == 1 and line.startswith("error: ") and words in line, (flags, result.err)
    assert not list(tmp_path.iterdir())
