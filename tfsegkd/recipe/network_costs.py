"""Costs of networks before training: estimated from their layers, or counted on their files."""

import dataclasses
import hashlib
import importlib.metadata
import inspect
import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.atomic import read_json, write_json
from tfsegkd.data import DatasetInfo
from tfsegkd.export import export_tflite, lowering
from tfsegkd.graph import LayerCost, cost, layer_costs
from tfsegkd.models.registry import models as builders
from tfsegkd.progress_bar import counted
from tfsegkd.pruning.arm_table import layer_of
from tfsegkd.quantization import quantize
from tfsegkd.recipe.budget import Budget
from tfsegkd.runtime import arm, arm_sysroot, read_times
from tfsegkd.spec import parse_named

# A trained file may differ from an untrained one in the last digits of what was counted.
_MARGIN = {"arm": 1.002, "bytes": 1.002}


@dataclasses.dataclass(frozen=True)
class Network:
    """A network to be built.

    Args:
        spec: Its spec.
        size: (height, width) of its input.
    """

    spec: str
    size: tuple[int, int]


class Costs:
    """The costs of networks, of the kinds in a budget.

    Each spec is built once; its costs at other sizes are estimated from the shapes of its layers. Arm
    instructions and bytes are counted layer by layer on three files and interpolated for the others; a
    latency is estimated from the user's table. The exact costs of a file are counted on the file, once per
    machine: counts are kept in the cache directory.

    Args:
        specs: The networks.
        sizes: Their sizes, smallest first.
        base: The size to which a device table belongs, that of the largest network.
        info: The classes, whose names are part of a file.
        budget: The kinds of costs.

    Raises:
        ValueError: if a device table is not of the largest network.
        OSError: if the emulator is needed and missing; the message says what to install.
    """

    def __init__(
        self,
        specs: Sequence[str],
        sizes: Sequence[tuple[int, int]],
        base: tuple[int, int],
        info: DatasetInfo,
        budget: Budget,
    ):
        self._sizes, self._base, self._info, self._budget = list(sizes), tuple(base), info, budget
        if "arm" in budget.kinds:
            check_arm()
        self._works = {spec: _Work.of(_build(spec, self._base, info), self._base) for spec in specs}

    def estimate(self, network: Network) -> dict[str, float]:
        """Estimated costs of a network, by kind of the budget."""
        work = self._works[network.spec].at(network.size)
        ways = {
            "macs": lambda: sum(layer.macs for layer in work.layers.values()),
            "bytes": lambda: self._bytes(work.parameters),
            "arm": lambda: self._arm.estimate(work),
            "latency": lambda: self._latency.estimate(work),
        }
        return {kind: float(ways[kind]()) for kind in self._budget.kinds}

    def count(self, networks: Sequence[Network]) -> list[dict[str, float]]:
        """Exact costs of networks; a latency stays an estimate."""
        kinds = set(self._budget.kinds)
        counts = [{} for _ in networks]
        if kinds & {"arm", "bytes"}:
            counts = _counts(networks, self._info, arm_too="arm" in kinds)
        found = []
        for network, each in zip(networks, counts, strict=True):
            if "macs" in kinds:
                each = {**each, "macs": cost(_build(network.spec, network.size, self._info)).macs}
            if "latency" in kinds:
                each = {**each, "latency": self.estimate(network)["latency"]}
            found.append({kind: float(each[kind]) for kind in self._budget.kinds})
        return found

    @cached_property
    def _references(self) -> list[Network]:
        """Three different networks: the largest, one from the middle, and the smallest."""
        specs = sorted(self._works, key=lambda spec: self._works[spec].macs)
        pairs = [
            (specs[-1], self._base),
            (specs[len(specs) // 2], self._sizes[-1]),
            (specs[0], self._sizes[0]),
        ]
        return [Network(spec, size) for spec, size in dict.fromkeys(pairs)]

    @cached_property
    def _rows(self) -> list[dict]:
        return _counts(self._references, self._info, arm_too="arm" in self._budget.kinds, ops=True)

    @cached_property
    def _arm(self) -> "_LayerTable":
        rows = []
        for network, counts in zip(self._references, self._rows, strict=True):
            work = self._works[network.spec].at(network.size)
            weighted = {name for name, layer in work.layers.items() if layer.macs}
            layers, others = {}, 0.0
            # Ops that are counted alone do not show the gain of fused ones.
            share = counts["arm"] / sum(instructions for _, instructions in counts["ops"])
            for op, instructions in counts["ops"]:
                # TF-MOT's wrappers have other names.
                layer = layer_of(op.replace("/quant_", "/"), work.layers, weighted)
                if layer is None:
                    others += share * instructions
                else:
                    layers[layer] = layers.get(layer, 0.0) + share * instructions
            rows.append((work, layers, others))
        return _LayerTable(rows)

    @cached_property
    def _latency(self) -> "_LayerTable":
        spec = max(self._works, key=lambda spec: self._works[spec].macs)
        return _LayerTable([(self._works[spec], _device_times(self._budget, spec, self._works[spec]), 0.0)])

    def _bytes(self, parameters: int) -> float:
        points = {
            self._works[network.spec].parameters: counts["bytes"]
            for network, counts in zip(self._references, self._rows, strict=True)
        }
        known = sorted(points)
        if parameters <= known[0] or len(known) == 1:
            return points[known[0]] * parameters / known[0]
        return float(np.interp(parameters, known, [points[one] for one in known]))


def with_margin(costs: Mapping[str, float]) -> dict[str, float]:
    """Costs of an untrained file plus the margin by which training may change them."""
    return {kind: value * _MARGIN.get(kind, 1.0) for kind, value in costs.items()}


def check_arm() -> None:
    """Prepares counting on Arm.

    Raises:
        OSError: if something is missing; the message says what to install, or which other kind of budget to
            use.
    """
    try:
        arm.check()
    except OSError as error:
        raise OSError(
            f"{error} Or give the budget in MACs, such as macs:200M, for which none is needed."
        ) from error


def count_file(path: str | os.PathLike, kinds: Sequence[str]) -> dict[str, float]:
    """Costs of a finished file, of the kinds that can be counted on it."""
    found = {}
    if "bytes" in kinds:
        found["bytes"] = float(Path(path).stat().st_size)
    if "arm" in kinds:
        found["arm"] = float(arm.count(path, ops=False).instructions)
    return found


@dataclasses.dataclass(frozen=True)
class _Work:
    """The work of a network's layers at one input size."""

    layers: Mapping[str, LayerCost]
    parameters: int
    size: tuple[int, int]

    @classmethod
    def of(cls, model: keras.Model, size: tuple[int, int]) -> "_Work":
        return cls(layer_costs(model), cost(model).parameters, size)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers.values())

    def at(self, size: tuple[int, int]) -> "_Work":
        """The same at another size, whose layers keep their strides."""
        return dataclasses.replace(
            self, layers={name: self._scaled(layer, size) for name, layer in self.layers.items()}, size=size
        )

    def _scaled(self, layer: LayerCost, size: tuple[int, int]) -> LayerCost:
        shape = layer.shape
        if len(shape) != 3 or shape[:2] == (1, 1):
            return layer
        sides = [
            math.ceil(new * side / old) for side, new, old in zip(shape[:2], size, self.size, strict=True)
        ]
        macs = layer.macs * math.prod(sides) / math.prod(shape[:2])
        return LayerCost(round(macs), (*sides, shape[2]))

    def of_layer(self, name: str) -> int:
        """The MACs of a layer; if it has none, the number of its output values."""
        layer = self.layers[name]
        return layer.macs or math.prod(layer.shape)


class _LayerTable:
    """Costs of layers by their work, interpolated between known ones.

    Args:
        rows: For each network its work, the costs of its layers, and the costs outside of layers.
    """

    def __init__(self, rows: Sequence[tuple[_Work, Mapping[str, float], float]]):
        points: dict[str, dict[int, float]] = {}
        for work, costs, _ in rows:
            for name, value in costs.items():
                points.setdefault(name, {})[work.of_layer(name)] = value
        self._points = {name: sorted(found.items()) for name, found in points.items()}
        self._others = max(others for _, _, others in rows)

    def estimate(self, work: _Work) -> float:
        found = (self._of(name, work.of_layer(name)) for name in work.layers if name in self._points)
        return self._others + sum(found)

    def _of(self, name: str, amount: int) -> float:
        (least, cheapest), *_, (most, dearest) = points = [*self._points[name][:1], *self._points[name]]
        # Proportional beyond the known range.
        if amount <= least:
            return cheapest * amount / least
        if amount >= most:
            return dearest * amount / most
        amounts, costs = zip(*points[1:], strict=True)
        return float(np.interp(amount, amounts, costs))


def _device_times(budget: Budget, spec: str, work: _Work) -> dict[str, float]:
    path = str(budget.device_table)
    times = {layer: ms for layer, ms, _ in read_times(path, "layer")}
    strange = [layer for layer in times if layer not in work.layers]
    missing = [name for name, layer in work.layers.items() if layer.macs and name not in times]
    if strange or missing:
        what = f"names {strange}, which it lacks" if strange else f"lacks its layers {missing}"
        raise ValueError(
            f"The device table {path!r} is not of the largest network to choose from, {spec} at "
            f"{work.size[0]}x{work.size[1]}: it {what}. Expected a row layer,ms for every layer with weights "
            f"to multiply by. Measure that network, or give the budget in arm or macs."
        )
    return times


def _build(spec: str, size: tuple[int, int], info: DatasetInfo) -> keras.Model:
    """Builds a network with random weights, on which its costs do not depend."""
    parsed = parse_named(spec)
    if "weights" in inspect.signature(builders.builder(parsed.name)).parameters:
        parsed = dataclasses.replace(parsed, arguments={**parsed.arguments, "weights": None})
    return models.build(parsed, info.num_classes, (*size, 3))


def _counts(networks: Sequence[Network], info: DatasetInfo, arm_too: bool, ops: bool = False) -> list[dict]:
    """The bytes and Arm instructions of networks' int8 files, from the cache if possible."""
    directory = arm_sysroot.cache_directory() / "files"
    paths, new = [], {}
    for network in networks:
        model = _build(network.spec, network.size, info)
        paths.append(directory / f"{_key(model, info, arm_too, ops and arm_too)}.json")
        if not paths[-1].exists():
            new[paths[-1]] = model
    if new:
        with tempfile.TemporaryDirectory(prefix="tfsegkd_") as scratch:
            files = [Path(scratch) / f"{number}.tflite" for number in range(len(new))]
            pairs = list(zip(new.values(), files, strict=True))
            for model, file in counted(pairs, "exporting untrained networks", "networks"):
                export_tflite(quantize(_differing(model), calibration=_noise(model)), file, metadata=info)
            rows = [{"bytes": file.stat().st_size} for file in files]
            if arm_too:
                for row, found in zip(rows, arm.count_together(files, ops), strict=True):
                    row["arm"] = found.instructions
                    row["ops"] = [(one.op, one.instructions or 0) for one in found.ops]
        for path, row in zip(new, rows, strict=True):
            write_json(path, row)
    return [read_json(path) for path in paths]


def _key(model: keras.Model, info: DatasetInfo, *what: bool) -> str:
    made_by = [importlib.metadata.version(name) for name in ("ai-edge-litert", "tensorflow")]
    made_by.append(lowering.fingerprint())
    content = json.dumps(
        [model.get_config(), info.name, info.class_names, made_by, arm.DEFAULT_CORE, what],
        sort_keys=True,
        default=str,
    )
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _differing(model: keras.Model) -> keras.Model:
    """Makes equal weights, such as biases of zero, different: a file would store them once."""
    random = np.random.default_rng(0)
    model.set_weights(
        [
            value + random.uniform(0.01, 0.2, value.shape) if value.ndim == 1 else value
            for value in model.get_weights()
        ]
    )
    return model


def _noise(model: keras.Model):
    """Calibration data; counts do not depend on it."""
    yield np.random.default_rng(0).uniform(0, 255, (2, *model.input_shape[1:])).astype(np.float32)
