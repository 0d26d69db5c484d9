"""Latencies by a table that the user measured elsewhere."""

import pytest
from channel_oracle import shake

from tfsegkd._keras import keras
from tfsegkd.graph import ChannelGraph
from tfsegkd.pruning import prune_channels
from tfsegkd.pruning.latency_table import LatencyTable

layers = keras.layers
TABLE = "layer,ms\na,4\nb,2\nlogits,1\npool,0.5\n"


def chain():
    inputs = keras.Input((8, 8, 3), name="pixels")
    x = layers.ReLU(name="relu")(layers.Conv2D(4, 3, padding="same", name="a")(inputs))
    x = layers.Conv2D(8, 1, name="b")(layers.MaxPooling2D(name="pool")(x))
    return shake(keras.Model(inputs, layers.Conv2D(3, 1, name="logits")(x), name="chain"))


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "device.csv"
    path.write_text(TABLE)
    return path


def test_time_goes_with_macs_or_else_with_channels(table):
    channels = ChannelGraph(chain())
    keep = channels.all()
    groups = {group.name: group for group in channels.prunable}
    keep[groups["a"].units[:1]] = False
    keep[groups["b"].units[:4]] = False
    found = LatencyTable(table, channels)
    assert found.milliseconds(channels.all()) == pytest.approx(7.5)
    # a: 3 of 4 filters; b: 3 of 4 inputs and 4 of 8 filters; logits: 4 of 8 inputs; pool: 3 of 4 channels.
    expected = 4 * 3 / 4 + 2 * 3 / 4 * 4 / 8 + 1 * 4 / 8 + 0.5 * 3 / 4
    assert found.milliseconds(keep) == pytest.approx(expected)


def test_a_target_is_met_by_the_table(table):
    pruned, report = prune_channels(
        chain(), "latency:0.6", "l1", round_to=1, latency_table=table, compensate=False
    )
    a, b = pruned.get_layer("a").filters, pruned.get_layer("b").filters
    spent = 4 * a / 4 + 2 * a / 4 * b / 8 + b / 8 + 0.5 * a / 4
    assert 0.4 * 7.5 < spent <= 0.6 * 7.5
    assert report.changed and report.latency_ms is None
    with pytest.raises(ValueError, match=r"out of reach.*of its latency are left"):
        prune_channels(chain(), "latency:0.1", "l1", round_to=1, latency_table=table)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("layer,ms\na,4\nb,2\n", r"lacks \['logits'\]"),
        (TABLE + "stem,1\n", r"names \['stem'\]"),
        (TABLE + "a,1\n", "Line 6 .*'a'"),
        ("layer,ms\na,fast\n", "Line 2 .*'fast'"),
        ("layer,ms\na,-1\n", "Line 2 "),
        ("name;time\na;1\n", "Line 2 "),
        ("", "has no latency"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path, content, message):
    path = tmp_path / "device.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        LatencyTable(path, ChannelGraph(chain()))


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="layer,ms"):
        LatencyTable(tmp_path / "none.csv", ChannelGraph(chain()))
