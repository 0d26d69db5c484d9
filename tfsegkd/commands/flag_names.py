"""The flags that set the arguments which errors of the library name.

An error of the library names an argument in backticks, alone or with a value: `data_dir`,
`data_dir='images'`. A command shows the flag that sets it: --data_dir, --data_dir='images'.
"""

import re
from collections.abc import Container

# By argument, the flags that set it, where they are called otherwise; a command shows those that it has.
FLAGS_OF = {
    "balance": ("balanced_terms",),
    "candidates": ("budget_candidates",),
    "device_table": ("latency_table",),
    "halving": ("budget_halving",),
    "held_out": ("teacher_weights_split",),
    "max_drop": ("budget_max_drop",),
    "scales": ("teacher_scales",),
    "size": ("input_size",),
    "skip_bad": ("skip_bad_examples",),
    "split": ("split", "splits", "train_split", "val_split"),
    "terms": ("distill",),
    "windows": ("teacher_windows",),
}
# Flags with a value for each time they are given.
REPEATED = ("distill", "prune_distill", "group_distill", "method", "measure")
# What a library user writes in Python, and flags say with a value.
VALUES = {"Quantize": "--quantize=qat"}

_ARGUMENT = re.compile(r"`(\w+)(=[^`]*)?`|^(\w+)(?= must be )")


def in_flags(message: str, defined: Container[str]) -> str:
    """An error of the library, with the flags of a command in place of the arguments that they set.

    Args:
        message: What the library says.
        defined: The names of the command's flags.
    """

    def flag(found: re.Match) -> str:
        name, value = found[1] or found[3], found[2] or ""
        known = [flag for flag in FLAGS_OF.get(name, (name,)) if flag in defined]
        if not known:
            return VALUES.get(name, found[0])
        if value in ("=True", "=False"):
            return " or ".join(f"--{'' if value == '=True' else 'no'}{flag}" for flag in known)
        return " or ".join(f"--{flag}{value}" for flag in known)

    return _ARGUMENT.sub(flag, message)
