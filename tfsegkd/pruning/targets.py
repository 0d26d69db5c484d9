"""Cost targets of pruning, and the share of the cost that some channels leave."""

import os
from collections.abc import Callable

import numpy as np

from tfsegkd.graph import ChannelGraph
from tfsegkd.pruning.latency_table import LatencyTable

# Each kind of cost in the words of a sentence.
COSTS = {"macs": "MACs", "params": "parameters", "latency": "latency"}
# Those that a single target can be about; instructions are counted on whole files.
TARGETS = {**COSTS, "arm": "instructions on Arm"}


def parse_target(target: str) -> tuple[str, float]:
    """Reads 'macs:0.5' as the kind of cost and the fraction to keep.

    Raises:
        ValueError: for anything else.
    """
    kind, _, fraction = target.partition(":") if isinstance(target, str) else ("", "", "")
    try:
        fraction = float(fraction)
    except ValueError:
        fraction = -1.0
    if kind not in TARGETS or not 0 < fraction <= 1:
        raise ValueError(
            f"target must be one of {[f'{cost}:fraction' for cost in TARGETS]} with a fraction to keep above "
            f"0 and up to 1. Received: {target!r}. Half of the MACs is 'macs:0.5'."
        )
    return kind, fraction


def cost_measure(
    channels: ChannelGraph, kind: str, latency_table: str | os.PathLike | None = None
) -> Callable[[np.ndarray], float]:
    """A function from units to keep to the share of the cost that is left.

    Raises:
        FileNotFoundError, ValueError: for a latency without a table, or a table that is none of the network.
    """
    if kind == "latency":
        if latency_table is None:
            raise ValueError(
                "A latency needs latency_table, a CSV layer,ms of the device: one latency for each set of "
                "channels would take days to measure. Or choose 'macs'."
            )
        table = LatencyTable(latency_table, channels)
        dense = table.milliseconds(channels.all())
        return lambda keep: table.milliseconds(keep) / dense
    full = channels.counts(channels.all())

    def measure(keep):
        left = channels.counts(keep)
        return left.parameters / full.parameters if kind == "params" else left.macs / max(full.macs, 1)

    return measure
