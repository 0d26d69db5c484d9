"""Distillation losses, one a file; `get` builds them from the flag language."""

from tfsegkd.losses.base import DistillationLoss, registry
from tfsegkd.losses.pixelwise import PixelwiseLoss
from tfsegkd.spec import Spec

__all__ = ["DistillationLoss", "PixelwiseLoss", "get", "names"]


def get(spec: str | Spec | DistillationLoss) -> DistillationLoss:
    """Builds a loss from its spec, such as `'pixelwise(temperature=4)'`.

    Raises:
        ValueError: for an unknown name or argument; the message lists the choices.
    """
    return spec if isinstance(spec, DistillationLoss) else registry.build(spec)


def names() -> list[str]:
    """The names that `get` knows."""
    return registry.names()
