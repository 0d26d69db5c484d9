"""The language of the flagfiles: `name(key=value)@teacher_tap:student_tap*weight`.

    pixelwise                        a name
    pixelwise(temperature=4)*0.5     with an argument and a weight
    pairwise@aspp:context*0.5        between the teacher's tap 'aspp' and the student's 'context'
    hint@stage4                      the same tap name on both sides

Values are Python literals; a bare word is a string. Nothing is evaluated.
"""

import ast
import math
import re
from dataclasses import dataclass, field
from typing import Any

_SHAPE = re.compile(
    r"""\s*+(?P<name>[A-Za-z_][\w.\-]*(?::[\w.\-/]+)?)\s*+
        (?P<arguments>\(.*\))?\s*+
        (?:@(?P<taps>[^*@()]+))?
        (?:\*(?P<weight>[^*@()]+))?\s*+""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Spec:
    """One parsed item of the flag language; `at` is (teacher tap, student tap) or None."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    at: tuple[str, str] | None = None
    weight: float = 1.0


def parse(text: str) -> Spec:
    """Reads one spec.

    Raises:
        ValueError: if `text` is not of the form above; the message shows the form and the fault.
    """
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise _malformed(text, "it does not have that form")
    at = None
    if match["taps"] is not None:
        taps = [tap.strip() for tap in match["taps"].split(":")]
        if len(taps) > 2 or not all(taps):
            raise _malformed(text, f"{match['taps']!r} is not 'teacher_tap:student_tap'")
        at = (taps[0], taps[-1])
    return Spec(match["name"], _arguments(text, match["arguments"]), at, _weight(text, match["weight"]))


def _arguments(text: str, source: str | None) -> dict[str, Any]:
    if source is None:
        return {}
    try:
        call = ast.parse(f"_{source}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _malformed(text, f"{source} cannot be read as arguments") from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise _malformed(text, f"{source} cannot be read as arguments")
    if call.args or any(keyword.arg is None for keyword in call.keywords):
        raise _malformed(text, "arguments need a name, as in (temperature=4)")
    names = [keyword.arg for keyword in call.keywords]
    if len(set(names)) < len(names):
        raise _malformed(text, "an argument is given twice")
    return {keyword.arg: _value(text, keyword.value) for keyword in call.keywords}


def _value(text: str, node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return node.id
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        raise _malformed(
            text, "a value is neither a word, a number, a quoted string, a list nor a tuple"
        ) from None


def _weight(text: str, source: str | None) -> float:
    try:
        weight = float(source) if source is not None else 1.0
    except ValueError:
        raise _malformed(text, f"the weight {source!r} is not a number") from None
    if not math.isfinite(weight):
        raise _malformed(text, f"the weight {source!r} is not finite")
    return weight


def _malformed(text: str, why: str) -> ValueError:
    return ValueError(
        f"Cannot read {text!r}. Expected name(key=value)@teacher_tap:student_tap*weight, where all but "
        f"the name may be left out; {why}."
    )
