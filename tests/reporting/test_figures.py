"""Figures are valid for Plotly and say what the data say."""

import numpy as np
import pytest

from tfsegkd.reporting import figures
from tfsegkd.reporting.images import Disagreement
from tfsegkd.runtime import OpReport

go = pytest.importorskip("plotly.graph_objects", reason="reports need the extra tfsegkd[report]")
NAMES = ("<b>tree</b>", "car & bus", "void")


def valid(plot):
    """Plotly's own schema refuses unknown keys and values."""
    go.Figure(plot.data, plot.layout)
    assert plot.alt and len({len(row) for row in plot.rows} | {len(plot.head)}) == 1
    return plot


def test_trade():
    points = [
        figures.Point("", "teacher", 70.0, 40.0),
        figures.Point("", "student", 60.0, 5.0),
        figures.Point("", "int8", 61.0, 3.0),
    ]
    plot = valid(figures.trade(points, "latency", "ms"))
    assert plot.data[0]["x"] == [3.0, 40.0] and plot.data[0]["y"] == [61.0, 70.0]
    assert plot.alt.endswith("On the Pareto front: int8, teacher.")
    assert [row[-1] for row in plot.rows] == ["yes", "", "yes"]
    markers = [(trace["marker"]["color"], trace["marker"]["symbol"]) for trace in plot.data[1:]]
    assert len({color for color, _ in markers}) == len({symbol for _, symbol in markers}) == 3


@pytest.mark.parametrize("costs", [(1.37, 1.3), (2.0, 2.0), (0.004, 90.0), (4.0, 1e-6 * 100_000)])
def test_axes_of_a_trade_show_figures_and_make_little_of_little(costs):
    points = [
        figures.Point("", stage, 53.6 + cost / 100, cost) for stage, cost in zip("ab", costs, strict=True)
    ]
    layout = valid(figures.trade(points, "latency", "ms")).layout
    low, high = 10.0 ** np.array(layout["xaxis"]["range"])
    ticks = [tick for tick in layout["xaxis"]["tickvals"] if low <= tick <= high]
    assert ticks and low < min(costs) <= max(costs) < high
    assert len(ticks) >= 2 or len(set(costs)) == 1
    bottom, top = layout["yaxis"]["range"]
    assert top - bottom >= 2 and all(bottom < point.mean_iou < top for point in points)


def test_a_search_shows_every_candidate_its_scores_and_the_budget(search):
    plot = valid(figures.search(search, "macs", "MACs"))
    traces = {trace["name"]: (trace["x"], trace["y"]) for trace in plot.data}
    assert traces["after 12 of 60 epochs"] == ([1.0e6, 1.5e6], [50.0, 60.0])
    assert traces["after 24 of 60 epochs"] == ([1.5e6], [70.0])
    assert traces["chosen"] == ([1.5e6], [70.0])
    assert traces["finished, on the validation images"] == ([1.5e6], [80.0])
    assert traces["front of the last scores"] == ([1.0e6, 1.5e6], [50.0, 70.0])
    low, high = plot.layout["xaxis"]["range"]
    assert plot.layout["shapes"][0]["x0"] == 2e6 and low < 1.0e6 and high > 2e6
    assert [row[0] for row in plot.rows] == [
        "bright(width=9) at 16x24",
        "bright(width=4) at 32x48",
        "bright(width=2) at 64x96",
    ]
    assert [row[2:] for row in plot.rows] == [
        ["50.00", "", "", "on the front"],
        ["60.00", "70.00", "80.00", "chosen"],
        ["", "", "", "the loss became NaN"],
    ]


def test_a_search_without_scores_is_shown_too(search):
    only = [{**search["trained"][2], "failed": ""}]
    unfinished = {key: search[key] for key in ("limits", "epochs")} | {"trained": only}
    assert valid(figures.search(unfinished, "bytes", "bytes")).rows[0][-1] == ""


def test_class_ious_keep_absent_classes_apart_from_zero():
    plot = valid(figures.class_ious({"int8": dict(zip(NAMES, (0.25, 0.0, None), strict=True))}))
    assert plot.data[0]["x"] == [25.0, 0.0, None]
    assert plot.data[0]["y"][:2] == ["&lt;b&gt;tree&lt;/b&gt;", "car &amp; bus"]
    assert plot.rows == [["<b>tree</b>", "25.0"], ["car & bus", "0.0"], ["void", "–"]]


def test_confusion_is_in_percent_of_each_label():
    plot, notes = figures.confusion([[6, 2, 0], [1, 3, 0], [0, 0, 0]], NAMES)
    assert valid(plot).data[0]["z"] == [[75.0, 25.0, 0.0], [25.0, 75.0, 0.0], [None, None, None]]
    assert notes == [
        "25 % of <b>tree</b> is taken for car & bus.",
        "25 % of car & bus is taken for <b>tree</b>.",
    ]
    assert "75.0 % of all pixels" in plot.alt


def test_training_tells_terms_scores_and_rate_apart():
    curves = {
        "loss": {1: 3.0, 2: 1.0},
        "pixelwise": {1: 2.0, 2: 0.0},
        "mean_iou": {1: 0.1, 2: 0.5},
        "val_mean_iou": {2: 0.4},
        "val_loss": {2: 9.0},
        "learning_rate": {1: 0.1, 2: float("nan")},
        "sparsity": {1: 0.0, 2: 0.5},
    }
    terms, scores, rate, shares = map(valid, figures.training(curves))
    assert [trace["name"] for trace in terms.data] == ["loss", "pixelwise"]
    # A logarithm has no place for nothing.
    assert terms.data[1]["y"] == [2.0, None] and terms.layout["yaxis"]["type"] == "log"
    assert [trace["y"] for trace in scores.data] == [[10.0, 50.0], [40.0]]
    assert rate.data[0]["y"] == [0.1, None]
    assert shares.title == "Sparsity" and shares.data[0]["y"] == [0.0, 0.5]
    assert len({trace["line"]["dash"] for trace in terms.data}) == 2


def test_disagreement_in_words():
    found = Disagreement(np.array([600, 400, 0]), np.array([6, 4, 0]), fixed=5, broken=3)
    plot, notes = figures.disagreement(found, NAMES, "student")
    assert valid(plot).data[0]["x"] == [1.0, 1.0, None]
    assert notes[0].startswith("Of 1000 pixels, 10.0 get another class")
    assert notes[1] == "5.0 of them become right, 3.0 become wrong, and 2.0 are wrong either way."


def test_channels_and_ops():
    plot = valid(figures.channels({"a": [0, 3], "relu": [1]}, {"a": 8}))
    assert [trace["x"] for trace in plot.data] == [[2], [6]] and plot.rows == [["a", 2, 8]]
    report = OpReport({"ADD": 1, "CONV_2D": 3}, ["CONV_2D head"], 2, ["ADD sum"], 0)
    plot, notes = figures.ops(report)
    assert valid(plot).rows == [["CONV_2D", 3, 1, 0], ["ADD", 1, 0, 1]]
    assert [trace["x"] for trace in plot.data] == [[2, 1], [1, 0]]
    assert "CONV_2D head" in notes[0] and "2 partitions" in notes[1] and "ADD sum" in notes[2]


def test_grouped_layers_show_every_form_and_the_one_taken():
    layers = [
        {
            "name": "<a>",
            "groups": 4,
            "form": "dense",
            "milliseconds": {"grouped": 0.5, "split": 0.4, "dense": 0.2},
        },
        {"name": "b", "groups": 5, "form": "grouped", "milliseconds": {"grouped": 0.1, "dense": 0.3}},
    ]
    plot = valid(figures.grouped_layers(layers))
    assert [(trace["name"], trace["x"]) for trace in plot.data] == [
        ("grouped", [0.5, 0.1]),
        ("split", [0.4, None]),
        ("dense", [0.2, 0.3]),
    ]
    assert plot.data[0]["y"] == ["&lt;a&gt; (4 groups)", "b (5 groups)"]
    assert plot.rows == [
        ["<a>", 4, "0.500", "0.400", "0.200", "dense"],
        ["b", 5, "0.100", "–", "0.300", "grouped"],
    ]
    assert "1 as dense, 1 as grouped" in plot.alt
    # A form that was asked for was not measured.
    forced = [{"name": "a", "groups": 2, "form": "split", "milliseconds": {}}]
    assert valid(figures.grouped_layers(forced)).rows == [["a", 2, "split"]]
