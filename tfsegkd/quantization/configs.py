"""What is rounded within one layer, and the wrapper that rounds it."""

from tfsegkd._keras import keras, tfmot
from tfsegkd.quantization.quantizers import ActivationQuantizer, FixedQuantizer, WeightQuantizer

# Which attribute holds the kernel of a layer, and which of its parts have their own scale. TFLite's
# transposed convolution takes one scale in every delegate, as does its fully connected layer.
KERNELS = {
    keras.layers.Conv2D: ("kernel", "channel"),
    keras.layers.DepthwiseConv2D: ("depthwise_kernel", "depthwise"),
    keras.layers.Conv2DTranspose: ("kernel", "tensor"),
    keras.layers.Dense: ("kernel", "tensor"),
}


@keras.utils.register_keras_serializable("tfsegkd")
class LayerConfig(tfmot.quantization.keras.QuantizeConfig):
    """Says what of a layer is rounded: its kernel, its output, both or nothing.

    Args:
        output: Whether the output is rounded. False within a chain that becomes one int8 operation
            (convolution, BatchNorm, ReLU) and before a Concatenate, whose own range counts.
        fixed_range: The output's (low, high) where it is known beforehand.
        limits: (low, high) that a measured range must not exceed; None for an open end. The rounding then
            cuts the values off there, as a ReLU would.
    """

    def __init__(
        self,
        output: bool,
        fixed_range: tuple[float, float] | None = None,
        limits: tuple[float | None, float | None] = (None, None),
    ):
        self.output = output
        self.fixed_range = fixed_range
        self.limits = limits

    def get_weights_and_quantizers(self, layer):
        if type(layer) not in KERNELS:
            return []
        attribute, axes = KERNELS[type(layer)]
        return [(getattr(layer, attribute), WeightQuantizer(axes))]

    def set_quantize_weights(self, layer, quantize_weights):
        for weight in quantize_weights:
            setattr(layer, KERNELS[type(layer)][0], weight)

    # A layer's own activation is part of its output, so it is left as it is.
    def get_activations_and_quantizers(self, layer):
        return []

    def set_quantize_activations(self, layer, quantize_activations):
        pass

    def get_output_quantizers(self, layer):
        if not self.output:
            return []
        return [FixedQuantizer(*self.fixed_range) if self.fixed_range else ActivationQuantizer(self.limits)]

    def get_config(self):
        return {"output": self.output, "fixed_range": self.fixed_range, "limits": self.limits}


@keras.utils.register_keras_serializable("tfsegkd")
class QuantizedLayer(tfmot.quantization.keras.QuantizeWrapperV2):
    """A layer whose kernel and output are rounded to 8 bits.

    Differs: TF-MOT's wrapper goes on training the kernel of a frozen layer.
    """

    @property
    def trainable_weights(self):
        return super().trainable_weights if self.trainable else []

    @property
    def non_trainable_weights(self):
        # The order of all weights must not depend on what is frozen: files store them by position.
        frozen = [] if self.trainable else super().trainable_weights
        return self._dedup_weights(frozen + super().non_trainable_weights)

    @property
    def is_measured(self) -> bool:
        """Whether the output's range comes from the values seen."""
        return any(isinstance(one, ActivationQuantizer) for one in self._output_quantizers)

    def get_config(self):
        # The legacy form names the package of a layer of ours even in an .h5 file.
        inner = keras.layers.serialize(self.layer, use_legacy_format=True)
        return {**super().get_config(), "layer": inner}

    def set_range(self, low: float, high: float, batches: int) -> None:
        """Puts a range that was measured over `batches` batches in place of the output's moving average."""
        quantizer = self._output_quantizers[0]
        quantizer.set_range(self._output_quantizer_vars, low, high, batches)
