"""Quantization of networks to 8 bits and fewer."""

from tfsegkd.quantization.callbacks import FreezeBatchNorm, FreezeRanges
from tfsegkd.quantization.equalization import NothingToEqualize, correct_biases, equalize
from tfsegkd.quantization.fallback import float_layers, strip, with_float_layers
from tfsegkd.quantization.ptq import post_training
from tfsegkd.quantization.qat import check_observed as check_observed
from tfsegkd.quantization.qat import quantize
from tfsegkd.quantization.quantization_errors import layer_errors, layer_sqnr
from tfsegkd.quantization.quantized_layers import kernel_layers as kernel_layers
from tfsegkd.quantization.scheme import QUANTIZERS, Precision
from tfsegkd.quantization.sizes import WeightSize, weight_size

# Imported under their own names: what other packages use, and users do not.
__all__ = [
    "QUANTIZERS",
    "FreezeBatchNorm",
    "FreezeRanges",
    "NothingToEqualize",
    "Precision",
    "WeightSize",
    "correct_biases",
    "equalize",
    "float_layers",
    "layer_errors",
    "layer_sqnr",
    "post_training",
    "quantize",
    "strip",
    "weight_size",
    "with_float_layers",
]
