"""Where the builders of networks are filed."""

from collections.abc import Callable

from tfsegkd.registry import Registry

models = Registry("model")
_taps: dict[str, tuple[str, ...]] = {}


def register(name: str, taps: tuple[str, ...]) -> Callable:
    """Files a builder under `name`, with the names of its layers worth distilling."""
    _taps[name] = taps
    return models.register(name)


def published_taps() -> dict[str, tuple[str, ...]]:
    """The taps that each builder publishes."""
    return dict(_taps)
