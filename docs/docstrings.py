"""Readies our docstrings for the pages of docs/api: what a terminal shows well becomes Markdown.

`Shapes:` become a list, an `Example:` a block of code; `Differs:` and `Reconstruction:` stand on their own.
"""

import re
import textwrap

import griffe

_SECTION = re.compile(r"^(Shapes|Example|Reference):$")
_ENTRY = re.compile(r"^[\w*, ]+: ")
_REMARK = re.compile(r"^(Differs|Reconstruction):")


def markdown(docstring: str) -> str:
    """The docstring with its sections as Markdown.

    Args:
        docstring: Without the indentation of the code around it.
    """
    # Two indices in a row, as in confusion[label][prediction], would be read as a link.
    lines, made = docstring.replace("][", r"]\[").splitlines(), []
    while lines:
        made.append(lines.pop(0))
        found = _SECTION.match(made[-1])
        if found:
            section = []
            while lines and (lines[0].startswith(" ") or not lines[0]):
                section.append(lines.pop(0))
            content = _FORMS[found[1]](textwrap.dedent("\n".join(section)).strip().splitlines())
            made += [f"    {line}" if line else "" for line in content] + [""]
    return "\n".join(made)


def _shapes(lines: list[str]) -> list[str]:
    # A line that names no tensor goes on with the one before.
    entries = ((_ENTRY.match(line), line) for line in lines)
    return [
        f"- `{entry[0][:-2]}`: {line[entry.end() :]}" if entry else f"  {line.strip()}"
        for entry, line in entries
    ]


def _example(lines: list[str]) -> list[str]:
    return ["```python", *lines, "```"]


def _reference(lines: list[str]) -> list[str]:
    made = []
    for line in lines:
        made += ["", _REMARK.sub(r"**\1:**", line)] if _REMARK.match(line) else [line]
    return made


_FORMS = {"Shapes": _shapes, "Example": _example, "Reference": _reference}


class HouseDocstrings(griffe.Extension):
    """Hands every docstring through `markdown` before it is parsed."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)
