"""Our quantization scheme for TF-MOT: every layer of a float network in the wrapper that rounds it."""

import dataclasses

from tfsegkd import checks
from tfsegkd._keras import keras, tfmot
from tfsegkd.graph import read
from tfsegkd.graph.layer_spec import spec_of
from tfsegkd.layers import FixedRange
from tfsegkd.quantization.configs import JointRounding, LayerConfig, QuantizedLayer
from tfsegkd.quantization.edges import Edges
from tfsegkd.quantization.learned import LearnedActivationQuantizer, LearnedWeightQuantizer
from tfsegkd.quantization.placement import PIXELS, Rounding, place
from tfsegkd.quantization.quantizers import ActivationQuantizer, FixedQuantizer, WeightQuantizer
from tfsegkd.quantization.rewiring import rewire

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


class Scheme(tfmot.quantization.keras.default_8bit.Default8BitQuantizeScheme):
    """Rounded weights and activations for segmentation networks on raw pixels 0…255.

    Differs: TF-MOT's default scheme leaves transposed convolutions with ReLU in float, measures the range of
        the pixels, rounds depthwise kernels with one scale, and does not know our layers.
    """

    def __init__(self, precision: Precision):
        super().__init__()
        self._precision = precision

    def get_layout_transformer(self):
        return Layout(self._precision)


class Layout(tfmot.quantization.keras.QuantizeLayoutTransform):
    """Wraps each layer as `placement.place` decides, and fixes the range of the pixels."""

    def __init__(self, precision: Precision):
        self._precision = precision

    def apply(self, model, layer_quantize_map):
        graph = read(model)
        edges = Edges(graph)
        roundings = place(graph, edges)
        trained = [n.name for n in graph.nodes if spec_of(n.layer).kernel and n.layer.trainable]
        ends = {*trained[:1], *trained[-1:]}
        joint: dict[tuple[str, ...], JointRounding] = {}

        def call(node, inputs, **options):
            rounding = roundings.get(node.name)
            shared = rounding is not None and len(rounding.members) > 1
            output = self._precision.output(rounding) if rounding and not shared else None
            config = LayerConfig(self._precision.kernel(node.layer, node.name in ends), output)
            layer = node.layer
            if type(layer) is layers.ReLU and edges.is_cut(node):
                # The range starts at 0, so the rounding itself is the ReLU.
                layer = layers.Activation("linear", name=node.name)
            values = QuantizedLayer(layer, config, name_prefix=PREFIX)(inputs, **options)
            if not shared:
                return values
            members = rounding.members
            if members not in joint:
                joint[members] = JointRounding(
                    self._precision.output(rounding), members, name=f"{members[0]}_range"
                )
            return joint[members](values, member=members.index(node.name))

        return rewire(graph, call, self._pixels), layer_quantize_map

    @staticmethod
    def _pixels(pixels, name):
        return FixedRange(*PIXELS, name=f"{name}_range")(pixels)
