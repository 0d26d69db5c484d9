"""The documents, read as their parts: blocks of code, links and headings."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^(\s*)(```+|~~~+)\s*(\S*)")
_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]*(?:\([^()]*\)[^()\s]*)*)(?:\s+\"[^\"]*\")?\)")


@dataclass(frozen=True)
class Block:
    """A block of code.

    Args:
        page: Its file, from the root.
        line: Where its code begins, counted from 1.
        language: As the page says; empty if it does not.
        text: The code.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self):
        return f"{self.page}:{self.line}"


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path) -> list[Block]:
    """The blocks of a page; what is indented by four, which Markdown takes for code, has no language."""
    found, lines = [], path.read_text(encoding="utf-8").splitlines()
    start, prose = 0, []
    while start < len(lines):
        fence = _FENCE.match(lines[start])
        if not fence:
            # Below a list, an indented line is text.
            if lines[start].startswith("    ") and not re.match(r"\s*([-*]|\d+\.)\s", "".join(prose[-1:])):
                found.append(Block(name(path), start + 1, "", lines[start]))
            elif lines[start].strip():
                prose.append(lines[start])
            start += 1
            continue
        end = start + 1
        while end < len(lines) and lines[end].strip() != fence[2]:
            end += 1
        found.append(Block(name(path), start + 2, fence[3], "\n".join(lines[start + 1 : end]) + "\n"))
        start = end + 1
    return found


def prose(path: Path) -> list[tuple[int, str]]:
    """The lines of a page that are not in a block of code, without code in them, each with its number."""
    kept, fence = [], None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        found = _FENCE.match(line)
        if found and fence is None:
            fence = found[2]
        elif fence and line.strip() == fence:
            fence = None
        elif fence is None:
            kept.append((number, re.sub(r"`[^`]*`", "`", line)))
    return kept


def links(path: Path) -> list[tuple[int, str]]:
    """Where a page points to, pictures too, each with its line."""
    return [(number, target) for number, line in prose(path) for target in _LINK.findall(line)]


def anchors(path: Path) -> set[str]:
    """What a link into a page can point to: its headings as GitHub and MkDocs name them."""
    found = set()
    for line in path.read_text(encoding="utf-8").splitlines():
        heading = re.match(r"#+\s+(.*)", line)
        if heading:
            plain = re.sub(r"[^\w\s-]", "", heading[1].lower()).strip()
            found.add(re.sub(r"[\s]+", "-", plain))
    return found
