"""The site of the documents: built without a warning, and complete without a network."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from browser import needs_browser, requested, wait
from pages import ROOT
from test_report_page import chrome  # noqa: F401  (a fixture)

MKDOCS = shutil.which("mkdocs") or shutil.which("mkdocs", path=Path(sys.executable).parent)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not MKDOCS, reason="the site needs the extra tfsegkd[docs]"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("site")
    # TensorFlow's path must not reach the tool, which may live in an environment of its own.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [MKDOCS, "build", "--strict", "--site-dir", str(directory)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return directory


def test_docstrings_become_pages(site):
    page = (site / "api/losses.html").read_text(encoding="utf-8")
    section = page[page.index('id="tfsegkd.losses.PairwiseLoss"') :]
    section = section[: section.index('id="tfsegkd.losses.PixelwiseLoss"')]
    assert "Computes the mean squared error between similarities of all pairs of positions." in section
    assert re.search(r"<summary>Shapes</summary>\s*<ul>\s*<li><code>teacher</code>: \(N, H, W, Ct\)", section)
    assert "<strong>Differs:</strong>" in section
    assert 'href="https://arxiv.org/abs/1903.04197"' in section
    example = (site / "api/distillation.html").read_text(encoding="utf-8")
    assert re.search(r'<summary>Example</summary>\s*<div class="[^"]*highlight', example)


def test_every_public_name_is_on_its_page(site):
    for page in sorted((ROOT / "docs/api").glob("*.md")):
        if page.stem == "index":
            continue
        text = (site / f"api/{page.stem}.html").read_text(encoding="utf-8")
        package = vars(importlib.import_module(f"tfsegkd.{page.stem}"))
        # Constants have no words of their own, and what is TF-MOT's is described there.
        ours = [package[name] for name in package["__all__"] if hasattr(package[name], "__qualname__")]
        names = {thing.__name__ for thing in ours if thing.__module__.startswith("tfsegkd")}
        lost = [name for name in names if not re.search(rf'id="tfsegkd\.{page.stem}\.[\w.]*\b{name}"', text)]
        assert lost == [], page.stem


@needs_browser
def test_it_opens_and_is_searched_without_a_network(site, chrome):  # noqa: F811
    chrome.get((site / "index.html").as_uri())
    box = chrome.find_element("css selector", "input.md-search__input")
    wait(box.is_displayed)
    box.send_keys("cost-complexity")
    wait(lambda: chrome.find_elements("css selector", ".md-search-result__link[href*=pruning]"))
    for page in ("api/losses.html", "report.html"):
        chrome.get((site / page).as_uri())
    assert [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"] == []
    urls = requested(chrome)
    assert len(urls) > 10
    assert [url for url in urls if not url.startswith(("file://", "data:", "blob:", "about:"))] == []
