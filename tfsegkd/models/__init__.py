"""Networks by name, and networks from files."""

from tfsegkd.models import deeplab_v3_plus as _deeplab_v3_plus  # noqa: F401  (files its builder)
from tfsegkd.models import mobile_unet as _mobile_unet  # noqa: F401
from tfsegkd.models import unet as _unet  # noqa: F401
from tfsegkd.models.build import at_size, build, names, taps
from tfsegkd.models.files import load
from tfsegkd.models.torch_file import read_tensors

__all__ = ["at_size", "build", "load", "names", "read_tensors", "taps"]
