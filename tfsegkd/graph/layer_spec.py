"""The specification of a layer type: the form of an entry of the layer table."""

import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfsegkd._keras import keras


class Scale(enum.Enum):
    """How the scale of a layer's int8 output relates to that of its first input.

    Example:
        graph.LayerSpec(scale=graph.Scale.SAME).scale.name  # 'SAME'
    """

    SAME = "the same values, elsewhere, on the same scale"
    POOLED = "new values on the same scale"
    SHARED = "one scale for all inputs and the output"
    OWN = "new values on a scale of its own"


@dataclasses.dataclass(frozen=True)
class Kernel:
    """The kernel of a layer that int8 runs as one multiplication.

    Args:
        name: The attribute that holds it.
        scales: Which parts have a scale of their own: 'channel', 'depthwise', or 'tensor' for none.
        inputs, outputs: Its axes along the input and the output channels; those of a depthwise kernel are its
            last two together.

    Example:
        graph.Kernel("kernel", scales="channel", inputs=2, outputs=3).name  # 'kernel'
    """

    name: str
    scales: str
    inputs: int
    outputs: int


@dataclasses.dataclass(frozen=True)
class LayerSpec:
    """What compressors and converters have to know of a type of layer.

    Args:
        channels: How channels pass: 'through', each by itself; 'united', the inputs' channels tied place by
            place; 'joined', the inputs' channels one behind the other; 'repeated', each several times in a
            row; 'frozen', it looks at all of them at once; or a rule (dependencies, node, inputs) → the
            output's channels, or a `LayerChannels` where weights go along. None: nobody knows, so none is
            removed.
        macs: (layer, input shapes, output shapes) → multiply-accumulates of one image. A number where it is
            always that. None: read from the weights whether there may be some.
        scale: What int8 does to the scale, or a function that reads it from a layer. None: int8 cannot run
            it, unless it decomposes.
        decompose: (layer, inputs, weights, build) → the output of other layers that compute the same, or None
            where this one may stay. `build.add` calls a layer, `build.decompose` decomposes it as well.
        fix: What to do if int8 cannot run it.
        kernel: Its kernel, if int8 runs it as one multiplication.
        folds_norm: Whether BatchNorm behind it becomes part of it.
        ends_in_relu: Whether TFLite's operation ends in a ReLU or ReLU6 at no cost.
        homogeneous: Whether twice the input gives twice the output and channels stay apart, so that a scale
            of each channel can pass; or a function that reads it from a layer.
        sized_by_second: Whether of its further inputs only the size counts.
        has_activation: Whether it has an activation of its own inside.
        elementwise: Whether it treats every number alike, as an activation does.
        keeps_mean: Whether it hands a channel's mean on, borders and maxima aside.
        moves: Whether it only moves, enlarges or cuts images: the largest class of a pixel stays the largest.
        grid: (layer, axis, grid, positions before, after) → the `geometry.Grid` of its output on that axis.
            None: its positions are those of its first input of the same size.
        opened: Whether adoption looks into it, because what it is made of is better known.
        thinned: The weight that TF-MOT's magnitude pruning can thin out.
        keras3: Its twin in Keras 3: True for the class of the same name, or a class of your own.
        keras3_names: Entry of the twin's configuration → what it is called here.

    Example:
        spec = tfsegkd.graph.LayerSpec(channels="through", scale=tfsegkd.graph.Scale.SAME)
    """

    channels: str | Callable | None = None
    macs: Callable | int | None = None
    scale: Scale | Callable | None = None
    decompose: Callable | None = None
    fix: str = ""
    kernel: Kernel | None = None
    folds_norm: bool = False
    ends_in_relu: bool = False
    homogeneous: bool | Callable = False
    sized_by_second: bool = False
    has_activation: bool = False
    elementwise: bool = False
    keeps_mean: bool = False
    moves: bool = False
    grid: Callable | None = None
    opened: bool = False
    thinned: str = ""
    keras3: bool | type = False
    keras3_names: Mapping[str, str] = dataclasses.field(default_factory=dict)


_TABLE: dict[type, LayerSpec] = {}
_UNKNOWN = LayerSpec()


def enter(spec: LayerSpec, *types: type) -> None:
    """Enters types of layers into the table, where they must be new.

    Raises:
        ValueError: for a type that is in it already.
    """
    for kind in types:
        if kind in _TABLE:
            raise ValueError(
                f"Layer type {kind.__name__!r} is registered already, as {_described(_TABLE[kind])}. "
                f"Expected a type that the table does not have. Leave it out, or derive a class of your own."
            )
        _TABLE[kind] = spec


def remove(kind: type) -> None:
    """Takes a type of layer out of the table again."""
    del _TABLE[kind]


def is_known(kind: type) -> bool:
    """Whether a type of layer is in the table."""
    return kind in _TABLE


def spec_of(layer: keras.layers.Layer | type) -> LayerSpec:
    """What the table says of a layer, or of a type. Of what is not in it: nothing.

    What a user derived from a layer may do something else: see `inherited`.
    """
    return _TABLE.get(layer if isinstance(layer, type) else type(layer), _UNKNOWN)


def inherited(layer: keras.layers.Layer) -> LayerSpec:
    """What the table says of a layer or, if it is not in it, of the nearest class that it is derived from."""
    return next((_TABLE[kind] for kind in type(layer).__mro__ if kind in _TABLE), _UNKNOWN)


def types(condition: Callable[[LayerSpec], Any]) -> tuple[type, ...]:
    """The types of layers of which a condition holds."""
    return tuple(kind for kind, spec in _TABLE.items() if condition(spec))


def scale_of(layer: keras.layers.Layer) -> Scale | None:
    """What int8 does to the scale; None if it cannot run the layer."""
    scale = spec_of(layer).scale
    return scale if scale is None or isinstance(scale, Scale) else scale(layer)


def is_homogeneous(layer: keras.layers.Layer) -> bool:
    """Whether a positive scale of each channel can pass through a layer."""
    found = spec_of(layer).homogeneous
    return bool(found(layer) if callable(found) else found)


def kernel_of(layer: keras.layers.Layer) -> Any:
    """The variable of a layer's kernel."""
    return getattr(layer, spec_of(layer).kernel.name)


def activation(layer: keras.layers.Layer) -> str | None:
    """The name of a layer's own activation; None if it has none to have."""
    if type(layer) is keras.layers.Softmax:
        return "softmax"
    function = getattr(layer, "activation", None)
    return function and getattr(function, "__name__", type(function).__name__)


def is_linear(layer: keras.layers.Layer) -> bool:
    """Whether `layer` has no activation of its own."""
    return activation(layer) in (None, "linear")


def _described(spec: LayerSpec) -> str:
    fields = [
        f"{field.name}={getattr(spec, field.name)!r}"
        for field in dataclasses.fields(spec)
        if getattr(spec, field.name) != getattr(_UNKNOWN, field.name)
    ]
    return f"LayerSpec({', '.join(fields)})"


@dataclasses.dataclass(frozen=True, eq=False)
class Cut:
    """One axis of one weight that goes along the channels.

    Args:
        weight: The number of the weight in `layer.get_weights()`.
        axis: Its axis.
        channels: What stands at each position of the axis: a channel or, once they are counted, a unit.
        role: 'produces' new channels, 'passes' on those it gets, or 'consumes' them, so that they end here.

    Example:
        graph.Cut(weight=0, axis=3, channels=np.arange(16), role="produces").axis  # 3
    """

    weight: int
    axis: int
    channels: np.ndarray
    role: str


@dataclasses.dataclass(eq=False)
class LayerChannels:
    """What removing channels means for one layer.

    Args:
        inputs: The channels of its (first) input.
        outputs: The channels of its output.
        cuts: How its weights shrink.
        sizes: Entry of its configuration → the channels whose number it is.
        kernels: The numbers of the weights that it multiplies by.
        positions: How often it multiplies by them for one image, all its calls together.

    Example:
        graph.LayerChannels(inputs=np.arange(16), outputs=np.arange(16)).cuts  # []
    """

    inputs: np.ndarray
    outputs: np.ndarray
    cuts: list[Cut] = dataclasses.field(default_factory=list)
    sizes: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    kernels: tuple[int, ...] = ()
    positions: int = 0

    @property
    def consumes(self) -> bool:
        return any(cut.role == "consumes" for cut in self.cuts)
