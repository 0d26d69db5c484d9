"""Networks that compute in 8 bits."""

from tfsegkd.quantization.callbacks import FreezeBatchNorm
from tfsegkd.quantization.qat import load, quantize

__all__ = ["FreezeBatchNorm", "load", "quantize"]
