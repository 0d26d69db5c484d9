"""Our quantization scheme: every layer of a float network in the wrapper of TF-MOT that rounds it.

Differs: TF-MOT's default scheme leaves transposed convolutions with ReLU in float, measures the range of the
    pixels, rounds depthwise kernels with one scale, and does not know our layers.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.graph import Graph, rewrite
from tfsegkd.graph.layer_spec import spec_of
from tfsegkd.graph.layer_table import twin
from tfsegkd.layers import FixedRange
from tfsegkd.quantization.configs import JointRounding, LayerConfig, QuantizedLayer
from tfsegkd.quantization.edges import Edges
from tfsegkd.quantization.learned import LearnedActivationQuantizer, LearnedWeightQuantizer
from tfsegkd.quantization.placement import PIXELS, Rounding, place
from tfsegkd.quantization.quantizers import ActivationQuantizer, FixedQuantizer, WeightQuantizer

layers = keras.layers
PREFIX = "quant_"
QUANTIZERS = {
    "minmax": (WeightQuantizer, ActivationQuantizer),
    "lsq": (LearnedWeightQuantizer, LearnedActivationQuantizer),
}


@dataclasses.dataclass(frozen=True)
class Precision:
    """How finely a network is rounded.

    Args:
        weight_bits, activation_bits: 8 or 4. Fixed kernels, the first and the last trained ones, and those of
            transposed convolutions, for which TFLite has no others, have 8 bits in any case.
        quantizer: 'minmax' reads ranges from the values; 'lsq' learns them.
    """

    weight_bits: int = 8
    activation_bits: int = 8
    quantizer: str = "minmax"

    def __post_init__(self):
        checks.one_of(self.weight_bits, (4, 8), "weight_bits")
        checks.one_of(self.activation_bits, (4, 8), "activation_bits")
        checks.one_of(self.quantizer, QUANTIZERS, "quantizer")

    def kernel(self, layer: keras.layers.Layer, is_end: bool):
        """The quantizer of a layer's kernel; None if it has none."""
        if spec_of(layer).kernel is None:
            return None
        axes = spec_of(layer).kernel.scales
        if not layer.trainable:  # a constant, whose largest weight is met exactly
            return WeightQuantizer(axes)
        keeps_8 = is_end or type(layer) is layers.Conv2DTranspose
        return QUANTIZERS[self.quantizer][0](axes, 8 if keeps_8 else self.weight_bits)

    def output(self, rounding: Rounding):
        """The quantizer of an activation."""
        if rounding.fixed_range:
            return FixedQuantizer(*rounding.fixed_range)
        make = QUANTIZERS[self.quantizer][1]
        return make(rounding.limits, self.activation_bits, len(rounding.members))


def rounded(graph: Graph, precision: Precision) -> Graph:
    """Wraps each layer as `placement.place` decides, and fixes the range of the pixels.

    Args:
        graph: As `folding.fold` leaves it.
    """
    edges = Edges(graph)
    roundings = place(graph, edges)
    trained = [n.name for n in graph.nodes if spec_of(n.layer).kernel and n.layer.trainable]
    ends = {*trained[:1], *trained[-1:]}
    joint: dict[tuple[str, ...], JointRounding] = {}

    def step(node, here, build):
        if isinstance(node.layer, layers.InputLayer):
            pixels = build.keep(here)
            return build.add(FixedRange(*PIXELS, name=f"{node.name}_range"), pixels, like=pixels)
        rounding = roundings.get(node.name)
        shared = rounding is not None and len(rounding.members) > 1
        output = precision.output(rounding) if rounding and not shared else None
        config = LayerConfig(precision.kernel(node.layer, node.name in ends), output)
        layer, weights = node.layer, graph.weights_of(node.name)
        if type(layer) is layers.ReLU and edges.is_cut(node):
            # The range starts at 0, so the rounding itself is the ReLU.
            layer = layers.Activation("linear")
        wrapper = QuantizedLayer(twin(layer, name=node.name), config, name_prefix=PREFIX)
        values = build.add(wrapper, here.args[0], filled(weights), like=node.output, **here.kwargs)
        if not shared:
            return values
        members = rounding.members
        if members not in joint:
            joint[members] = JointRounding(precision.output(rounding), members, name=f"{members[0]}_range")
        return build.add(joint[members], values, like=values, member=members.index(node.name))

    return rewrite(graph, step)


def filled(weights: Sequence[np.ndarray]) -> Callable:
    """What gives a new wrapper the weights of a float layer, and the first steps of its kernel."""

    def fill(layer: QuantizedLayer):
        layer.set_float_weights(weights)
        layer.start()

    return fill
