"""Flags that say which channels are removed, for the commands that prune."""

from absl import flags

from tfsegkd import pruning


def define():
    """Defines --importance, --scope and --round_to."""
    flags.DEFINE_enum(
        "importance",
        "taylor",
        [*pruning.IMPORTANCES, pruning.COST_COMPLEXITY],
        "The importance score of channels.",
    )
    flags.DEFINE_enum("scope", "global", pruning.SCOPES, "Which channels are ranked together.")
    flags.DEFINE_integer("round_to", 8, "Every layer keeps a multiple of this many channels.", lower_bound=1)
