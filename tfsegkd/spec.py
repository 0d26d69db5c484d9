"""The language of the flagfiles: `name(key=value)@teacher_layer:student_layer*weight*schedule(key=value)`.

    pixelwise                                  a name
    pixelwise(temperature=4)*0.5               with an argument and a weight
    pairwise@aspp:context*0.5                  between the teacher's layer 'aspp' and the student's 'context'
    hint@stage4                                the layer of this name in both networks
    hint@stage4*2*warm_up(steps=200)           with a weight that grows over the first 200 steps
    hint*warm_up(steps=200)*stop(step=900)     with two schedules, both of which count

A factor with parentheses is a schedule; one without is the weight, and comes first. Values are Python
literals; a bare word is a string. Nothing is evaluated. Networks and data sets are `name(key=value)` alone.
"""

import ast
import math
import re
from dataclasses import dataclass, field
from typing import Any

_SHAPE = re.compile(
    r"""\s*+(?P<name>[A-Za-z_][\w.\-]*(?::[\w.\-/]+)?)\s*+
        (?P<arguments>\(.*\))?\s*+
        (?:@(?P<layers>[^*@()]+))?\s*+""",
    re.VERBOSE | re.DOTALL,
)


_TERM = "name(key=value)@teacher_layer:student_layer*weight*schedule(key=value), all but the name optional"
_NAMED = "NAME or NAME(option=value, …), with quotes around text such as a path"


@dataclass(frozen=True)
class Spec:
    """One parsed item of the flag language; `at` is (teacher layer, student layer) or None.

    `schedule` holds the factors after the weight, each with a name and arguments.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    at: tuple[str, str] | None = None
    weight: float = 1.0
    schedule: tuple["Spec", ...] = ()


def parse(text: str) -> Spec:
    """Parses one spec.

    Raises:
        ValueError: if `text` is not of the form above; the message shows the form and the fault.
    """
    first, *factors = _factors(text)
    match = _match(text, first)
    at = None
    if match["layers"] is not None:
        layers = [layer.strip() for layer in match["layers"].split(":")]
        if len(layers) > 2 or not all(layers):
            raise _malformed(text, f"{match['layers']!r} is not 'teacher_layer:student_layer'")
        at = (layers[0], layers[-1])
    weight = 1.0
    if factors and "(" not in factors[0]:
        weight = _weight(text, factors.pop(0))
    schedule = tuple(_schedule(text, factor) for factor in factors)
    return Spec(match["name"], _arguments(text, match["arguments"]), at, weight, schedule)


def parse_named(text: str) -> Spec:
    """Parses the spec of a network or a data set, which has neither layers nor weights.

    Raises:
        ValueError: if `text` is not of the form name(key=value); the message shows the form and the fault.
    """
    match = _SHAPE.fullmatch(text)
    if match is None or match["layers"] is not None:
        open_one = text.count("(") > text.count(")")
        raise _malformed(text, "a ')' is missing" if open_one else "it does not have that form", _NAMED)
    return Spec(match["name"], _arguments(text, match["arguments"], _NAMED))


def _factors(text: str) -> list[str]:
    """Splits at each `*` outside of parentheses."""
    parts, begin, depth, quote = [], 0, 0, None
    characters = iter(enumerate(text))
    for index, character in characters:
        if quote is not None:
            if character == "\\":
                next(characters, None)
            elif character == quote:
                quote = None
        elif character in "'\"" and depth:
            quote = character
        elif character == "(":
            depth += 1
        elif character == ")":
            depth = max(depth - 1, 0)
        elif character == "*" and not depth:
            parts.append(text[begin:index])
            begin = index + 1
    return [*parts, text[begin:]]


def _match(text: str, part: str) -> re.Match:
    match = _SHAPE.fullmatch(part)
    if match is None:
        raise _malformed(text, "it does not have that form")
    return match


def _schedule(text: str, factor: str) -> Spec:
    match = _SHAPE.fullmatch(factor)
    plain = bool(factor.strip()) and "(" not in factor
    if plain or (match is not None and match["layers"] is not None):
        raise _malformed(text, f"{factor.strip()!r} is not a schedule such as warm_up(steps=200)")
    match = _match(text, factor)
    return Spec(match["name"], _arguments(text, match["arguments"]))


def _arguments(text: str, source: str | None, form: str = _TERM) -> dict[str, Any]:
    if source is None:
        return {}
    try:
        call = ast.parse(f"_{source}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _malformed(text, f"{source} cannot be read as arguments", form) from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise _malformed(text, f"{source} cannot be read as arguments", form)
    if call.args or any(keyword.arg is None for keyword in call.keywords):
        raise _malformed(text, "arguments need a name, as in (temperature=4)", form)
    names = [keyword.arg for keyword in call.keywords]
    if len(set(names)) < len(names):
        raise _malformed(text, "an argument is given twice", form)
    return {keyword.arg: _value(text, keyword.value, form) for keyword in call.keywords}


def _value(text: str, node: ast.expr, form: str) -> Any:
    if isinstance(node, ast.Name):
        return node.id
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        raise _malformed(
            text, "a value is neither a word, a number, a quoted string, a list nor a tuple", form
        ) from None


def _weight(text: str, source: str) -> float:
    if not source.strip() or "@" in source or ")" in source:
        raise _malformed(text, "it does not have that form")
    try:
        weight = float(source)
    except ValueError:
        raise _malformed(text, f"the weight {source!r} is not a number") from None
    if not math.isfinite(weight):
        raise _malformed(text, f"the weight {source!r} is not finite")
    return weight


def _malformed(text: str, why: str, form: str = _TERM) -> ValueError:
    return ValueError(f"Cannot read {text!r}. Expected {form}; {why}.")
