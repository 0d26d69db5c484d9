"""Magnitude pruning: sets small weights to zero while the network trains, with TF-MOT."""

import gzip
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfsegkd._keras import keras, tfmot
from tfsegkd.graph import check_functional, read, rebuild, rewrite
from tfsegkd.graph.callbacks import NetworkCallback
from tfsegkd.graph.layer_spec import spec_of
from tfsegkd.graph.layer_table import twin
from tfsegkd.pruning.channels import check_float
from tfsegkd.registry import Registry

layers = keras.layers
UpdatePruningStep = tfmot.sparsity.keras.UpdatePruningStep

_BLOCK = (2, 4)
_schedules = Registry("sparsity schedule")
_schedules.register("polynomial_decay")(tfmot.sparsity.keras.PolynomialDecay)
_schedules.register("constant_sparsity")(tfmot.sparsity.keras.ConstantSparsity)


def sparsify(model: keras.Model, schedule: str | tfmot.sparsity.keras.PruningSchedule) -> keras.Model:
    """Makes a network that loses its weakest weights, but no channels, while you train it.

    Fit it with the callback `UpdatePruningStep()`, then `strip` it. `sparsity_report` names what stays dense:
    depthwise kernels, which TF-MOT leaves alone, and layers that it does not know. The file zips smaller; no
    phone runs it faster, for which there is `prune_channels`.

    Args:
        model: A functional float network, which stays as it is. Models inside it are opened.
        schedule: One of TF-MOT; its spec, such as 'polynomial_decay(initial_sparsity=0, final_sparsity=0.8,
            begin_step=0, end_step=900, frequency=50)' or 'constant_sparsity(target_sparsity=0.5,
            begin_step=1)'; or '2:4', from the first step on two zeros among any four weights that lie one
            behind the other along the input channels.

    Returns:
        A network to train with the callback `UpdatePruningStep`; `model` stays as it is.

    Raises:
        TypeError: if `model` is not functional.
        ValueError: for a schedule that cannot be read, a quantization-aware network, one that is being
            thinned out already, or one without a layer that could be.

    Example:
        sparse = pruning.sparsify(student, "constant_sparsity(target_sparsity=0.8, begin_step=1)")
        callbacks = [pruning.UpdatePruningStep()]  # of distiller.fit(batches, callbacks=callbacks)

    Reference:
        Zhu and Gupta 2017, https://arxiv.org/abs/1710.01878, for magnitude and the polynomial.
        Mishra et al. 2021, https://arxiv.org/abs/2104.08378, for 2:4.
    """
    options = _options(schedule)
    check_functional(model, "sparsify")
    check_float(model)
    if any(_wrapped(layer) for layer in model.layers):
        raise ValueError(f"Model {model.name!r} is being thinned out already. Strip it first.")
    by_block = "sparsity_m_by_n" in options
    graph = read(rebuild(read(model)))  # so that layers of inner models have names of their own
    kernels = [*_with_kernels(graph.layers().values())]
    dense = _dense(kernels, by_block)
    if len(dense) == len(kernels):
        reasons = "; ".join(f"{name!r} {why}" for name, why in dense.items())
        raise ValueError(
            f"Model {model.name!r} has no layer whose weights could be set to zero: "
            f"{reasons or 'no layer has a kernel'}. Expected a convolution that is not depthwise, or a Dense "
            f"layer."
        )
    names = {layer.name for layer in kernels} - {*dense}

    def step(node, here, build):
        if node.layer.name not in names:
            return build.keep(here)
        wrapper = tfmot.sparsity.keras.prune_low_magnitude(twin(node.layer, name=node.name), **options)
        weights = node.layer.get_weights()
        return build.keep(
            here, layer=wrapper, name=wrapper.name, weights=lambda layer: layer.layer.set_weights(weights)
        )

    wrapped = rewrite(graph, step)
    # TF-MOT's wrapper does not write this down in its configuration.
    block = {key: value for key, value in options.items() if key == "sparsity_m_by_n"}
    return rebuild(wrapped, {name: block for name, layer in wrapped.layers().items() if _wrapped(layer)})


def strip(model: keras.Model) -> keras.Model:
    """The network that `sparsify` made and you trained, with its zeros and without its masks.

    Args:
        model: What `sparsify` made, after training.

    Returns:
        A plain network.

    Raises:
        ValueError: if `model` was not made by `sparsify`, or has not lost a weight yet.

    Example:
        sparse = pruning.sparsify(student, "constant_sparsity(target_sparsity=0.8, begin_step=1)")
        # distiller.fit(batches, callbacks=[pruning.UpdatePruningStep()])
        # network = pruning.strip(sparse)
    """
    masks = {layer.layer.name: layer.pruning_vars for layer in model.layers if _wrapped(layer)}
    if not masks:
        raise ValueError(f"Model {model.name!r} has nothing to strip. Expected one that sparsify has made.")
    if all(mask.numpy().all() for found in masks.values() for _, mask, _ in found):
        raise ValueError(
            f"Model {model.name!r} has not lost a weight yet. Train it with the callback UpdatePruningStep, "
            f"past the begin_step of its schedule and for a full frequency of steps (100 unless given)."
        )
    stripped = rebuild(read(tfmot.sparsity.keras.strip_pruning(model)))
    for name, found in masks.items():
        layer = stripped.get_layer(name)
        for weight, mask, _ in found:
            kernel = getattr(layer, spec_of(layer).thinned)
            # The last training step may have moved them.
            kernel.assign(weight.numpy() * mask.numpy())
    return stripped


class KeepZeros(NetworkCallback):
    """Keeps the zeros of a network's kernels while it is trained further, quantization-aware or not.

    What is exactly zero when the training begins is so after every step. A kernel's zeros are zeros in int8
    as well, whose scale is symmetric.

    Args:
        model: The network. By default the `student` of the model that is fitted if it has one, else that
            model.

    Example:
        callbacks = [pruning.KeepZeros()]  # of distiller.fit(batches, callbacks=callbacks)

    Reference:
        Differs: TF-MOT's Default8BitPrunePreserveQuantizeScheme goes with TF-MOT's own quantization only, and
        knows neither transposed convolutions nor what that refuses, such as Multiply.
    """

    def __init__(self, model: keras.Model | None = None):
        super().__init__(model)
        self._kept = []

    def on_train_begin(self, logs=None):
        kernels = [weight for weight in self.network.trainable_weights if weight.shape.rank > 1]
        masks = [(kernel, kernel.numpy() != 0) for kernel in kernels]
        self._kept = [(kernel, mask.astype(np.float32)) for kernel, mask in masks if not mask.all()]

    def on_train_batch_end(self, batch, logs=None):
        for kernel, mask in self._kept:
            kernel.assign(kernel * mask)


@dataclass(frozen=True)
class SparsityReport:
    """What zero weights gain.

    Args:
        sparsity: The share of zeros among the weights of all kernels.
        layers: The same of each layer.
        dense: Layer → why TF-MOT leaves its kernel alone.
        file_bytes: The size of the file, or of the weights as float32.
        zipped_bytes: The same under gzip.

    Example:
        print(pruning.sparsity_report(student))
    """

    sparsity: float
    layers: dict[str, float]
    dense: dict[str, str]
    file_bytes: int
    zipped_bytes: int

    def __str__(self):
        lines = [
            f"{self.sparsity:.1%} of the kernels' weights are zero",
            f"  size {self.file_bytes:,} bytes, {self.zipped_bytes:,} under gzip",
            "  the file is unzipped before it runs, and zeros are multiplied like all other weights:",
            "  int8 latency does not change; for that remove channels with prune_channels",
        ]
        lines += [f"  dense: {name} {reason}" for name, reason in self.dense.items()]
        return "\n".join(lines)


def sparsity_report(model: keras.Model, file: str | os.PathLike | None = None) -> SparsityReport:
    """Counts the zeros of a network and what they save in a zipped file.

    Args:
        model: A network that was thinned out, stripped or not.
        file: A `.tflite` made of it. Without one the weights alone are zipped.

    Returns:
        The shares of zeros and the sizes of the file.

    Raises:
        FileNotFoundError: if there is no such file.

    Example:
        report = pruning.sparsity_report(student)
        report.sparsity  # 0.0
    """
    if file is not None and not Path(file).is_file():
        raise FileNotFoundError(f"No file at {str(file)!r}. Expected a .tflite made of the network.")
    wrapped = [layer for layer in model.layers if _wrapped(layer)]
    by_block = any(layer.sparsity_m_by_n for layer in wrapped)
    kernels = {}
    for layer in _with_kernels(model.layers):
        weights = [weight.numpy() for weight in layer.trainable_weights if weight.shape.rank > 1]
        kernels[layer.name] = np.concatenate([weight.ravel() for weight in weights or [np.ones(1)]])
    for layer in wrapped:
        found = [weight.numpy() * mask.numpy() for weight, mask, _ in layer.pruning_vars]
        kernels[layer.layer.name] = np.concatenate([weight.ravel() for weight in found])
    every = np.concatenate([*kernels.values(), np.zeros(0)])
    if file is None:
        content = b"".join(np.ascontiguousarray(weight).tobytes() for weight in kernels.values())
    else:
        content = Path(file).read_bytes()
    return SparsityReport(
        sparsity=float(np.mean(every == 0)) if every.size else 0.0,
        layers={name: float(np.mean(weight == 0)) for name, weight in kernels.items()},
        dense=_dense(_with_kernels(model.layers), by_block),
        file_bytes=len(content),
        zipped_bytes=len(gzip.compress(content)),
    )


def _options(schedule) -> dict:
    """What to hand to TF-MOT."""
    if isinstance(schedule, tfmot.sparsity.keras.PruningSchedule):
        return {"pruning_schedule": schedule}
    if not isinstance(schedule, str):
        raise ValueError(
            f"schedule must be a PruningSchedule of TF-MOT, the spec of one of {_schedules.names()}, or "
            f"'2:4'. Received: {schedule!r}."
        )
    if re.fullmatch(r"\s*2\s*:\s*4\s*", schedule):
        always = tfmot.sparsity.keras.ConstantSparsity(0.5, begin_step=0)
        return {"pruning_schedule": always, "sparsity_m_by_n": _BLOCK}
    try:
        return {"pruning_schedule": _schedules.build(schedule)}
    except (ValueError, TypeError) as error:  # TF-MOT's name no schedule
        raise ValueError(
            f"The schedule {schedule!r} cannot be used: {str(error).rstrip('.')}. Expected such as "
            f"'constant_sparsity(target_sparsity=0.5, begin_step=1)', with a sparsity from 0 to below 1."
        ) from None


def _wrapped(layer) -> bool:
    return isinstance(layer, layers.Wrapper) and hasattr(layer, "pruning_vars")


def _with_kernels(found: Iterable[keras.layers.Layer]) -> Iterator[keras.layers.Layer]:
    """Those of some layers, TF-MOT's wrappers taken off, that multiply by weights."""
    for layer in found:
        layer = layer.layer if _wrapped(layer) else layer
        if any(weight.shape.rank > 1 for weight in layer.weights):
            yield layer


def _dense(kernels: Iterable[keras.layers.Layer], by_block: bool) -> dict[str, str]:
    """Layer → why its kernel stays dense."""
    found = {}
    for layer in kernels:
        kind = type(layer).__name__
        if isinstance(layer, layers.DepthwiseConv2D):
            found[layer.name] = f"({kind}): TF-MOT leaves depthwise kernels alone"
        elif not spec_of(layer).thinned:
            found[layer.name] = f"({kind}): TF-MOT does not know it"
        elif by_block and type(layer) is layers.Conv2DTranspose:
            found[layer.name] = f"({kind}): TF-MOT would count its four along the output channels"
        elif by_block and _inputs(layer) % _BLOCK[1]:
            found[layer.name] = f"({kind}): its {_inputs(layer)} input channels are no multiple of 4"
    return found


def _inputs(layer) -> int:
    return int(getattr(layer, spec_of(layer).thinned).shape[-2])
