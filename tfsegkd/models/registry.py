"""The registry of network builders."""

from collections.abc import Callable

from tfsegkd.deprecation import renamed_arguments
from tfsegkd.registry import Registry

models = Registry("model")
_feature_layers: dict[str, tuple[str, ...]] = {}


@renamed_arguments(taps="feature_layers")
def register(name: str, feature_layers: tuple[str, ...]) -> Callable:
    """Registers a builder under `name`, with the names of the layers recommended for distillation.

    Args:
        name: One word, which no other network has.
        feature_layers: Layers of the network worth distilling.

    Returns:
        A decorator that returns its builder as it is.

    Example:
        @models.register("one_layer", feature_layers=("logits",))
        def one_layer(num_classes: int, input_shape: tuple[int, int, int], kernel: int = 3):
            '''A single convolution.'''
            pixels = keras.Input(input_shape, name="pixels")
            conv = keras.layers.Conv2D(num_classes, kernel, padding="same", name="logits")
            return keras.Model(pixels, conv(pixels), name="one_layer")

        models.build("one_layer(kernel=5)", 11, (32, 32, 3)).count_params()  # 836
    """
    _feature_layers[name] = feature_layers
    return models.register(name)


def published_feature_layers() -> dict[str, tuple[str, ...]]:
    """Returns the layers recommended for distillation of each registered network."""
    return dict(_feature_layers)
