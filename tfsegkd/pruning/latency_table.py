"""A table of the time that each layer takes on another device."""

import os

import numpy as np

from tfsegkd.graph import ChannelGraph
from tfsegkd.runtime import read_times


class LatencyTable:
    """Estimates latencies from a CSV that the user measured on a device, layer by layer.

    A layer is taken to need time in proportion to its MACs or, if it has none, to its output channels.

    Args:
        path: The CSV, with the columns `layer` and `ms`: milliseconds of each layer of the dense network. A
            layer that another swallows, such as a BatchNorm, need not be in it; every one with MACs must.
        channels: The channels of that network.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read as such a table of that network.
    """

    def __init__(self, path: str | os.PathLike, channels: ChannelGraph):
        self._path, self._channels = str(path), channels
        self._times = {layer: ms for layer, ms, _ in read_times(path, "layer")}
        shares, known = channels.shares(channels.all()), channels.layers
        strange = [layer for layer in self._times if layer not in shares]
        missing = [name for name, layer in known.items() if layer.kernels and name not in self._times]
        if strange or missing:
            what = f"names {strange}, which the network lacks" if strange else f"lacks {missing}"
            raise ValueError(
                f"Latency table {self._path!r} is not of {channels.graph.name!r}: it {what}. Expected a row "
                f"for every layer with weights to multiply by, such as {next(iter(known), None)!r}."
            )

    def milliseconds(self, keep: np.ndarray) -> float:
        """The estimated latency with only some units kept."""
        shares = self._channels.shares(keep)
        return sum(time * shares[layer] for layer, time in self._times.items())
