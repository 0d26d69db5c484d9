"""How networks of other libraries fared, as a part of the page of networks."""

from collections.abc import Sequence

from benchmarks.rows import Column, Row, table

STEPS = ("adopt", "prune", "quantize", "export", "teacher", "student")
UNTRIED, NOT_BUILT, NO_RESULT = "–", "not built", "no result"
_SECTION = """
## Networks of other libraries

What people bring: {tried} networks of other libraries, or written by hand, with random weights and small
images. This says what the code takes, not how good it is.

{adopted} are adopted as they are, or after naming an output or a size; {counts}.

A student learns as it is, or adopted where a name or a size is needed. A dash: not tried, as a rule because a
step before it was refused. `python tools/benchmark.py ecosystem` tries them, in an environment that has these
libraries; figures in `results/ecosystem.json`.
{tables}
### What is refused, and why

The longest of these messages has {longest} characters.

{refusals}
"""


def new_row(library: str, network: str, **found) -> Row:
    """What became of one network.

    Args:
        library, network: What it is.
        found: The library's `version`; of each of `STEPS` 'ok', a refusal, or '–' where it was not tried;
            what `adopt` was told, an output or a size (`option`); the characters of its longest refusal
            (`longest_message`).
    """
    empty = {"version": "", **dict.fromkeys(STEPS, UNTRIED), "option": "", "longest_message": 0}
    return {"library": library, "network": network, **empty, **found}


def section(rows: Sequence[Row]) -> str:
    """The part of the page, as Markdown; nothing without rows."""
    if not rows:
        return ""
    done = {step: [row[step] for row in rows] for step in STEPS}
    words = ("pruned", "quantized", "exported", "teach", "learn")
    counts = ", ".join(
        f"{done[step].count('ok')} of {sum(result != UNTRIED for result in done[step])} {word}"
        for step, word in zip(STEPS[1:], words, strict=True)
    )
    return _SECTION.format(
        tried=len(rows),
        adopted=done["adopt"].count("ok"),
        counts=counts,
        tables="".join(
            f"\n### {' '.join(library).strip()}\n\n"
            f"{_table([row for row in rows if (row['library'], row['version']) == library])}\n"
            for library in dict.fromkeys((row["library"], row["version"]) for row in rows)
        ),
        longest=max(row["longest_message"] for row in rows),
        refusals="\n".join(_refusals(rows)),
    )


def _table(rows: Sequence[Row]) -> str:
    def adopted(row):
        told = f", `{row['option']}`" if row["option"] and row["adopt"] == "ok" else ""
        return _cell(row["adopt"]) + told

    others = (Column(step, lambda row, step=step: _cell(row[step])) for step in STEPS[1:])
    columns = [Column("network"), Column(STEPS[0], adopted), *others]
    return table(columns, rows, words=len(columns))


def _refusals(rows: Sequence[Row]) -> list[str]:
    """Each message with the networks and steps that it was given for."""
    networks: dict[str, list[str]] = {}
    for row in rows:
        for step in STEPS:
            if _cell(row[step]) == "refused":
                where = f"{row['library']}, {row['network']}: {step}"
                networks.setdefault(row[step], []).append(where)
    return [f"- {'; '.join(where)}. `{message.replace('`', '')}`" for message, where in networks.items()]


def _cell(result: str) -> str:
    if result in ("ok", UNTRIED):
        return result
    return result.partition(":")[0] if result.startswith((NOT_BUILT, NO_RESULT)) else "refused"
