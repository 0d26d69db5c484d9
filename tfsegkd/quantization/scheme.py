"""Our quantization scheme for TF-MOT: every layer of a float network in the wrapper that rounds it."""

from tfsegkd._keras import keras, tfmot
from tfsegkd.layers import FixedRange
from tfsegkd.quantization import placement
from tfsegkd.quantization.configs import QuantizedLayer
from tfsegkd.quantization.rewiring import rewire

layers = keras.layers
PREFIX = "quant_"


class Scheme(tfmot.quantization.keras.default_8bit.Default8BitQuantizeScheme):
    """8-bit weights and activations for segmentation networks on raw pixels 0…255.

    Differs: TF-MOT's default scheme leaves transposed convolutions with ReLU in float, measures the range of
        the pixels, rounds depthwise kernels with one scale, and does not know our layers.
    """

    def get_layout_transformer(self):
        return Layout()


class Layout(tfmot.quantization.keras.QuantizeLayoutTransform):
    """Wraps each layer as `placement.place` decides, and fixes the range of the pixels."""

    def apply(self, model, layer_quantize_map):
        configs = placement.place(model)
        by_name = {layer.name: layer for layer in model.layers}
        graph = placement.edges(model)

        def call(layer, inputs):
            if isinstance(layer, layers.InputLayer):
                return FixedRange(0.0, 255.0, name=f"{layer.name}_range")(inputs)
            if placement.is_cut_by_range(layer, by_name, graph):
                # The range starts at 0, so the rounding itself is the ReLU.
                layer = layers.Activation("linear", name=layer.name)
            return QuantizedLayer(layer, configs[layer.name], name_prefix=PREFIX)(inputs)

        return rewire(model, call), layer_quantize_map
