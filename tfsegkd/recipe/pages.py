"""Pages of results: tables, numbers and plots are generated from JSON, other text is kept.

A number in the text is a link to its JSON; the title of the link is the expression that computes it:

    The gain is [+2.04 ± 1.03](camvid_losses.json "diff(preset, alone)").

A table is between two comments; the first names its file, rows and columns:

    <!-- table camvid_losses.json
    row student alone: alone
    row `--distill=preset`: preset
    column: seeds
    column mean ± sd: mean(row)
    column to alone: diff(row, alone)
    picture camvid_losses.png: alone
    -->
    <!-- end -->

`row TITLE: EXPRESSION` is one row, `rows TITLE: EXPRESSION` a row for each item of a list, under a first
column TITLE; otherwise `heading TITLE` names the first column. `column: seeds` is a column for each seed,
`column: seeds far` the same on the study's further images `far`. A picture shows every row of its table, with
the differences to the rows after its name. `front FILE AXIS: COST; SCORE` draws every row by two expressions,
and the Pareto front. With `claims` instead of `table`, each `row TITLE: compare(one,
other)` is a claim, and the columns show whether it is significant among the others. The last comment of a
page contains the fingerprints of its files.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tfsegkd.atomic import sha256, write_atomically
from tfsegkd.recipe import comparison_plot
from tfsegkd.recipe.comparison import Line
from tfsegkd.recipe.comparison_plot import Point
from tfsegkd.recipe.page_values import Comparison, Values, as_row, compare, seeds_of
from tfsegkd.recipe.statistics import holm, interval, p_value

_BLOCK = re.compile(
    r"<!-- (?P<kind>table|claims) (?P<file>\S+\.json)\n(?P<lines>.*?)-->\n(?P<body>.*?)<!-- end -->",
    re.DOTALL,
)
_FIGURE = re.compile(r'\[(?P<text>[^\]]*)\]\((?P<file>[^)\s]+\.json)\s+"(?P<expression>[^"]*)"\)')
_FOOT = re.compile(r"\n*<!-- made from: [^>]*-->\n*\Z")
_LEVEL = 0.05  # of significance


@dataclass
class _Table:
    """The parsed comment before a table."""

    file: str
    heading: str = ""
    rows: list[tuple[str, str]] = field(default_factory=list)
    several: str | None = None
    columns: list[tuple[str, str]] = field(default_factory=list)
    pictures: list[tuple[str, str]] = field(default_factory=list)
    fronts: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Picture:
    """A plot of a page.

    Args:
        numbers: All its numbers, as the PNG stores them.
        draw: Writes the PNG.
    """

    numbers: str
    draw: Callable[[Path], None]


@dataclass(frozen=True)
class Page:
    """A generated page.

    Args:
        text: The Markdown.
        pictures: The plots, by file name.
    """

    text: str
    pictures: dict[str, Picture]


def render(path: Path) -> Page:
    """Generates a page from its JSON, without writing it.

    Raises:
        ValueError: if an expression cannot be computed, rows of unequal settings or protocols are compared,
            or a comment cannot be read.
        FileNotFoundError: if the page or a JSON file is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No page {str(path)!r}. Expected Markdown that names its JSON.")
    values, pictures = Values(path.parent), {}

    def block(found: re.Match) -> str:
        table = _parsed(found["file"], found["lines"])
        if found["kind"] == "claims":
            cells = _claims(table, values)
        else:
            cells = _cells(table, values)
            pictures.update(_pictures(table, values))
            pictures.update(_fronts(table, values))
        rule = ["---"] * len(cells[0])
        body = "".join(f"| {' | '.join(row)} |\n" for row in (cells[0], rule, *cells[1:]))
        return f"{found[0][: found.start('body') - found.start()]}{body}<!-- end -->"

    def figure(found: re.Match) -> str:
        if "'" in found["expression"]:
            raise ValueError(
                f"A link's title cannot hold the quotes of {found['expression']!r}: sites read its address "
                "to the last of them. Write names without quotes, several as [one, other]."
            )
        text = values.evaluate(found["file"], found["expression"])
        return f"[{_wrapped(text, found['text'])}]{found[0][len(found['text']) + 2 :]}"

    try:
        text = _BLOCK.sub(block, path.read_text(encoding="utf-8"))
        text = _outside_blocks(text, lambda prose: _FIGURE.sub(figure, prose))
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"{path.name}: {error}") from None
    if values.read:
        made = ", ".join(f"{name} {sha256(path.parent / name)[:12]}" for name in sorted(values.read))
        text = f"{_FOOT.sub('', text).rstrip()}\n\n<!-- made from: {made} -->\n"
    return Page(text, pictures)


def remake(path: Path) -> bool:
    """Updates a page and its plots from its JSON; returns whether anything changed.

    Raises:
        ValueError, FileNotFoundError: as of `render`.
        ImportError: if a picture is to be drawn and matplotlib is not installed.
    """
    page, changed = render(path), False
    for name, picture in page.pictures.items():
        if comparison_plot.drawn(path.parent / name) != picture.numbers:
            picture.draw(path.parent / name)
            changed = True
    if page.text != path.read_text(encoding="utf-8"):
        write_atomically(path, lambda file: file.write_text(page.text, encoding="utf-8"))
        changed = True
    return changed


def files(path: Path) -> list[str]:
    """Returns the JSON files of a page."""
    foot = _FOOT.search(path.read_text(encoding="utf-8"))
    return re.findall(r"(\S+\.json) [0-9a-f]{12}", foot[0]) if foot else []


def outside(text: str) -> str:
    """Returns the text of a page without tables, numbers and the last comment."""
    return _FOOT.sub("", _FIGURE.sub("", _BLOCK.sub("", text)))


def _outside_blocks(text: str, change) -> str:
    parts, end = [], 0
    for found in _BLOCK.finditer(text):
        parts += [change(text[end : found.start()]), found[0]]
        end = found.end()
    return "".join([*parts, change(text[end:])])


def _wrapped(text: str, before: str) -> str:
    """Returns the text with the line breaks of the page, if the number of words is the same."""
    return before if before.split() == text.split() else text


def _parsed(file: str, lines: str) -> _Table:
    table = _Table(file)
    for line in filter(None, map(str.strip, lines.splitlines())):
        word, _, rest = line.partition(" ")
        title, colon, expression = (part.strip() for part in rest.rpartition(": "))
        match word:
            case "heading":
                table.heading = rest
            case "row" if colon:
                table.rows.append((title, expression))
            case "rows" if colon:
                table.heading, table.several = title, expression
            case "column" if colon:
                table.columns.append((title, expression))
            case "column:":
                table.columns.append(("", rest.strip()))
            case "picture" if colon:
                table.pictures.append((title, expression))
            case "front" if colon and ";" in expression:
                table.fronts.append((title, expression))
            case _:
                raise ValueError(
                    f"Cannot read {line!r} before a table. Expected 'row TITLE: EXPRESSION', 'column TITLE: "
                    f"EXPRESSION', 'rows TITLE: LIST', 'heading TITLE', 'picture FILE: BASELINES' or 'front "
                    f"FILE AXIS: COST; SCORE'."
                )
    return table


def _rows(table: _Table, values: Values) -> list[tuple[str, object]]:
    rows = [(title, values.value(table.file, expression)) for title, expression in table.rows]
    if table.several is not None:
        listed = values.value(table.file, table.several)
        rows += [(row if isinstance(row, str) else "", row) for row in listed]
    if not rows:
        raise ValueError(f"A table of {table.file} has no row.")
    return rows


def _cells(table: _Table, values: Values) -> list[list[str]]:
    rows = _rows(table, values)
    columns = []
    for title, expression in table.columns:
        word, _, measure = expression.partition(" ")
        if not title and word == "seeds":
            seeds = seeds_of([row for _, row in rows])
            option = f", measure={measure}" if measure else ""
            columns += [(f"{measure} seed {seed}".strip(), f"score(row, {seed}{option})") for seed in seeds]
        else:
            columns.append((title, expression))
    titled = any(title for title, _ in rows)
    cells = [[table.heading] * titled + [title for title, _ in columns]]
    for title, row in rows:
        cells.append([title] * titled + [values.evaluate(table.file, code, row) for _, code in columns])
    return cells


def _claims(table: _Table, values: Values) -> list[list[str]]:
    """Returns for each claim the interval over seeds, over frames if counted, and the adjusted p."""
    claims = [
        (title, one if isinstance(one, Comparison) else Comparison(one))
        for title, one in _rows(table, values)
    ]
    p_values = [p_value(one.pairs) for _, one in claims]
    if any(map(math.isnan, p_values)):
        raise ValueError("A claim needs at least two pairs of seeds, preferably five. Leave it out.")
    with_frames = any(one.frames for _, one in claims)
    head = [
        "claim",
        "pairs",
        "difference, 95 % of seeds",
        *["95 % of frames"] * with_frames,
        "p",
        "p, Holm",
        "shown",
    ]
    cells = [head]
    for (title, one), p, adjusted in zip(claims, p_values, holm(p_values), strict=True):
        mean, half = interval(one.pairs)
        frames = f"{one.frames[0]:+.2f} to {one.frames[1]:+.2f}" if one.frames else "–"
        shown = adjusted < _LEVEL and (not one.frames or one.frames[0] > 0 or one.frames[1] < 0)
        cells.append(
            [
                title,
                str(len(one.pairs)),
                f"{mean:+.2f} ± {half:.2f}",
                *([frames] * with_frames),
                _probability(p),
                _probability(adjusted),
                "yes" if shown else "no",
            ]
        )
    return cells


def _probability(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _pictures(table: _Table, values: Values) -> Iterator[tuple[str, Picture]]:
    titles = [title.replace("`", "") for title, _ in table.rows]
    for name, expression in table.pictures:
        rows = [as_row(row) for _, row in _rows(table, values)]
        baselines = [
            as_row(values.value(table.file, one)) for one in expression.split(",") if one.strip() != "nothing"
        ]
        names = {row.title: title for title, row in zip(titles, rows, strict=True)}
        varies = ",".join(
            found for _, code in table.columns for found in re.findall(r"varies='([^']*)'", code)
        )
        lines = [
            Line(
                title=title,
                last=row.scores,
                differences={names[other.title]: _by_seed(row, other, varies) for other in baselines},
                best={},
                best_epochs=(),
                minutes=(),
                failed=row.failed,
                num_seeds=row.num_seeds,
            )
            for title, row in zip(titles, rows, strict=True)
        ]
        yield name, Picture(comparison_plot.description(lines), partial(comparison_plot.draw, lines=lines))


def _fronts(table: _Table, values: Values) -> Iterator[tuple[str, Picture]]:
    for title, expressions in table.fronts:
        name, _, axis = title.partition(" ")
        points = [
            Point(
                text.replace("`", ""), *(values.value(table.file, one, row) for one in expressions.split(";"))
            )
            for text, row in _rows(table, values)
        ]
        numbers = comparison_plot.front_description(points)
        yield name, Picture(numbers, partial(comparison_plot.draw_front, points=points, cost=axis))


def _by_seed(row, other, varies) -> dict[int, float]:
    pairs = compare(row, other, varies).pairs
    return (
        dict(zip([seed for seed in row.stages if seed in other.stages], pairs, strict=False)) if pairs else {}
    )
