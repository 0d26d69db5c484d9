"""Networks of other libraries: rows are kept, what is missing is tried, and the page says what they hold."""

import pytest
from benchmarks import ecosystem, ecosystem_networks, ecosystem_page
from benchmarks.ecosystem_page import STEPS, new_row


@pytest.fixture
def trying(monkeypatch):
    """The networks that were tried, and what the steps of some of them give."""
    tried, given = [], {}
    names = {"here": {"one": None, "two": None}, "there": {"three": None}}
    monkeypatch.setattr(ecosystem_networks, "NETWORKS", names)

    def rows(library, networks, steps):
        for network in networks:
            tried.append(network)
            yield new_row(library, network, **{**dict.fromkeys(steps, "ok"), **given.get(network, {})})

    monkeypatch.setattr(ecosystem, "_in_a_process", rows)
    return tried, given


def test_rows_are_kept_and_what_is_missing_is_tried(tmp_path, trying):
    tried, given = trying
    results = tmp_path / "ecosystem.json"
    given["one"] = {"adopt": "no result: its process ended"}
    given["two"] = {"adopt": "ValueError: no", "prune": "–", "quantize": "–", "export": "–"}
    ecosystem.run(results, STEPS)
    assert tried == ["one", "two", "three"]
    given.clear()
    tried.clear()
    rows = ecosystem.run(results, STEPS)
    assert tried == ["one"]  # a refusal is a result
    assert [row["network"] for row in rows] == ["one", "two", "three"]
    assert [row["adopt"] for row in rows] == ["ok", "ValueError: no", "ok"]
    tried.clear()
    given["three"] = {"adopt": "no result: no module named 'there'"}
    rows = ecosystem.run(results, STEPS, only="there")
    assert tried == ["three"] and rows[-1]["adopt"] == "ok"


def test_steps_that_were_left_out_are_tried_later(tmp_path, trying):
    tried, given = trying
    results = tmp_path / "ecosystem.json"
    given["two"] = {"adopt": "ValueError: no"}
    ecosystem.run(results, ["adopt"])
    tried.clear()
    assert not {row["export"] for row in ecosystem.run(results, ["adopt"])} - {"–"} and tried == []
    given["two"] |= {"prune": "–", "quantize": "–", "export": "–"}
    given["three"] = {"quantize": "ValueError: no", "export": "–"}
    ecosystem.run(results, STEPS)
    assert tried == ["one", "two", "three"]
    tried.clear()
    ecosystem.run(results, STEPS)
    assert tried == []


def test_the_page_counts_and_quotes():
    fine = new_row("here", "one", version="2.0", **dict.fromkeys(STEPS, "ok"), option="output='main'")
    refused = fine | {
        "network": "two",
        "quantize": "ValueError: no `gelu`",
        "export": "–",
        "option": "",
    }
    unbuilt = new_row("there", "three", adopt="not built: TypeError", longest_message=7)
    text = ecosystem_page.section([fine, refused, unbuilt])
    assert "3 networks" in text and "2 are adopted" in text
    assert "2 of 2 pruned, 1 of 2 quantized, 1 of 1 exported" in text
    assert "| one | ok, `output='main'` | ok | ok | ok | ok | ok |" in text
    assert "| two | ok | ok | refused | – | ok | ok |" in text
    assert "| three | not built | – | – | – | – | – |" in text
    assert "- here, two: quantize. `ValueError: no gelu`" in text
    assert ecosystem_page.section([]) == ""
