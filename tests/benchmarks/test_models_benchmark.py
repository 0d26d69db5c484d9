"""The table of networks: rows that fail alone, that are taken up again, and that say what was measured."""

import json
import sys

import pytest
from benchmarks import models, one_model, published

SIZE = (64, 96)
WHOLE = {"parameters": 2_000_000, "macs": 3_000_000_000, "qat": True, "int8": True, "float_ops": 0}
TIMES = {"keras_ms": 40.0, "float_ms": 20.0, "int8_ms": 5.0, "partitions": 1, "float_partitions": 2}


@pytest.fixture
def places(tmp_path):
    return tmp_path / "results" / "models.json", tmp_path / "models.md"


def test_what_is_missing_or_failed_is_measured_again(places, monkeypatch):
    asked, causes = [], {"unet": "out of patience"}

    def measure(child, request, minutes, gigabytes):
        asked.append(request["network"])
        return {**WHOLE, **TIMES, "cause": causes.get(request["network"])}

    monkeypatch.setattr(models, "measure", measure)
    rows = models.run(*places, SIZE, ["segnet", "unet"])
    assert [(row["network"], row["cause"]) for row in rows] == [("unet", "out of patience"), ("segnet", None)]
    causes.clear()
    rows = models.run(*places, SIZE, ["enet", "segnet", "unet"])
    assert asked == ["segnet", "unet", "enet", "unet"]
    assert [(row["network"], row["cause"]) for row in rows] == [
        ("enet", None),
        ("unet", None),
        ("segnet", None),
    ]
    models.run(*places, (32, 48), ["segnet"])  # another size is another table
    assert asked[4:] == ["segnet"]
    assert [row["size"] for row in json.loads(places[0].read_text())["rows"]] == [[32, 48]]


CHILD = """
import json, os, signal, sys, time
asked, answer = sys.argv[-2:]
network = json.load(open(asked))["network"]
json.dump({"parameters": 7}, open(answer, "w"))
if network == "sleeper":
    time.sleep(60)
if network == "glutton":
    bytearray(3 * 2**30)
if network == "victim":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("network", "minutes", "cause"),
    [
        ("saint", 1, None),
        ("sleeper", 0.03, "took more than 0.03 minutes"),
        ("glutton", 1, "MemoryError"),
        ("victim", 1, "stopped by SIGKILL, often a sign of too little memory"),
    ],
)
def test_a_network_that_fails_tells_what_it_knew_and_why(network, minutes, cause, monkeypatch):
    monkeypatch.setattr(models, "_CHILD", (sys.executable, "-c", CHILD))
    request = {"network": network, "size": SIZE, "num_classes": 3, "rounds": 1}
    assert models.measure(models._CHILD, request, minutes, gigabytes=1) == {"parameters": 7, "cause": cause}


def test_the_page_shows_every_figure_and_every_cause():
    known = {"parameters": "2.00 M", "gmacs": 3.0, "num_classes": 19, "size": [512, 1024], "source": "paper"}
    rows = [
        dict(
            network="unet", size=SIZE, **WHOLE, **TIMES, published={**known, "remark": "why"}, counted=COUNTED
        ),
        {
            "network": "segnet",
            "size": SIZE,
            "parameters": 29_000_000,
            "qat": False,
            "cause": "Layer 'x' cannot be quantized",
        },
    ]
    page = models.page(rows)
    cells = "`unet` | – | – | – | – | 2.00 | 2.00 M | 3.00 | 40.0 | 20.0 | 5.0 | 0.25 | yes | yes | 0 | 1 (2)"
    assert f"| {cells} |" in page
    assert "| `segnet` | – | – | – | – | 29.00 | – | – | – | – | – | – | **no** | – | – | – (–) |" in page
    assert "- `segnet`: Layer 'x' cannot be quantized." in page
    assert "| `unet` | 19 classes, 512×1024 | 2.00 M | 1.99 M | 3.000 | 2.900 | paper | why |" in page
    assert "64×96" in page
    assert "stands in the way" not in models.page(rows[:1])
    assert "gains little" not in page


def test_the_page_says_which_ops_keep_int8_slow():
    times = {**TIMES, "int8_ms": 15.0}
    slow = {"ADD": [1, 0.5], "CONV_2D": [9, 6], "RESIZE_BILINEAR": [1, 4], "MEAN": [0, 0.2], "PAD": [0, 0.1]}
    page = models.page([dict(network="unet", size=SIZE, **WHOLE, **times, slow=slow)])
    assert "- `unet`, 0.75: RESIZE_BILINEAR 4.0 (1.0), CONV_2D 6.0 (9.0), MEAN 0.2 (0.0)\n" in page


COUNTED = {"parameters": 1_990_000, "gmacs": 2.9}


def test_every_published_count_has_its_row():
    assert {one.network for one in published.PUBLISHED} <= set(models.NETWORKS)


@pytest.mark.slow
@pytest.mark.parametrize("one", published.PUBLISHED, ids=lambda one: one.network)
def test_ours_are_the_published_counts(one):
    counted = published.count(one)
    if " M" not in one.parameters and one.parameters != "–":
        assert f"{counted.parameters:,}" == one.parameters
    if one.gmacs and one.network not in ("enet", "bisenet_v2"):  # their remarks say why
        assert counted.gmacs == pytest.approx(one.gmacs, rel=2e-3 if "pads" not in one.remark else 4e-3)


@pytest.mark.slow
def test_a_network_is_measured_from_end_to_end(places):
    (row,) = models.run(*places, SIZE, ["unet(width=4)"], rounds=3)
    assert row["cause"] is None
    assert row["qat"] and row["int8"]
    assert [row[key] for key in ("float_ops", "partitions", "float_partitions")] == [0, 1, 1]
    assert min(row[key] for key in ("parameters", "macs", "keras_ms", "float_ms", "int8_ms")) > 0
    assert "`unet(width=4)`" in places[1].read_text()


@pytest.mark.slow
def test_a_network_of_others_is_measured(monkeypatch):
    monkeypatch.setattr(one_model, "GOAL", 0.0)  # so that each is too slow
    answer = {}
    request = {"network": "Keras 3 U-Net on MobileNetV2", "size": (60, 90), "num_classes": 3, "rounds": 1}
    one_model.measure(request, lambda **figures: answer.update(figures))
    assert answer["qat"] and answer["int8"] and not answer["float_ops"] and answer["int8_ms"] > 0
    assert {"CONV_2D", "TRANSPOSE_CONV", "ADD"} <= set(answer["slow"])
    assert 0 < sum(int8 for _, int8 in answer["slow"].values()) < 20 * answer["int8_ms"]
