"""Distillation losses; `get` builds them from specs."""

from tfsegkd.losses.ace import ACELoss
from tfsegkd.losses.attention import AttentionLoss
from tfsegkd.losses.base import DistillationLoss, registry
from tfsegkd.losses.channel_wise import ChannelWiseLoss
from tfsegkd.losses.cirkd import CIRKDLoss
from tfsegkd.losses.csc import CSCLoss
from tfsegkd.losses.dist import DISTLoss
from tfsegkd.losses.dkd import DKDLoss
from tfsegkd.losses.hint import HintLoss
from tfsegkd.losses.holistic import HolisticLoss
from tfsegkd.losses.ifvd import IFVDLoss
from tfsegkd.losses.mgd import MGDLoss
from tfsegkd.losses.pairwise import PairwiseLoss
from tfsegkd.losses.pixelwise import PixelwiseLoss
from tfsegkd.losses.segmentation import SegmentationLoss
from tfsegkd.spec import Spec, parse

__all__ = [
    "ACELoss",
    "AttentionLoss",
    "CIRKDLoss",
    "CSCLoss",
    "ChannelWiseLoss",
    "DISTLoss",
    "DKDLoss",
    "DistillationLoss",
    "HintLoss",
    "HolisticLoss",
    "IFVDLoss",
    "MGDLoss",
    "PairwiseLoss",
    "PixelwiseLoss",
    "SegmentationLoss",
    "describe",
    "get",
    "names",
]


def get(spec: str | Spec | DistillationLoss) -> DistillationLoss:
    """Returns the loss of a spec, such as `'pixelwise(temperature=4)'`.

    Raises:
        ValueError: for an unknown name or argument; the message lists the choices.
    """
    if isinstance(spec, DistillationLoss):
        return spec
    spec = parse(spec) if isinstance(spec, str) else spec
    # A loss has the same name in logs and in flags.
    return registry.build(Spec(spec.name, {"name": spec.name} | spec.arguments))


def names() -> list[str]:
    """Returns the names of all losses."""
    return registry.names()


def describe() -> dict[str, str]:
    """Returns a sentence about each loss."""
    return registry.describe()
