"""The dense form of grouped convolutions: kernels that are zero between the groups.

Both compute the same. TensorFlow trains the dense form many times faster on a processor, so networks are
trained in it and deployed in the other.
"""

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.graph import read, rebuild


@keras.utils.register_keras_serializable("tfsegkd")
class BlockDiagonal(keras.constraints.Constraint):
    """Keeps a convolution's kernel at zero between groups of channels that stand next to each other.

    Args:
        groups: Their number.

    Example:
        kernel = grouping.BlockDiagonal(groups=2)(tf.ones((1, 1, 4, 4)))
        float(tf.reduce_sum(kernel))  # 8.0
    """

    def __init__(self, groups: int):
        self.groups = groups

    def __call__(self, w):
        return w * tf.cast(block_mask(*w.shape[2:], self.groups), w.dtype)

    def get_config(self):
        return {"groups": self.groups}


def block_mask(inputs: int, outputs: int, groups: int) -> np.ndarray:
    """(Cin, Cout), true within a group."""
    return np.arange(inputs)[:, None] * groups // inputs == np.arange(outputs) * groups // outputs


def compact(kernel: np.ndarray, groups: int) -> np.ndarray:
    """The kernel of a grouped convolution, out of that of a dense one. What lies between groups is lost."""
    height, width, inputs, outputs = kernel.shape
    cut = kernel.reshape(height, width, groups, inputs // groups, groups, outputs // groups)
    chosen = [cut[:, :, group, :, group] for group in range(groups)]
    return np.concatenate(chosen, axis=-1)


def spread(kernel: np.ndarray, groups: int) -> np.ndarray:
    """The kernel of a dense convolution, out of that of a grouped one."""
    height, width, inputs, outputs = kernel.shape
    dense = np.zeros((height, width, groups, inputs, groups, outputs // groups), kernel.dtype)
    for group, part in enumerate(np.split(kernel, groups, axis=-1)):
        dense[:, :, group, :, group] = part
    return dense.reshape(height, width, groups * inputs, outputs)


def written_dense(model: keras.Model) -> dict[str, int]:
    """The groups of the grouped convolutions in the dense form, by layer, wrapped for quantization or not."""
    found = {}
    for name, layer in read(model).layers().items():
        inner = layer.layer if isinstance(layer, keras.layers.Wrapper) else layer
        constraint = getattr(inner, "kernel_constraint", None)
        if type(inner) is keras.layers.Conv2D and isinstance(constraint, BlockDiagonal):
            found[name] = constraint.groups
    return found


def as_dense(model: keras.Model) -> keras.Model:
    """Writes the grouped convolutions of a network as dense ones, to train or quantize it without waiting.

    A constraint keeps their kernels at zero between groups, so the network learns what its grouped form
    would. `regroup` turns it back. A network without grouped convolutions comes back as an equal one.

    Args:
        model: A functional float network.

    Returns:
        A network that computes the same.

    Raises:
        TypeError: if `model` is not functional.
        ValueError: if a grouped convolution has a constraint of its own.

    Example:
        gradual = grouping.make_gradual(student, groups=4)
        grouping.set_alpha(gradual, 0)
        dense = grouping.as_dense(grouping.regroup(gradual))
    """
    graph = read(model)
    configs, weights = {}, {}
    for name, layer in graph.layers().items():
        if type(layer) is not keras.layers.Conv2D or layer.groups == 1:
            continue
        if layer.kernel_constraint is not None:
            raise ValueError(
                f"The grouped convolution {name!r} has a kernel_constraint, and the dense form needs one of "
                f"its own. Leave {type(layer.kernel_constraint).__name__} out."
            )
        configs[name] = {"groups": 1, "kernel_constraint": BlockDiagonal(layer.groups)}
        kernel, *bias = layer.get_weights()
        weights[name] = [spread(kernel, layer.groups), *bias]
    return rebuild(graph, configs, weights)
