"""Measures one network, in a process of its own: python -m benchmarks.one_model REQUEST ANSWER."""

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks.models import GOAL
from benchmarks.one_network import answer, build, smooth_images
from benchmarks.published import count, published, trained
from tfsegkd import quantization, runtime
from tfsegkd._keras import keras
from tfsegkd.graph import cost
from tfsegkd.pruning.recalibration import recalibrate

_SECONDS = 20.0  # for the rounds of one network, if they are not used up before
_LEARNING_SHAPE = (64, 96, 3)


def measure(request: dict, note: Callable[..., None]) -> None:
    """Measures the network of `request` and hands each figure to `note` as soon as it is known."""
    known = published(request["network"])
    if known:
        note(published=asdict(known), counted=asdict(count(known)))
    shape = (*request["size"], 3)
    model, small = (
        build(request["network"], request["num_classes"], size) for size in (shape, _LEARNING_SHAPE)
    )
    shape = model.input_shape[1:]
    # With statistics that belong to other weights signals die away or grow, and int8 ranges with them.
    recalibrate(model, [smooth_images(shape)])
    keras_seconds = _keras_seconds(model, shape, request["rounds"])
    note(parameters=trained(model), macs=cost(model).macs, keras_ms=1000 * keras_seconds)
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as directory:
        paths = {}
        for kind, make in (("float", _float), ("int8", partial(_int8, small=small))):
            try:
                content = make(model, note)
            except (ValueError, RuntimeError) as error:
                note(cause=_cause(error))
                continue
            paths[kind] = Path(directory, f"{kind}.tflite")
            paths[kind].write_bytes(content)
        if paths:
            runs = int(min(request["rounds"], max(3, _SECONDS / keras_seconds)))
            times = {kind: one.median_ms for kind, one in runtime.latency(paths, runs, warmup=2).items()}
            note(**{f"{kind}_ms": time for kind, time in times.items()})
            if len(times) == 2 and times["int8"] > GOAL * times["float"]:
                note(slow=_by_kind(paths, runs))


def _keras_seconds(model: keras.Model, shape: tuple[int, int, int], rounds: int) -> float:
    """The median time of a forward pass of one image."""
    forward = tf.function(lambda image: model(image, training=False))
    image = tf.constant(smooth_images(shape))[:1]
    forward(image)
    seconds, started = [], time.perf_counter()
    while len(seconds) < 3 or (len(seconds) < rounds and time.perf_counter() - started < _SECONDS):
        before = time.perf_counter()
        forward(image)
        seconds.append(time.perf_counter() - before)
    return statistics.median(seconds)


def _by_kind(paths: dict[str, Path], runs: int) -> dict[str, list[float]]:
    """Kind of op → milliseconds of all such ops in the float file, and in the int8 file."""
    found = defaultdict(lambda: [0.0, 0.0])
    for index, kind in enumerate(("float", "int8")):
        for one in runtime.op_times(paths[kind], runs):
            found[one.op.split()[0]][index] += one.median_ms
    return found


def _float(model: keras.Model, note: Callable[..., None]) -> bytes:
    content = runtime.convert(model, inputs="float32", outputs="float32")
    note(float_partitions=runtime.profile(content).delegate_partitions)
    return content


def _int8(model: keras.Model, note: Callable[..., None], small: keras.Model) -> bytes:
    note(qat=False, int8=False)
    _check_learning(small)
    aware = quantization.quantize(model, calibration=[smooth_images(model.input_shape[1:])])
    note(qat=True)
    content = runtime.convert(aware)
    operations = runtime.profile(content)
    left = operations.float_ops
    note(int8=not left, float_ops=len(left), partitions=operations.delegate_partitions)
    if left:
        note(cause=f"{len(left)} operations compute in float, the first is {left[0].split(';')[0]}")
    return content


def _check_learning(small: keras.Model) -> None:
    """Takes gradients of the quantized network, built for images small enough for any memory.

    Raises:
        ValueError: if the network cannot be quantized, or a weight is not trained.
    """
    images = smooth_images(small.input_shape[1:])
    aware = quantization.quantize(small, calibration=[images])
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(aware(images, training=True)))
    gradients = tape.gradient(loss, aware.trainable_weights)
    names = [weight.name for weight in aware.trainable_weights]
    lost = [n for n, g in zip(names, gradients, strict=True) if g is None or not np.isfinite(g).all()]
    if lost:
        raise ValueError(f"Quantized, it does not train {lost[0]} and {len(lost) - 1} other weights")


def _cause(error: Exception) -> str:
    """The first sentence of a message."""
    return str(error).split(". ")[0].rstrip(".")


if __name__ == "__main__":
    answer(measure)
