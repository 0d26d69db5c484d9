"""Networks by name, and networks from files."""

from tfsegkd.deprecation import renamed_names
from tfsegkd.models.adoption import Adoption, AdoptionReport, adopt
from tfsegkd.models.adoption import is_keras3 as is_keras3
from tfsegkd.models.backbones import pretrained_but_random as pretrained_but_random
from tfsegkd.models.build import at_size, build, describe, feature_layers, initialize_from, names
from tfsegkd.models.files import load
from tfsegkd.models.heads import as_logits as as_logits
from tfsegkd.models.heads import check_head as check_head
from tfsegkd.models.heads import check_one_output as check_one_output
from tfsegkd.models.heads import head_of as head_of
from tfsegkd.models.heads import output_names as output_names
from tfsegkd.models.registry import register
from tfsegkd.models.safety import refuse_code as refuse_code
from tfsegkd.models.safety import refuse_untrusted as refuse_untrusted
from tfsegkd.models.torch_file import read_tensors
from tfsegkd.models.torch_weights import WeightsReport, load_torch_weights
from tfsegkd.models.zoo.bisenet_v2 import bisenet_v2
from tfsegkd.models.zoo.deeplab_v3 import deeplab_v3
from tfsegkd.models.zoo.deeplab_v3_plus import deeplab_v3_plus
from tfsegkd.models.zoo.enet import enet
from tfsegkd.models.zoo.erfnet import erfnet
from tfsegkd.models.zoo.fast_scnn import fast_scnn
from tfsegkd.models.zoo.fcn import fcn
from tfsegkd.models.zoo.lite_unet import lite_unet
from tfsegkd.models.zoo.lraspp import lraspp
from tfsegkd.models.zoo.mobile_unet import mobile_unet
from tfsegkd.models.zoo.pspnet import pspnet
from tfsegkd.models.zoo.segnet import segnet
from tfsegkd.models.zoo.unet import unet

# Imported under their own names: what other packages use, and users do not.
__all__ = [
    "Adoption",
    "AdoptionReport",
    "WeightsReport",
    "adopt",
    "at_size",
    "bisenet_v2",
    "build",
    "deeplab_v3",
    "deeplab_v3_plus",
    "describe",
    "enet",
    "erfnet",
    "fast_scnn",
    "fcn",
    "feature_layers",
    "initialize_from",
    "lite_unet",
    "load",
    "load_torch_weights",
    "lraspp",
    "mobile_unet",
    "names",
    "pspnet",
    "read_tensors",
    "register",
    "segnet",
    "unet",
]

__getattr__ = renamed_names(__name__, {"begin_from": "initialize_from", "taps": "feature_layers"})
