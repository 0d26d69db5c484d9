"""The quantization scheme: wraps every layer of a float network in fake quantization.

Differs: TF-MOT's default scheme leaves transposed convolutions with ReLU in float, measures the range of the
    pixels, rounds depthwise kernels with one scale, and does not know our layers.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.graph import Graph, rewrite
from tfsegkd.graph.layer_spec import spec_of
from tfsegkd.graph.layer_table import twin
from tfsegkd.layers import FixedRange
from tfsegkd.quantization.bucketed import LearnedPointsQuantizer, UniformWeightQuantizer
from tfsegkd.quantization.configs import LayerConfig, QuantizedLayer, SharedRange
from tfsegkd.quantization.fusion import Fusion
from tfsegkd.quantization.learned import LearnedActivationQuantizer, LearnedWeightQuantizer
from tfsegkd.quantization.quantizers import BITS, ActivationQuantizer, FixedQuantizer, WeightQuantizer
from tfsegkd.quantization.ranges import PIXELS, Range, assign_ranges
from tfsegkd.registry import Registry

layers = keras.layers
PREFIX = "quant_"
QUANTIZERS = Registry("quantizer")


@dataclasses.dataclass(frozen=True)
class Scheme:
    """What rounds the tensors of a network.

    Args:
        kernel: Makes the quantizer of a kernel from its `axes` and `bits`.
        activation: Makes that of an activation from its limits, its bits and its number of members.
        end: Makes those of kernels that keep 8 bits; `kernel` unless given.
    """

    kernel: Callable
    activation: Callable
    end: Callable | None = None


@QUANTIZERS.register("minmax")
def minmax() -> Scheme:
    """Ranges are read from the values."""
    return Scheme(WeightQuantizer, ActivationQuantizer)


@QUANTIZERS.register("lsq")
def lsq() -> Scheme:
    """Steps are learned with the weights."""
    return Scheme(LearnedWeightQuantizer, LearnedActivationQuantizer)


@QUANTIZERS.register("uniform")
def uniform(bucket_size: int | None = 256) -> Scheme:
    """Kernels have equally spaced levels between the ends of each bucket of weights."""
    kernel = functools.partial(UniformWeightQuantizer, bucket_size=bucket_size)
    return Scheme(kernel, ActivationQuantizer, end=WeightQuantizer)


@QUANTIZERS.register("points")
def points(bucket_size: int | None = 256, start: str = "quantiles") -> Scheme:
    """Kernels stay as they are, and the levels to which their weights are taken learn."""
    kernel = functools.partial(LearnedPointsQuantizer, bucket_size=bucket_size, start=start)
    return Scheme(kernel, ActivationQuantizer, end=WeightQuantizer)


@dataclasses.dataclass(frozen=True)
class Precision:
    """How finely a network is rounded.

    Args:
        weight_bits: 8, 4 or 2. Fixed kernels, the first and the last trained ones, and those of transposed
            convolutions, for which TFLite has no others, have 8 bits in any case.
        activation_bits: 8 or 4.
        quantizer: A spec of `QUANTIZERS`: 'minmax' reads ranges from the values, 'lsq' learns them; 'uniform'
            and 'points', with arguments such as bucket_size=256, scale kernels bucket by bucket.

    Example:
        quantization.Precision(weight_bits=4).activation_bits  # 8
    """

    weight_bits: int = 8
    activation_bits: int = 8
    quantizer: str = "minmax"

    def __post_init__(self):
        checks.one_of(self.weight_bits, BITS, "weight_bits")
        checks.one_of(self.activation_bits, (8, 4), "activation_bits")
        self._scheme().kernel("channel", self.weight_bits)  # refuses wrong arguments

    def _scheme(self) -> Scheme:
        return QUANTIZERS.build(self.quantizer)

    def kernel(self, layer: keras.layers.Layer, is_end: bool):
        """The quantizer of a layer's kernel; None if it has none."""
        if spec_of(layer).kernel is None:
            return None
        axes = spec_of(layer).kernel.scales
        if not layer.trainable:  # a constant, whose largest weight is met exactly
            return WeightQuantizer(axes)
        scheme = self._scheme()
        if is_end or type(layer) is layers.Conv2DTranspose:
            return (scheme.end or scheme.kernel)(axes, 8)
        return scheme.kernel(axes, self.weight_bits)

    def output(self, assigned: Range):
        """The quantizer of an activation."""
        if assigned.fixed_range:
            return FixedQuantizer(*assigned.fixed_range)
        return self._scheme().activation(assigned.limits, self.activation_bits, len(assigned.members))


def with_fake_quantization(graph: Graph, precision: Precision) -> Graph:
    """Wraps each layer as `ranges.assign_ranges` decides, and fixes the range of the pixels.

    Args:
        graph: As `folding.fold` leaves it.
    """
    fusion = Fusion(graph)
    ranges = assign_ranges(graph, fusion)
    trained = [n.name for n in graph.nodes if spec_of(n.layer).kernel and n.layer.trainable]
    ends = {*trained[:1], *trained[-1:]}
    joint: dict[tuple[str, ...], SharedRange] = {}

    def step(node, here, build):
        if isinstance(node.layer, layers.InputLayer):
            pixels = build.keep(here)
            return build.add(FixedRange(*PIXELS, name=f"{node.name}_range"), pixels, like=pixels)
        assigned = ranges.get(node.name)
        shared = assigned is not None and len(assigned.members) > 1
        output = precision.output(assigned) if assigned and not shared else None
        config = LayerConfig(precision.kernel(node.layer, node.name in ends), output)
        layer, weights = node.layer, graph.weights_of(node.name)
        if type(layer) is layers.ReLU and fusion.is_cut(node):
            # The range starts at 0, so the rounding itself is the ReLU.
            layer = layers.Activation("linear")
        wrapper = QuantizedLayer(twin(layer, name=node.name), config, name_prefix=PREFIX)
        values = build.add(wrapper, here.args[0], filled(weights), like=node.output, **here.kwargs)
        if not shared:
            return values
        members = assigned.members
        if members not in joint:
            joint[members] = SharedRange(precision.output(assigned), members, name=f"{members[0]}_range")
        return build.add(joint[members], values, like=values, member=members.index(node.name))

    return rewrite(graph, step)


def filled(weights: Sequence[np.ndarray]) -> Callable:
    """What gives a new wrapper the weights of a float layer, and the first steps or levels of its kernel."""

    def fill(layer: QuantizedLayer):
        layer.set_float_weights(weights)
        layer.start()

    return fill
