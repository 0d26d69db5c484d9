"""No link of the documents leads nowhere."""

import ast
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pages import PAGES, ROOT, anchors, links, name

SITE = ROOT / "docs"


def fault(page: Path, target: str) -> str | None:
    """What is wrong with a link, if anything is."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        host = re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.netloc)
        return None if parts.scheme == "https" and host else "is no https address"
    aim = (page.parent / parts.path).resolve() if parts.path else page
    if not aim.is_file():
        return "leads to no file"
    if SITE in page.parents and SITE not in aim.parents:
        return "leads out of docs/, where the site does not go"
    if parts.fragment and parts.fragment not in anchors(aim):
        return f"leads to no heading of {aim.name}, which has {sorted(anchors(aim))}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_link_is_dead(page):
    found = {f"{name(page)}:{line}: {target}": fault(page, target) for line, target in links(page)}
    assert {link: wrong for link, wrong in found.items() if wrong} == {}


def test_links_are_found_and_dead_ones_told(tmp_path):
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# A heading, with *more*!\n")
    page.write_text(
        "[one](other.md#a-heading-with-more) ![two](gone.png) [three [in] it](other.md#gone)\n"
        "`[code](gone.md)` [four](http://x) [five](https://example.org/a_(b))\n```sh\n[no](gone.md)\n```\n"
    )
    assert [target for _, target in links(page)] == [
        "other.md#a-heading-with-more", "gone.png", "other.md#gone", "http://x", "https://example.org/a_(b)"
    ]  # fmt: skip
    assert [bool(fault(page, target)) for _, target in links(page)] == [False, True, True, True, False]


def test_every_page_is_reached():
    """From the README or the navigation of the site."""
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    linked = {
        (page.parent / target.partition("#")[0]).resolve() for page in PAGES for _, target in links(page)
    }
    lost = [
        name(page)
        for page in PAGES
        if SITE in page.parents and page not in linked and name(page).removeprefix("docs/") not in nav
    ]
    assert lost == []


def packages():
    """The packages of tfsegkd with the names that each exports and their modules, without importing them."""
    for path in sorted((ROOT / "tfsegkd").glob("*/__init__.py")):
        tree = ast.parse(path.read_text(encoding="utf-8")).body
        imports = [node for node in tree if isinstance(node, ast.ImportFrom)]
        sources = {alias.name: node.module for node in imports for alias in node.names}
        for node in tree:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                yield path.parent, {name: sources.get(name) for name in ast.literal_eval(node.value)}


def test_every_package_has_a_page_of_its_names():
    shown = {path.stem for path in (SITE / "api").glob("*.md")}
    assert {package.name for package, _ in packages()} == shown - {"index"}
    for package, exported in packages():
        page = (SITE / "api" / f"{package.name}.md").read_text(encoding="utf-8")
        assert f"\n::: tfsegkd.{package.name}\n" in page
        # A name that equals a file of the package is hidden by it, and needs its full path.
        hidden = {name for name in exported if (package / f"{name}.py").is_file()}
        hidden |= {name for name in exported if list(package.glob(f"*/{name}.py"))}
        named = {name for name in hidden if re.search(rf"\n::: {exported[name]}\.({name}\.)?{name}\n", page)}
        assert hidden - named == set(), package.name


def test_the_diagram_of_the_architecture_has_every_package():
    drawn = (SITE / "images" / "architecture.svg").read_text(encoding="utf-8")
    files = (ROOT / "tfsegkd").iterdir()
    packages = {path.stem for path in files if path.suffix in ("", ".py")} - {"__init__", "__pycache__"}
    assert {package for package in packages if f">{package}</text>" not in drawn} == set()
