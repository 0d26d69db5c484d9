"""What each kind of layer does to the channels of its inputs.

Every tensor carries one atom for each position of its channel axis. A convolution makes new atoms; an
activation hands on those it gets; an Add makes the atoms of its inputs one. Atoms that became one live or die
together.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tfsegkd._keras import keras
from tfsegkd.graph.nodes import Graph, Node
from tfsegkd.layers import (
    AdaptiveMean,
    ChannelShuffle,
    CropLike,
    FixedRange,
    HardGate,
    MaxUnpooling,
    PadToStride,
    ResizeLike,
)

layers = keras.layers

# Functions that treat every number alike. Others, such as softmax, look at all channels at once.
_ELEMENTWISE = frozenset(
    (
        *("elu", "exponential", "gelu", "hard_sigmoid", "leaky_relu", "linear", "mish", "relu", "relu6"),
        *("selu", "sigmoid", "silu", "softplus", "softsign", "swish", "tanh"),
    )
)


@dataclass(frozen=True, eq=False)
class Cut:
    """One axis of one weight that goes along the channels.

    Args:
        weight: The number of the weight in `layer.get_weights()`.
        axis: Its axis.
        channels: What stands at each position of the axis: an atom or, once they are counted, a unit.
        role: 'makes' new channels, 'carries' those it gets, or 'reads' them, so that they end here.
    """

    weight: int
    axis: int
    channels: np.ndarray
    role: str


@dataclass(eq=False)
class LayerChannels:
    """What removing channels means for one layer.

    Args:
        reads: The channels of its (first) input.
        gives: The channels of its output.
        cuts: How its weights shrink.
        sizes: Entry of its configuration → the channels whose number it is.
        kernels: The numbers of the weights that it multiplies by.
        positions: How often it multiplies by them for one image, all its calls together.
    """

    reads: np.ndarray
    gives: np.ndarray
    cuts: list[Cut] = field(default_factory=list)
    sizes: dict[str, np.ndarray] = field(default_factory=dict)
    kernels: tuple[int, ...] = ()
    positions: int = 0

    @property
    def is_consumer(self) -> bool:
        return any(cut.role == "reads" for cut in self.cuts)


class Coupling:
    """Follows the channels through a graph and joins those that must live or die together.

    Attributes:
        channels: Tensor id → its atoms.
        layers: Layer name → what removal means for it, for the layers that removal changes.
        frozen: Atom → why it must stay, before joining (see `reasons`).
    """

    def __init__(self, graph: Graph):
        self._parents: list[int] = []
        self.channels: dict[int, np.ndarray] = {}
        self.layers: dict[str, LayerChannels] = {}
        self.frozen: dict[int, list[str]] = {}
        for node in graph.nodes:
            self._visit(node)
        outputs = graph.outputs if isinstance(graph.outputs, list | tuple) else [graph.outputs]
        outputs = graph.outputs.values() if isinstance(graph.outputs, dict) else outputs
        names = {tensor.id: node.name for node in graph.nodes for tensor in node.outputs}
        for tensor in outputs:
            self.freeze(self.channels[tensor.id], f"{names[tensor.id]!r} is an output of the network")

    def fresh(self, count: int) -> np.ndarray:
        """New atoms."""
        start = len(self._parents)
        self._parents.extend(range(start, start + count))
        return np.arange(start, start + count)

    @property
    def count(self) -> int:
        """How many atoms were made."""
        return len(self._parents)

    def find(self, atom: int) -> int:
        """The atom that stands for all that `atom` was joined with."""
        while self._parents[atom] != atom:
            self._parents[atom] = atom = self._parents[self._parents[atom]]
        return int(atom)

    def unite(self, ones: np.ndarray, others: np.ndarray) -> None:
        """Joins atoms pair by pair."""
        for one, other in zip(ones, others, strict=True):
            first, second = sorted((self.find(one), self.find(other)))
            self._parents[second] = first

    def freeze(self, atoms: np.ndarray, reason: str) -> None:
        """Notes that atoms must stay."""
        for atom in np.unique(atoms):
            self.frozen.setdefault(int(atom), []).append(reason)

    def reasons(self) -> dict[int, list[str]]:
        """Joined atom → why it must stay."""
        found: dict[int, list[str]] = {}
        for atom, reasons in self.frozen.items():
            kept = found.setdefault(self.find(atom), [])
            kept.extend(reason for reason in reasons if reason not in kept)
        return found

    def _visit(self, node: Node) -> None:
        inputs = [self.channels[tensor.id] for tensor in node.inputs]
        known = self.layers.get(node.name)
        if known is not None:  # a shared layer: what it gets now must match what it got before
            if len(inputs[0]) == len(known.reads):
                self.unite(known.reads, inputs[0])
                known.positions += _positions(node)
                self.channels[node.outputs[0].id] = known.gives
                return
            self.freeze(known.reads, f"{node.name!r} is shared by inputs with different channels")
        rule = _RULES.get(type(node.layer))
        given = rule(self, node, inputs) if rule else None
        if given is None:
            given = self.stop(node, inputs)
        if isinstance(given, LayerChannels):
            given.positions = _positions(node) if given.kernels else 0
            self.layers[node.name] = given
            given = given.gives
        for tensor in node.outputs:
            if len(given) != _width(tensor.shape):
                given = self.stop(node, inputs)
            self.channels[tensor.id] = given

    def stop(self, node: Node, inputs: list[np.ndarray], reason: str | None = None) -> np.ndarray:
        """Freezes what a layer reads and what it gives, because we do not know how they hang together."""
        kind = getattr(node.layer, "symbol", None) or type(node.layer).__name__
        reason = reason or "we do not know what it does with channels"
        reason = f"{node.name!r} ({kind}): {reason}"
        for atoms in inputs:
            self.freeze(atoms, reason)
        given = self.fresh(_width(node.outputs[0].shape))
        self.freeze(given, reason)
        return given


def _width(shape) -> int:
    return shape[-1] or 0 if len(shape) > 1 else 0


def _grid(shape) -> int:
    """The number of positions, 0 if the size is not fixed."""
    return 0 if None in shape[1:-1] else math.prod(shape[1:-1])


def _positions(node: Node) -> int:
    reads_positions = isinstance(node.layer, layers.Conv2DTranspose | layers.Dense)
    return _grid((node.inputs if reads_positions else node.outputs)[0].shape)


def _is_last(layer) -> bool:
    return getattr(layer, "data_format", None) != "channels_first"


def _mixes(activation) -> bool:
    return activation is not None and getattr(activation, "__name__", None) not in _ELEMENTWISE


def _input(coupling, node, _):
    atoms = coupling.fresh(_width(node.outputs[0].shape))
    coupling.freeze(atoms, f"{node.name!r} is an input of the network")
    return atoms


def _pass(coupling, node, inputs):
    if not _is_last(node.layer):
        return coupling.stop(node, inputs, "its channels come first")
    return inputs[0]


def _activation(coupling, node, inputs):
    if _mixes(node.layer.activation):
        name = getattr(node.layer.activation, "__name__", repr(node.layer.activation))
        return coupling.stop(node, inputs, f"the function {name!r} is not known to work channel by channel")
    return inputs[0]


def _mixing(coupling, node, inputs):
    return coupling.stop(node, inputs, "it looks at all channels at once")


def _makes(coupling, node, atoms, cuts, sizes, kernels):
    """A layer that makes new channels; its weights end with a bias along them."""
    layer = node.layer
    if layer.use_bias:
        role = next(cut.role for cut in cuts if cut.channels is atoms)
        cuts = [*cuts, Cut(len(kernels), 0, atoms, role)]
    reads = next((cut.channels for cut in cuts if cut.role == "reads"), atoms)
    if _mixes(layer.activation):
        coupling.freeze(atoms, f"the activation of {node.name!r} is not known to work channel by channel")
    return LayerChannels(reads, atoms, cuts, sizes, kernels)


def _conv(coupling, node, inputs):
    layer, atoms = node.layer, inputs[0]
    if not _is_last(layer):
        return None
    groups = layer.groups
    if groups == len(atoms) and groups > 1:  # a depthwise convolution by another name
        made = np.repeat(atoms, layer.filters // groups)
        found = _makes(coupling, node, made, [Cut(0, 3, made, "carries")], {}, (0,))
        found.reads, found.sizes = atoms, {"groups": atoms, "filters": made}
        return found
    made = coupling.fresh(layer.filters)
    for blocks in (atoms.reshape(groups, -1), made.reshape(groups, -1)):
        for block in blocks[1:]:  # every block must lose as many
            coupling.unite(blocks[0], block)
    cuts = [Cut(0, 2, atoms[: len(atoms) // groups], "reads"), Cut(0, 3, made, "makes")]
    found = _makes(coupling, node, made, cuts, {"filters": made}, (0,))
    found.reads = atoms
    return found


def _transposed(coupling, node, inputs):
    if not _is_last(node.layer):
        return None
    made = coupling.fresh(node.layer.filters)
    cuts = [Cut(0, 2, made, "makes"), Cut(0, 3, inputs[0], "reads")]
    return _makes(coupling, node, made, cuts, {"filters": made}, (0,))


def _dense(coupling, node, inputs):
    made = coupling.fresh(node.layer.units)
    cuts = [Cut(0, 0, inputs[0], "reads"), Cut(0, 1, made, "makes")]
    return _makes(coupling, node, made, cuts, {"units": made}, (0,))


def _depthwise(coupling, node, inputs):
    if not _is_last(node.layer):
        return None
    made = np.repeat(inputs[0], node.layer.depth_multiplier)
    found = LayerChannels(inputs[0], made, [Cut(0, 2, inputs[0], "carries")], {}, (0,))
    if node.layer.use_bias:
        found.cuts.append(Cut(1, 0, made, "carries"))
    if _mixes(node.layer.activation):
        coupling.freeze(made, f"the activation of {node.name!r} is not known to work channel by channel")
    return found


def _separable(coupling, node, inputs):
    if not _is_last(node.layer):
        return None
    made, between = coupling.fresh(node.layer.filters), np.repeat(inputs[0], node.layer.depth_multiplier)
    cuts = [Cut(0, 2, inputs[0], "reads"), Cut(1, 2, between, "reads"), Cut(1, 3, made, "makes")]
    return _makes(coupling, node, made, cuts, {"filters": made}, (0, 1))


def _batch_norm(coupling, node, inputs):
    if list(node.layer.axis) != [len(node.inputs[0].shape) - 1]:
        return coupling.stop(node, inputs, "it does not normalise the last axis")
    count = len(node.layer.weights)
    return LayerChannels(inputs[0], inputs[0], [Cut(i, 0, inputs[0], "carries") for i in range(count)])


def _group_norm(coupling, node, inputs):
    layer, atoms = node.layer, inputs[0]
    if layer.axis not in (-1, len(node.inputs[0].shape) - 1):
        return coupling.stop(node, inputs, "it does not normalise the last axis")
    blocks = atoms.reshape(len(atoms) if layer.groups == -1 else layer.groups, -1)
    for column in blocks.T[1:]:  # a block has one mean: it goes as a whole
        coupling.unite(blocks[:, 0], column)
    cuts = [Cut(i, 0, atoms, "carries") for i in range(len(layer.weights))]
    return LayerChannels(atoms, atoms, cuts, {"groups": blocks[:, 0]})


def _prelu(coupling, node, inputs):
    axis = len(node.layer.alpha.shape) - 1
    if node.layer.alpha.shape[-1] != len(inputs[0]):
        return inputs[0]
    return LayerChannels(inputs[0], inputs[0], [Cut(0, axis, inputs[0], "carries")])


def _elementwise(coupling, node, inputs):
    widest = max(inputs, key=len)
    for atoms in inputs:
        if len(atoms) == len(widest):
            coupling.unite(widest, atoms)
        else:
            coupling.freeze(atoms, f"{node.name!r} spreads it over {len(widest)} channels")
    return widest


def _concatenate(coupling, node, inputs):
    if node.layer.axis in (-1, len(node.inputs[0].shape) - 1):
        return np.concatenate(inputs)
    return _elementwise(coupling, node, inputs)


def _rescaling(coupling, node, inputs):
    if np.ndim(node.layer.scale) or np.ndim(node.layer.offset):
        return coupling.stop(node, inputs, "it has a scale of its own for each channel")
    return inputs[0]


def _flatten(coupling, node, inputs):
    shape = node.inputs[0].shape
    if not _is_last(node.layer) or not _grid(shape):
        return coupling.stop(node, inputs, "its input has no fixed size with channels last")
    return np.tile(inputs[0], _grid(shape))


def _reshape(coupling, node, inputs):
    """Keeps the channels if the last axis keeps its length, or if each of its positions means one channel."""
    target, shape = node.layer.target_shape, node.outputs[0].shape
    given = inputs[0]
    if len(shape) == 2 and _grid(node.inputs[0].shape):  # a Flatten by another name
        given = np.tile(given, _grid(node.inputs[0].shape))
    if _width(shape) != len(given):
        rows = given.reshape(-1, shape[-1]) if _width(shape) and len(given) % shape[-1] == 0 else None
        if rows is None or (rows != rows[0]).any():
            return coupling.stop(node, inputs, "it mixes channels with positions")
        given = rows[0]
    if target[-1] == -1:
        return given
    return LayerChannels(inputs[0], given, sizes={"target_shape": given})


def _permute(coupling, node, inputs):
    if node.layer.dims[-1] != len(node.layer.dims):
        return coupling.stop(node, inputs, "it moves the channels to another axis")
    return inputs[0]


def _shuffle(coupling, node, inputs):
    groups = inputs[0].reshape(node.layer.groups, -1)
    for group in groups[1:]:  # what is dealt out together goes together, or the next places would shift
        coupling.unite(groups[0], group)
    return groups.T.ravel()


_RULES: dict[type, Callable] = {
    layers.InputLayer: _input,
    layers.Conv2D: _conv,
    layers.Conv2DTranspose: _transposed,
    layers.DepthwiseConv2D: _depthwise,
    layers.SeparableConv2D: _separable,
    layers.Dense: _dense,
    layers.BatchNormalization: _batch_norm,
    layers.GroupNormalization: _group_norm,
    layers.LayerNormalization: _mixing,
    layers.UnitNormalization: _mixing,
    layers.Softmax: _mixing,
    layers.PReLU: _prelu,
    layers.Activation: _activation,
    layers.Concatenate: _concatenate,
    layers.Rescaling: _rescaling,
    layers.Flatten: _flatten,
    layers.Reshape: _reshape,
    layers.Permute: _permute,
    ChannelShuffle: _shuffle,
    **dict.fromkeys(
        (
            *(layers.Add, layers.Subtract, layers.Multiply),
            *(layers.Average, layers.Maximum, layers.Minimum, MaxUnpooling),
        ),
        _elementwise,
    ),
    **dict.fromkeys(
        (
            *(layers.ReLU, layers.LeakyReLU, layers.ELU, layers.ThresholdedReLU),
            *(layers.MaxPooling2D, layers.AveragePooling2D),
            *(layers.GlobalMaxPooling2D, layers.GlobalAveragePooling2D),
            *(layers.UpSampling2D, layers.ZeroPadding2D, layers.Cropping2D, layers.Resizing),
            *(layers.Dropout, layers.SpatialDropout2D, layers.AlphaDropout),
            *(layers.GaussianDropout, layers.GaussianNoise, layers.ActivityRegularization),
            # The second input of our spatial layers is looked at for its size only.
            *(PadToStride, CropLike, ResizeLike, FixedRange, AdaptiveMean, HardGate),
        ),
        _pass,
    ),
}
