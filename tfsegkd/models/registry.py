"""The registry of network builders."""

from collections.abc import Callable

from tfsegkd.deprecation import renamed_arguments
from tfsegkd.registry import Registry

models = Registry("model")
_feature_layers: dict[str, tuple[str, ...]] = {}


@renamed_arguments(taps="feature_layers")
def register(name: str, feature_layers: tuple[str, ...]) -> Callable:
    """Registers a builder under `name`, with the names of the layers recommended for distillation."""
    _feature_layers[name] = feature_layers
    return models.register(name)


def published_feature_layers() -> dict[str, tuple[str, ...]]:
    """Returns the layers recommended for distillation of each registered network."""
    return dict(_feature_layers)
