"""Distillation losses; `get` builds them from specs."""

from collections.abc import Callable

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
    "register",
]


def get(spec: str | Spec | DistillationLoss) -> DistillationLoss:
    """Returns the loss of a spec, such as `'pixelwise(temperature=4)'`.

    Args:
        spec: A name that `names` lists, with options, or a loss.

    Returns:
        The loss; a loss is returned as it is.

    Raises:
        ValueError: for an unknown name or argument; the message lists the choices.

    Example:
        losses.get("pixelwise(temperature=4)").temperature  # 4
    """
    if isinstance(spec, DistillationLoss):
        return spec
    spec = parse(spec) if isinstance(spec, str) else spec
    # A loss has the same name in logs and in flags.
    return registry.build(Spec(spec.name, {"name": spec.name} | spec.arguments))


def register(name: str) -> Callable[[type], type]:
    """Returns a class decorator: `get`, terms and commands know the loss by `name` from then on.

    Args:
        name: One word, which no other loss has.

    Returns:
        A decorator that returns its class as it is.

    Raises:
        ValueError: if another loss has the name.

    Example:
        @losses.register("mean_difference")
        class MeanDifference(losses.DistillationLoss):
            def compare(self, teacher, student, valid, labels, images):
                return tf.reduce_mean(tf.abs(teacher - student), axis=(1, 2, 3))

        loss = losses.get("mean_difference")
        loss(tf.ones((2, 8, 8, 3)), tf.zeros((2, 8, 8, 3)))  # [1, 1]
    """
    return registry.register(name)


def names() -> list[str]:
    """Returns the names of all losses.

    Returns:
        The names, sorted.

    Example:
        "pixelwise" in losses.names()  # True
    """
    return registry.names()


def describe() -> dict[str, str]:
    """Returns a sentence about each loss.

    Returns:
        A sentence by name.

    Example:
        for name, sentence in losses.describe().items():
            print(f"{name}: {sentence}")
    """
    return registry.describe()
