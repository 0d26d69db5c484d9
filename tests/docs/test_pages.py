"""The pages of results say what their JSON says: tables, figures and pictures are made anew and compared."""

import json
import random
import re
import shutil

import pytest
from pages import PAGES, ROOT, name, prose

from tfsegkd.recipe import pages
from tfsegkd.recipe.comparison_plot import drawn

RESULTS = ROOT / "docs" / "results"
MADE = [page for page in PAGES if "<!-- made from: " in page.read_text(encoding="utf-8")]


# A result in prose: a decimal, a sign, a share; a confidence level is none.
FIGURE = re.compile(r"\d\.\d|±|(?<![\w-])[+−-]\d|\b(?!95\b)\d+ ?%")
NUMERIC_CELL = re.compile(r"\|\s*\**[+−-]?\d[\d.,]*\**\s*(±[^|]*)?(?=\|)")


def is_as_its_json_says(page):
    made = pages.render(page)
    return made.text == page.read_text(encoding="utf-8") and all(
        drawn(page.parent / name) == picture.numbers for name, picture in made.pictures.items()
    )


@pytest.mark.parametrize("page", MADE, ids=name)
def test_a_page_is_as_its_json_says(page):
    assert is_as_its_json_says(page), f"python tools/study.py --page={name(page)} makes it anew"


@pytest.mark.parametrize("page", sorted(RESULTS.glob("camvid_*.md")), ids=name)
def test_every_result_on_a_page_has_its_json(page, tmp_path):
    assert page in MADE
    # The lines of the page that nothing computes.
    bare = tmp_path / page.name
    bare.write_text(pages.outside(page.read_text(encoding="utf-8")), encoding="utf-8")
    lines = [re.sub(r"\]\([^)]*\)", "]", line) for _, line in prose(bare)]
    assert [line for line in lines if NUMERIC_CELL.search(line)] == []
    assert [line for line in lines if not line.startswith("|") and FIGURE.search(line)] == []


@pytest.mark.parametrize(
    "line",
    ["It gains 1.5 points.", "It gains +2 points.", "It gains 2 ± 1.", "It is 30 % less.", "| a | 3 | b |"],
)
def test_results_without_json_are_found(line):
    assert FIGURE.search(line) or NUMERIC_CELL.search(line)
    assert not FIGURE.search(
        "The 95 % interval of 5 seeds at 120×160, W4A8 and 1×1 convolutions in 4 groups."
    )


def test_every_json_is_on_a_page():
    """So that another digit in any of them is seen: pages hold their fingerprints."""
    told = {page.parent / file for page in MADE for file in pages.files(page)}
    told |= {RESULTS / "models.json", RESULTS / "models_arm.json", RESULTS / "quantization_compared.json"}
    told |= {RESULTS / "ecosystem.json", RESULTS / "arm_agreement.json"}
    assert {path.name for path in RESULTS.glob("*.json")} == {path.name for path in told}


def test_generated_pages_are_as_their_json_says(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    from benchmarks import arm_page, ecosystem, models, quantization

    def content(file):
        return json.loads((RESULTS / file).read_text(encoding="utf-8"))["rows"]

    rows = content("quantization_compared.json")
    assert quantization.page(rows, 32) == (RESULTS / "quantization_compared.md").read_text(encoding="utf-8")
    rows = models._ordered(models._read(RESULTS / "models.json", (360, 480)))
    counted, agreements = (
        arm_page.read(RESULTS / f"{name}.json") for name in ("models_arm", "arm_agreement")
    )
    others = ecosystem.read(RESULTS / "ecosystem.json")
    assert models.page(rows, counted, others, agreements) == (ROOT / "docs" / "models.md").read_text(
        encoding="utf-8"
    )


@pytest.fixture
def copy(tmp_path):
    """The page of the losses with all that it needs, to be spoilt."""
    for path in (*RESULTS.glob("camvid_losses*"), *RESULTS.glob("camvid_screen*.json")):
        shutil.copy(path, tmp_path)
    return tmp_path / "camvid_losses.md"


def with_another_digit(text, start, end, seed):
    """`text` with one digit between two places changed."""
    chosen = random.Random(seed)
    where = chosen.choice([found.start() for found in re.compile(r"\d").finditer(text, start, end)])
    other = chosen.choice([digit for digit in "0123456789" if digit != text[where]])
    return text[:where] + other + text[where + 1 :]


@pytest.mark.parametrize("seed", range(12))
def test_another_digit_in_a_table_is_seen(copy, seed):
    text = copy.read_text(encoding="utf-8")
    tables = [found.span() for found in re.finditer(r"(?<=-->\n)\|.*?(?=<!-- end -->)", text, re.DOTALL)]
    copy.write_text(with_another_digit(text, *tables[seed % len(tables)], seed), encoding="utf-8")
    assert not is_as_its_json_says(copy)


@pytest.mark.parametrize("seed", range(12))
def test_another_digit_in_the_json_is_seen(copy, seed):
    file = sorted(copy.parent.glob("*.json"))[seed % 4]
    text = file.read_text(encoding="utf-8")
    values = list(re.finditer(r'"mean_iou": [\d.]+', text))
    span = values[seed % len(values)].span()
    file.write_text(with_another_digit(text, *span, seed), encoding="utf-8")
    assert not is_as_its_json_says(copy)


def test_another_number_in_a_picture_is_seen(copy):
    pytest.importorskip("matplotlib")
    made = pages.render(copy)
    ((name, picture),) = made.pictures.items()
    lines = picture.draw.keywords["lines"]
    lines[0].last[0] += 0.01
    picture.draw(copy.parent / name)
    assert not is_as_its_json_says(copy)
    assert pages.remake(copy) and is_as_its_json_says(copy) and not pages.remake(copy)
