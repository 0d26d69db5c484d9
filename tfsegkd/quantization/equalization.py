"""Cross-layer equalization and bias correction, which need no training."""

from collections.abc import Callable, Iterable

import numpy as np

from tfsegkd._keras import keras
from tfsegkd.graph import Graph, Node, channel_means, read, rebuild
from tfsegkd.graph.layer_spec import activation, is_homogeneous, kernel_of, spec_of
from tfsegkd.graph.layer_table import constant_response
from tfsegkd.quantization.configs import QuantizedLayer
from tfsegkd.quantization.decomposition import decompose
from tfsegkd.quantization.folding import fold
from tfsegkd.quantization.fusion import Fusion

layers = keras.layers

_ROUNDS = 40
_SMALLEST = 1e-6


class NothingToEqualize(ValueError):
    """No scale can pass between any two layers of a network.

    Example:
        try:
            equal = quantization.equalize(student)
        except quantization.NothingToEqualize as error:
            print(error)
    """


def equalize(model: keras.Model) -> keras.Model:
    """Scales channels between one convolution and the next so that both round them equally well.

    What a channel leaves a convolution with is divided by a factor, and the next one's weights for it are
    multiplied by the same: the network computes what it did. The factor gives both the same largest weight.

    Args:
        model: A float network, as `quantize` takes it.

    Returns:
        A new network in the canonical form that `quantize` makes; hand it to `quantize`.

    Raises:
        NothingToEqualize: if there is no such pair.
        ValueError: for a layer that int8 cannot compute, as of `quantize`.

    Example:
        equal = quantization.equalize(models.unet(num_classes=11, input_shape=(32, 32, 3), width=2))

    Reference:
        Nagel et al., ICCV 2019, https://arxiv.org/abs/1906.04721, section 4.1.
        Differs: only linear layers and ReLU stand between the two. A ReLU6, which the paper replaces by a
        ReLU, would make another network, and is left alone with its neighbours.
    """
    model = rebuild(fold(decompose(model)))
    pairs = _pairs(read(model))
    if not pairs:
        raise NothingToEqualize(
            f"No two convolutions of {model.name!r} have only linear layers and ReLU between them, so no "
            f"scale can pass. Leave equalization out."
        )
    for _ in range(_ROUNDS):
        if max(_balance(*pair) for pair in pairs) < 1.001:
            break
    return model


def correct_biases(quantized: keras.Model, batches: Iterable) -> keras.Model:
    """Takes out of a quantized network the mean error that rounded kernels bring into each channel.

    Args:
        quantized: A calibrated network of `quantize`; it stays as it is.
        batches: Images (N, H, W, 3) in 0…255 that show what each convolution is given.

    Returns:
        The corrected network. A convolution without a bias and without BatchNorm stays as it was.

    Raises:
        ValueError: if there is no batch.

    Example:
        quantized = quantization.correct_biases(quantized, images)

    Reference:
        Nagel et al., ICCV 2019, https://arxiv.org/abs/1906.04721, section 4.2.
        Differs: means are taken over images, not from BatchNorm. Padding is not counted.
    """
    model = rebuild(read(quantized))
    graph = read(model)
    consumers = graph.consumers
    nodes = [n for n in graph.nodes if isinstance(n.layer, QuantizedLayer) and n.layer.kernel is not None]
    for node, mean in zip(nodes, _mean_inputs(model, nodes, batches), strict=True):
        layer = node.layer.layer
        error = node.layer.quantized_kernel() - node.layer.kernel.numpy()
        shift = constant_response(layer, [error], mean)
        norm = _norm_behind(node, consumers)
        if norm is not None:
            norm.moving_mean.assign_add(shift)
        elif layer.use_bias:
            layer.bias.assign_sub(shift)
    return model


def _mean_inputs(model: keras.Model, nodes: list[Node], batches: Iterable) -> list[np.ndarray]:
    """The mean of each channel of what the layers of `nodes` are given."""
    means = channel_means(model, {node.name for node in nodes}, batches)
    if not means or not len(means[0]):
        raise ValueError(
            "There are no images to correct biases with. Expected batches (N, H, W, 3). Pass a list of "
            "arrays; a generator serves only once."
        )
    return [np.mean(several, axis=0) for several in means]


def _norm_behind(node, consumers):
    after = consumers[node.output.id]
    inner = after[0].layer.layer if len(after) == 1 and isinstance(after[0].layer, QuantizedLayer) else None
    return inner if isinstance(inner, layers.BatchNormalization) else None


def _pairs(graph: Graph) -> list[tuple]:
    """(convolution, its BatchNorm or None, the next convolution), wherever scales can pass between."""
    fusion = Fusion(graph)
    found = []
    for node in graph.nodes:
        if spec_of(node.layer).kernel is None or not is_homogeneous(node.layer) or not node.layer.trainable:
            continue
        norm, after = None, fusion.sole_consumer(node)
        linear = activation(node.layer) == "linear"
        if linear and after is not None and isinstance(after.layer, layers.BatchNormalization):
            norm, after = after.layer, fusion.sole_consumer(after)
        while after is not None and is_homogeneous(after.layer) and spec_of(after.layer).kernel is None:
            after = fusion.sole_consumer(after)
        can_scale = norm is None or (norm.scale and norm.center)
        if after is None or not can_scale or spec_of(after.layer).kernel is None:
            continue
        if after.layer.trainable and getattr(after.layer, "groups", 1) == 1:
            found.append((node.layer, norm, after.layer))
    return found


def _balance(first, norm, second) -> float:
    """Gives both layers the same largest weight in each channel; returns the largest factor used."""
    gain = 1.0 if norm is None else norm.gamma.numpy() / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
    leaving = _largest(first, _out_axis) * np.abs(gain)
    entering = _largest(second, _in_axis)
    if type(first) is layers.DepthwiseConv2D and len(leaving) != len(entering):
        return 1.0
    usable = (leaving > _SMALLEST) & (entering > _SMALLEST)
    safe = np.where(usable, leaving / np.maximum(entering, _SMALLEST), 1.0)
    factors = np.where(usable, np.sqrt(safe), 1.0).astype(np.float32)
    if norm is not None:
        norm.gamma.assign(norm.gamma / factors)
        norm.beta.assign(norm.beta / factors)
    else:
        _scale(first, _out_axis, 1.0 / factors)
        if first.use_bias:
            first.bias.assign(first.bias / factors)
    _scale(second, _in_axis, factors)
    return float(np.max(np.maximum(factors, 1.0 / factors)))


def _by_channel(layer, axis_of: Callable) -> tuple[np.ndarray, int]:
    """The kernel and the axis of its channels; both last axes of a depthwise one are one then."""
    kernel = kernel_of(layer).numpy()
    if type(layer) is layers.DepthwiseConv2D and axis_of is _out_axis:
        return kernel.reshape(*kernel.shape[:2], -1), 2
    return kernel, axis_of(layer)


def _out_axis(layer) -> int:
    return spec_of(layer).kernel.outputs


def _in_axis(layer) -> int:
    return spec_of(layer).kernel.inputs


def _largest(layer, axis_of) -> np.ndarray:
    kernel, axis = _by_channel(layer, axis_of)
    return np.abs(kernel).max(tuple(other for other in range(kernel.ndim) if other != axis))


def _scale(layer, axis_of, factors) -> None:
    kernel, axis = _by_channel(layer, axis_of)
    shape = [1] * kernel.ndim
    shape[axis] = -1
    variable = kernel_of(layer)
    variable.assign((kernel * factors.reshape(shape)).reshape(variable.shape))
