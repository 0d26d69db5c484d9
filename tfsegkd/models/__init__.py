"""Networks by name, and networks from files."""

# Importing a builder's file registers it.
from tfsegkd.deprecation import renamed_names
from tfsegkd.models import (  # noqa: F401
    bisenet_v2,
    deeplab_v3,
    deeplab_v3_plus,
    enet,
    erfnet,
    fast_scnn,
    fcn,
    lite_unet,
    lraspp,
    mobile_unet,
    pspnet,
    segnet,
    unet,
)
from tfsegkd.models.adoption import Adoption, AdoptionReport, adopt, is_keras3
from tfsegkd.models.backbones import pretrained_but_random
from tfsegkd.models.build import at_size, build, describe, feature_layers, initialize_from, names
from tfsegkd.models.files import load
from tfsegkd.models.heads import as_logits, check_head, check_one_output, head_of, output_names
from tfsegkd.models.safety import refuse_code, refuse_untrusted
from tfsegkd.models.torch_file import read_tensors
from tfsegkd.models.torch_weights import WeightsReport, load_torch_weights

__all__ = [
    "Adoption",
    "AdoptionReport",
    "WeightsReport",
    "adopt",
    "as_logits",
    "at_size",
    "build",
    "check_head",
    "check_one_output",
    "describe",
    "feature_layers",
    "head_of",
    "initialize_from",
    "is_keras3",
    "load",
    "load_torch_weights",
    "names",
    "output_names",
    "pretrained_but_random",
    "read_tensors",
    "refuse_code",
    "refuse_untrusted",
]

__getattr__ = renamed_names(__name__, {"begin_from": "initialize_from", "taps": "feature_layers"})
