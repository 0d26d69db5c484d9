"""What the kernels of a quantized network would take, stored as its quantizers describe them."""

import dataclasses

from tfsegkd._keras import keras
from tfsegkd.quantization.configs import QuantizedLayer
from tfsegkd.quantization.quantized_layers import check_quantized


@dataclasses.dataclass(frozen=True)
class WeightSize:
    """How much space kernels need.

    Args:
        weights: How many weights they have.
        bits: What these take, with the scales and levels that belong to them.

    Example:
        size = quantization.weight_size(quantization.quantize(student, weight_bits=4))
        size.bits_per_weight < 8  # True
    """

    weights: int
    bits: int

    @property
    def bits_per_weight(self) -> float:
        return self.bits / self.weights


def weight_size(quantized: keras.Model) -> WeightSize:
    """Computes what the kernels of a network take: a level for each weight, and scales and levels as floats.

    For kernels of 8 and 4 bits without buckets this is what a .tflite holds. It has neither kernels of 2 bits
    nor buckets nor levels of any place, and holds such kernels in 8 bits: for them it is a figure on paper.
    Biases, which take 32 bits each, are not counted.

    Args:
        quantized: A network of `quantize`.

    Returns:
        Weights and bits.

    Raises:
        ValueError: if the network is not quantized.

    Example:
        size = quantization.weight_size(quantization.quantize(student, weight_bits=4))
        size.bits_per_weight < 8  # True

    Reference:
        Polino et al., ICLR 2018, https://arxiv.org/abs/1802.05668, section 2, for buckets.
    """
    check_quantized(quantized)
    rounded = [
        (layer.quantize_config.kernel, layer.kernel.shape)
        for layer in quantized.layers
        if isinstance(layer, QuantizedLayer) and layer.quantize_config.kernel is not None
    ]
    return WeightSize(
        sum(shape.num_elements() for _, shape in rounded),
        sum(quantizer.size_in_bits(shape) for quantizer, shape in rounded),
    )
