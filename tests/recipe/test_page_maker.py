"""Pages made from JSON: tables, figures in prose, pictures, claims; and what they refuse."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from tfsegkd.atomic import sha256
from tfsegkd.recipe import pages
from tfsegkd.recipe.page_values import Values

ONE, OTHER = [50.0, 51.5, 49.0, 52.0, 50.5], [52.0, 53.0, 50.5, 52.5, 53.5]
FLAGS = {"stages": ["student_alone"], "epochs": 40, "learning_rate": 0.003, "input_size": "96x128"}


def report(value, stage="student_alone", **flags):
    row = {"name": stage, "mean_iou": value / 100, "iou": {"Sky": 0.9, "Pole": None}, "parameters": 1234}
    return {"stages": [row], "flags": FLAGS | flags, "minutes": 4.0}


def runs(values, **flags):
    return {str(seed): report(value, **flags) for seed, value in enumerate(values)}


@pytest.fixture
def page(tmp_path):
    """Writes a page and the JSON that it names; returns the page."""

    def write(text, name="study.json", **content):
        (tmp_path / name).write_text(json.dumps(content))
        path = tmp_path / "page.md"
        path.write_text(text, encoding="utf-8")
        return path

    return write


TABLE = """# Title

Before [1.00](study.json "average(alone) | .2f") after.

<!-- table study.json
row the student alone: alone
row `preset`: preset
column: seeds
column mean ± sd: mean(row)
column to alone: diff(row, alone)
-->
<!-- end -->

The end.
"""


def cells(text):
    return [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")
    ]


def test_a_table_and_a_figure_are_made(page, tmp_path):
    path = page(TABLE, alone=runs(ONE), preset=runs(OTHER))
    assert pages.remake(path) and not pages.remake(path)
    text = path.read_text(encoding="utf-8")
    differences = np.subtract(OTHER, ONE)
    low, high = stats.t.interval(0.95, 4, differences.mean(), stats.sem(differences))
    head, _, alone, preset = cells(text)
    assert head == ["", *(f"seed {seed}" for seed in range(5)), "mean ± sd", "to alone"]
    assert alone[:6] == ["the student alone", "50.00", "51.50", "49.00", "52.00", "50.50"]
    assert alone[6:] == [f"50.60 ± {np.std(ONE, ddof=1):.2f}", "–"]
    assert preset[-1] == f"{differences.mean():+.2f} ± {(high - low) / 2:.2f}"
    assert 'Before [50.60](study.json "average(alone) | .2f") after.' in text and "The end." in text
    print_of = sha256(tmp_path / "study.json")[:12]
    assert text.endswith(f"The end.\n\n<!-- made from: study.json {print_of} -->\n")
    assert "50.60" not in pages.outside(text) and "The end." in pages.outside(text)


def test_few_seeds_are_said(page):
    path = page(TABLE, alone=runs(ONE), preset=runs(OTHER[:2]))
    pages.remake(path)
    row = cells(path.read_text(encoding="utf-8"))[3]
    assert row[3:6] == ["–"] * 3 and row[6].endswith("(2 of 5)") and row[7] == "+2.00, +1.50"


def test_a_failed_seed_is_said(page):
    path = page(
        TABLE,
        protocol=2,
        runs={"alone": runs(ONE[:2]), "preset": runs(OTHER[:1])},
        failed={"preset": {"1": "ended with code 1"}},
        seeds=[0, 1],
    )
    pages.remake(path)
    assert cells(path.read_text(encoding="utf-8"))[3][2:4] == ["**failed**", "52.00 (1 of 2)"]


def test_rows_of_unequal_settings_are_refused(page):
    path = page(TABLE, alone=runs(ONE), preset=runs(OTHER, learning_rate=0.004))
    with pytest.raises(ValueError, match=r"page.md.*preset.*alone.*learning_rate: 0.004 and 0.003"):
        pages.render(path)
    allowed = TABLE.replace("diff(row, alone)", "diff(row, alone, varies='learning_rate')")
    pages.remake(page(allowed, alone=runs(ONE), preset=runs(OTHER, learning_rate=0.004)))


def test_rows_of_two_protocols_are_refused(page, tmp_path):
    later = {"protocol": 2, "runs": {"new": runs(OTHER)}, "failed": {}, "seeds": [0]}
    (tmp_path / "later.json").write_text(json.dumps(later))
    text = TABLE.replace("diff(row, alone)", "diff(file(later).new, alone)")
    with pytest.raises(ValueError, match=r"edition 2 of the protocol.*edition 1"):
        pages.render(page(text, alone=runs(ONE), preset=runs(OTHER)))
    with pytest.raises(ValueError, match=r"study\.json is of edition 7"):
        pages.render(page(TABLE, protocol=7, runs={"alone": runs(ONE)}, failed={}, seeds=[0]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[1](study.json "mean(gone)")', "'gone'"),
        ('[1](study.json "mean(")', "Cannot compute"),
        ('[1](study.json "open(alone)")', "must be one of"),
        ('[1](study.json "alone.__class__")', "must be one of"),
        ('[1](study.json "[mean][0](alone)")', "cannot compute"),
        ('[1](study.json "average(alone)")', r"\| \.2f"),
        ("[1](study.json \"mean(alone, measure='far')\")", r"quotes.*measure='far'.*\[one, other\]"),
        ('[1](gone.json "mean(alone)")', "No 'gone.json'"),
        ("<!-- table study.json\ncolumn: seeds\n-->\n<!-- end -->", "no row"),
        ("<!-- table study.json\nnonsense\n-->\n<!-- end -->", "Cannot read 'nonsense'"),
        ("<!-- claims study.json\nrow one: compare(few, alone)\n-->\n<!-- end -->", "at least two pairs"),
    ],
)
def test_what_cannot_be_computed_is_refused(page, text, message):
    path = page(text, alone=runs(ONE), preset=runs(OTHER), few=runs(ONE[:1]))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        pages.render(path)
    assert path.read_text(encoding="utf-8") == text


def test_claims_hold_beside_each_other(page):
    text = "<!-- claims study.json\nrow one: compare(preset, alone)\nrow two: pairs(weak, alone)\n-->\n"
    text += "<!-- end -->\n"
    weak = [value + change for value, change in zip(ONE, (0.9, -0.3, 0.8, 1.0, 0.4), strict=True)]
    path = page(text, alone=runs(ONE), preset=runs(OTHER), weak=runs(weak))
    pages.remake(path)
    rows = cells(path.read_text(encoding="utf-8"))[2:]
    p_values = [stats.ttest_rel(one, ONE).pvalue for one in (OTHER, weak)]
    assert [row[3] for row in rows] == [f"{value:.3f}" for value in p_values]
    assert [row[4] for row in rows] == [f"{2 * p_values[0]:.3f}", f"{p_values[1]:.3f}"]
    assert [row[5] for row in rows] == ["yes", "no"] and rows[0][1] == "5"


def test_a_claim_must_hold_over_frames_too(page):
    def measured(values, hits):
        found = runs(values)
        for seed, one in found.items():
            blocks = [[[10, 10], [10, 10], [hits[int(seed)], hits[block % len(hits)]]] for block in range(6)]
            one["stages"][0]["measured"] = {"far": {"mean_iou": values[int(seed)] / 100, "blocks": blocks}}
        return found

    text = "<!-- claims study.json\nrow one: compare(preset, alone, measure=far)\n-->\n<!-- end -->\n"
    content = {"alone": measured(ONE, [5, 5, 5, 5, 5]), "preset": measured(OTHER, [9, 8, 9, 8, 9])}
    path = page(text, protocol=2, runs=content, failed={}, seeds=[0, 1, 2, 3, 4])
    pages.remake(path)
    head, _, row = cells(path.read_text(encoding="utf-8"))
    assert head[3] == "95 % of frames" and row[-1] == "yes" and row[3].startswith("+")
    content["preset"] = measured(OTHER, [5, 5, 5, 5, 5])
    path = page(text, protocol=2, runs=content, failed={}, seeds=[0, 1, 2, 3, 4])
    pages.remake(path)
    assert cells(path.read_text(encoding="utf-8"))[2][3:] != row[3:]
    assert cells(path.read_text(encoding="utf-8"))[2][-1] == "no"


def test_a_picture_has_every_row_and_holds_its_numbers(page, tmp_path):
    pytest.importorskip("matplotlib")
    path = page(
        TABLE.replace("-->\n<!-- end", "picture study.png: alone\n-->\n<!-- end"),
        alone=runs(ONE),
        preset=runs(OTHER),
    )
    assert pages.remake(path) and not pages.remake(path)
    with Image.open(tmp_path / "study.png") as picture:
        held = json.loads(picture.text["Description"])
    assert [row[0] for row in held] == ["the student alone", "preset"]
    assert held[1][1] == {str(seed): value for seed, value in enumerate(OTHER)}
    assert held[1][2] == {"the student alone": {str(k): v for k, v in enumerate(np.subtract(OTHER, ONE))}}


def test_a_front_has_every_row_at_its_cost_and_its_score(page, tmp_path):
    pytest.importorskip("matplotlib")
    lines = "front front.png Arm instructions, M: of(row, parameters) / 1000; average(row)\n-->\n<!-- end"
    content = {"alone": runs(ONE), "preset": runs(OTHER)}
    path = page(TABLE.replace("-->\n<!-- end", lines), **content)
    assert pages.remake(path) and not pages.remake(path)
    with Image.open(tmp_path / "front.png") as picture:
        assert json.loads(picture.text["Description"]) == [
            ["the student alone", 1.234, round(np.mean(ONE), 4)],
            ["preset", 1.234, round(np.mean(OTHER), 4)],
        ]
    content["preset"]["0"]["stages"][0]["mean_iou"] += 0.001
    assert pages.remake(page(path.read_text(encoding="utf-8"), **content)), "another score is drawn anew"
    with pytest.raises(ValueError, match="front FILE AXIS: COST; SCORE"):
        pages.render(page(TABLE.replace("-->\n<!-- end", "front front.png: average(row)\n-->\n<!-- end")))


def test_a_row_is_picked_by_several_fields(page):
    rows = [{"name": "a", "size": "small", "ms": 2.0}, {"name": "a", "size": "large", "ms": 3.0}]
    text = '[0](study.json "pick(rows, name, a, size, {}).ms | .1f")\n'
    assert "[3.0]" in pages.render(page(text.format("large"), rows=rows)).text
    with pytest.raises(ValueError, match="2 rows have"):
        pages.render(page('[0](study.json "pick(rows, name, a).ms | .1f")', rows=rows))


def test_any_json_can_be_tabled(page):
    text = """<!-- table study.json
rows layer: rows
column layer: row.name
column ms: row.ms | .1f
column to the first: row.ms / rows[0].ms | .2f
column MMACs: row.macs / 1000000 | ,.1f
-->
<!-- end -->
"""
    path = page(text, rows=[{"name": "a", "ms": 2.0, "macs": 5_000_000}, {"name": "b", "ms": 3.0, "macs": 1}])
    pages.remake(path)
    assert cells(path.read_text(encoding="utf-8"))[2:] == [
        ["a", "2.0", "1.00", "5.0"],
        ["b", "3.0", "1.50", "0.0"],
    ]


def test_classes_and_values(page, tmp_path):
    page("", alone=runs(ONE), preset=runs(OTHER))
    values = Values(tmp_path)

    def said(expression):
        return values.evaluate("study.json", expression)

    # A word that is no method needs no quotes, which would end the title of a link.
    assert said("iou(alone, Sky) | .1f") == "90.0" and said("iou(alone, 'Pole') | .1f") == "–"
    assert said("of(alone, 'parameters') | ,") == "1,234" and said("setting(alone, 'epochs')") == "40"
    assert said("pairs(preset, alone)") == "+2.00, +1.50, +1.50, +0.50, +3.00"
    both = said("interval(pairs(preset, alone) + pairs(preset, alone))")
    twice = np.tile(np.subtract(OTHER, ONE), 2)
    half = stats.t.ppf(0.975, 9) * twice.std(ddof=1) / 10**0.5
    assert both == f"{twice.mean():+.2f} ± {half:.2f}"
    assert said("smallest(pairs(preset, alone)) | .2f") == "0.50" and said("seeds(alone)") == "5"


def test_the_line_breaks_of_a_figure_stay(page):
    text = 'It is [+1.70 ±\n0.95](study.json "diff(preset, alone)").\n'
    path = page(text, alone=runs(ONE), preset=runs(OTHER))
    half = stats.t.ppf(0.975, 4) * np.subtract(OTHER, ONE).std(ddof=1) / 5**0.5
    text = text.replace("0.95", f"{half:.2f}")
    path.write_text(text, encoding="utf-8")
    assert pages.render(path).text.startswith(text)


def test_a_table_of_further_frames(page):
    content = {"alone": runs(ONE[:2])}
    for seed, one in content["alone"].items():
        one["stages"][0]["measured"] = {"far": {"mean_iou": 0.25 + int(seed) / 100}}
    text = (
        "<!-- table study.json\nrow one: alone\ncolumn: seeds far\ncolumn far: mean(row, measure=far)\n-->\n"
    )
    path = page(f"{text}<!-- end -->\n", protocol=2, runs=content, failed={}, seeds=[0, 1])
    pages.remake(path)
    head, _, row = cells(path.read_text(encoding="utf-8"))
    assert head == ["", "far seed 0", "far seed 1", "far"]
    assert row == ["one", "25.00", "26.00", f"25.50 ± {np.std([25, 26], ddof=1):.2f}"]
