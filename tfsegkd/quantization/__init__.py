"""Networks that compute in 8 bits."""

from tfsegkd.quantization.callbacks import FreezeBatchNorm, FreezeRanges
from tfsegkd.quantization.kinds import Kind, register
from tfsegkd.quantization.qat import load, quantize

__all__ = ["FreezeBatchNorm", "FreezeRanges", "Kind", "load", "quantize", "register"]
