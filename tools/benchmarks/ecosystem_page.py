"""How networks of other libraries fared, as a part of the page of networks."""

import dataclasses
from collections.abc import Sequence

from benchmarks.printing import line

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


@dataclasses.dataclass(frozen=True)
class Row:
    """One network.

    Args:
        library, network: What it is.
        version: The library's.
        adopt, prune, quantize, export, teacher, student: 'ok', a refusal, or '–' where it was not tried.
        option: What `adopt` was told: an output or a size.
        longest_message: The characters of its longest refusal.
    """

    library: str
    network: str
    version: str = ""
    adopt: str = UNTRIED
    prune: str = UNTRIED
    quantize: str = UNTRIED
    export: str = UNTRIED
    teacher: str = UNTRIED
    student: str = UNTRIED
    option: str = ""
    longest_message: int = 0


def section(rows: Sequence[Row]) -> str:
    """The part of the page, as Markdown; nothing without rows."""
    if not rows:
        return ""
    done = {step: [getattr(row, step) for row in rows] for step in STEPS}
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
            f"{_table([row for row in rows if (row.library, row.version) == library])}\n"
            for library in dict.fromkeys((row.library, row.version) for row in rows)
        ),
        longest=max(row.longest_message for row in rows),
        refusals="\n".join(_refusals(rows)),
    )


def _table(rows: Sequence[Row]) -> str:
    lines = [["network", *STEPS], ["---"] * (1 + len(STEPS))]
    for row in rows:
        adopted, *others = (_cell(getattr(row, step)) for step in STEPS)
        option = f", `{row.option}`" if row.option and adopted == "ok" else ""
        lines.append([row.network, adopted + option, *others])
    return "\n".join(map(line, lines))


def _refusals(rows: Sequence[Row]) -> list[str]:
    """Each message with the networks and steps that it was given for."""
    networks: dict[str, list[str]] = {}
    for row in rows:
        for step in STEPS:
            result = getattr(row, step)
            if _cell(result) == "refused":
                networks.setdefault(result, []).append(f"{row.library}, {row.network}: {step}")
    return [f"- {'; '.join(where)}. `{message.replace('`', '')}`" for message, where in networks.items()]


def _cell(result: str) -> str:
    if result in ("ok", UNTRIED):
        return result
    return result.partition(":")[0] if result.startswith((NOT_BUILT, NO_RESULT)) else "refused"
