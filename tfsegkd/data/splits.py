"""Splits of data sets without splits."""

import re
from collections.abc import Sequence
from typing import TypeVar

Example = TypeVar("Example")

SPLITS = ("train", "val", "all")
_GROUPS = 25  # of neighbouring examples; every fifth group is for validation
_FIFTH = 5


def made(examples: Sequence[Example], split: str) -> tuple[list[Example], str]:
    """Returns the examples of a split, for data without splits.

    Neighbouring examples may be similar, as frames of a video are, so that splits consist of groups of
    neighbours: every fifth group is for validation. Fewer than 50 examples are groups of one.

    Args:
        examples: All examples, in the order of their names.
        split: One of `SPLITS`.

    Returns:
        The examples of the split, and a note.
    """
    length = max(1, len(examples) // _GROUPS)
    is_val = [number // length % _FIFTH == _FIFTH - 1 for number in range(len(examples))]
    groups = f"group of {length} neighbours" if length > 1 else "example"
    note = (
        f"There are no splits: of {len(examples)} examples every fifth {groups} by name is for validation, "
        f"{sum(is_val)} in all."
    )
    if split == "all":
        return list(examples), f"There are no splits: these are all {len(examples)} examples."
    return [each for each, val in zip(examples, is_val, strict=True) if val == (split == "val")], note


def in_order(name: str) -> tuple:
    """A sort key for numbered names: frame_9 before frame_10."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)), name
