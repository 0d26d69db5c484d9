"""Where the builders of networks are filed."""

from collections.abc import Callable

from tfsegkd.registry import Registry

models = Registry("model")
_feature_layers: dict[str, tuple[str, ...]] = {}


def register(name: str, feature_layers: tuple[str, ...]) -> Callable:
    """Files a builder under `name`, with the names of its layers worth distilling."""
    _feature_layers[name] = feature_layers
    return models.register(name)


def published_feature_layers() -> dict[str, tuple[str, ...]]:
    """The layers that each builder publishes."""
    return dict(_feature_layers)
