"""Weights of `keras.applications`, copied layer by layer."""

import numpy as np

from tfsegkd._keras import keras
from tfsegkd.models import blocks


def download(name: str, **options) -> keras.Model:
    """A classifier of `keras.applications` with its ImageNet weights, without its head.

    Args:
        name: Such as 'MobileNetV2'.
        options: Arguments of its builder, such as `alpha`.

    Raises:
        ConnectionError: if the weights are neither in Keras' cache nor to be downloaded.
        ValueError: if there are none for these options.
    """
    builder = getattr(keras.applications, name)
    try:
        return builder(input_shape=(224, 224, 3), include_top=False, weights="imagenet", **options)
    except (ValueError, TypeError):
        raise
    except Exception as error:  # Keras wraps any failure of the download in a bare Exception
        raise ConnectionError(
            f"The ImageNet weights of {name} could not be downloaded: {error} Connect once, so that Keras "
            f"keeps them in its cache, or build the model with weights=None."
        ) from error


def copy_block(
    model: keras.Model, name: str, source: keras.Model, conv: str, norm: str, scale=1.0, factor=1.0
) -> None:
    """Copies a convolution and its BatchNorm into the block `name` of `model`.

    Args:
        conv, norm: Their names in `source`.
        scale: The ratio of the block's input to the source's; the kernel is divided by it.
        factor: The ratio of the block's output to the source's.
    """
    ours, ours_norm = blocks.conv_and_norm(model, name)
    (kernel,) = source.get_layer(conv).get_weights()
    ours.set_weights([kernel / np.float32(scale)])
    gamma, beta, mean, variance = source.get_layer(norm).get_weights()
    ours_norm.set_weights([gamma * np.float32(factor), beta * np.float32(factor), mean, variance])
