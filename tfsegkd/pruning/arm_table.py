"""A table of the Arm instructions that each layer takes with some of its channels removed."""

import hashlib
import importlib.metadata
import json
import tempfile
from collections.abc import Callable, Container, Sequence
from pathlib import Path

import numpy as np

from tfsegkd._keras import keras
from tfsegkd.atomic import read_json, write_json
from tfsegkd.graph import ChannelGraph
from tfsegkd.pruning.selection import Selection
from tfsegkd.runtime import arm, arm_sysroot
from tfsegkd.runtime.arm import ArmCount

# The shares of the MACs at which layers are counted; between them instructions are interpolated.
_COUNTED = (1.0, 0.7, 0.45, 0.25)


class ArmTable:
    """The instructions of each layer of a network, by the share of its work that is left.

    The dense network and some in which all layers lose the same share are counted op by op, once: the table
    is kept in the cache directory.

    Args:
        channels: The channels of the dense network.
        round_to: Every layer keeps a multiple of it.
        convert: Makes the `.tflite` of a network.
        form: What the files are, such as 'int8'; tables of one form are kept apart from those of another.

    Raises:
        OSError: if the emulator or its system is missing; the message says what to install.
    """

    def __init__(
        self, channels: ChannelGraph, round_to: int, convert: Callable[[keras.Model], bytes], form: str
    ):
        self._channels = channels
        path = arm_sysroot.cache_directory() / "tables" / f"{_key(channels, round_to, form)}.json"
        if path.exists():
            rows = read_json(path)
        else:
            rows = _rows(channels, round_to, convert)
            write_json(path, rows)
        self._constant = max(row["others"] for row in rows)
        self._curves = {}
        for layer in {name for row in rows for name in row["layers"]}:
            points = sorted((row["shares"][layer], row["layers"].get(layer, 0)) for row in rows)
            shares, counts = (np.array(column, float) for column in zip(*points, strict=True))
            # Fewer channels never cost more, or a search would lose its way in the counter's last digits.
            self._curves[layer] = shares, np.maximum.accumulate(counts)

    def instructions(self, keep: np.ndarray) -> float:
        """The estimated instructions with only some units kept."""
        left = self._channels.shares(keep)
        return self._constant + sum(_at(left[layer], *curve) for layer, curve in self._curves.items())


def count_together(contents: Sequence[bytes], ops: bool = False) -> list[ArmCount]:
    """The counts of files that are in memory."""
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as directory:
        paths = [Path(directory, f"{number}.tflite") for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        return arm.count_together(paths, ops)


def _rows(channels, round_to, convert) -> list[dict]:
    full = channels.counts(channels.all()).macs
    selection = Selection(channels, np.zeros(len(channels.all())), "local", round_to=round_to)

    def share(keep):
        return channels.counts(keep).macs / full

    least = share(selection.least())
    keeps = [selection.reach(share, max(wanted, least)) for wanted in _COUNTED[1:]]
    keeps = [channels.all(), *keeps]
    files = [convert(channels.rebuild(channels.edits(keep))) for keep in keeps]
    weighted = [name for name, layer in channels.layers.items() if layer.kernels]
    rows = []
    for keep, counted in zip(keeps, count_together(files, ops=True), strict=True):
        shares, layers, others = channels.shares(keep), {}, 0
        for one in counted.ops:
            layer = layer_of(one.op, shares, weighted)
            if layer is None:
                others += one.instructions or 0
            else:
                layers[layer] = layers.get(layer, 0) + (one.instructions or 0)
        rows.append({"shares": {name: shares[name] for name in layers}, "layers": layers, "others": others})
    return [row for row in rows if row["layers"].keys() == rows[0]["layers"].keys()]


def layer_of(op: str, layers: Container[str], weighted: Container[str]) -> str | None:
    """The layer that an op of a file is from; None if it is from none.

    Args:
        op: The op, as of `OpCount`.
        layers: The layers that it may be from.
        weighted: Those with weights to multiply by: of all that an op's name holds they come first.
    """
    parts = [part for name in op.split(" ", 1)[1].split(";") for part in name.split("/")]
    found = [part for part in parts if part in layers]
    return next(iter([*(part for part in found if part in weighted), *found]), None)


def _at(share: float, shares: np.ndarray, counts: np.ndarray) -> float:
    if share < shares[0]:
        # Below what was counted, in proportion.
        return float(counts[0] * share / shares[0])
    return float(np.interp(share, shares, counts))


def _key(channels: ChannelGraph, round_to: int, form: str) -> str:
    versions = importlib.metadata.version("ai-edge-litert")
    what = json.dumps(
        [channels.model.get_config(), round_to, form, versions, _COUNTED], sort_keys=True, default=str
    )
    return hashlib.sha256(what.encode()).hexdigest()[:32]
