"""What a gradual layer costs in training, against the dense layer that it was made of."""

import statistics
from collections.abc import Callable, Sequence

import tensorflow as tf

from benchmarks.interleaved import interleaved, ratio
from benchmarks.rows import Column, Row, table
from tfsegkd._keras import keras
from tfsegkd.grouping import make_gradual, set_alpha

# Channels, kernel, height and width: the layers of ERFNet's encoder on images of 360×480.
LAYERS = ((64, 1, 90, 120), (64, 3, 90, 120), (128, 1, 45, 60), (128, 3, 45, 60))
TARGET = 1.05
_BATCH = 4
_ALPHA = 0.5
_COLUMNS = (
    Column("layer"),
    Column("groups"),
    Column("dense ms", "dense_ms", "{:,.1f}"),
    Column("gradual / dense", "ratio", "{:,.3f}"),
    Column("of processor time", "cpu_ratio", "{:,.3f}"),
    Column("target", form="≤ {:.2f}"),
)


def run(layers: Sequence[tuple[int, int, int, int]] = LAYERS, groups: int = 4, rounds: int = 20) -> list[Row]:
    """Times a training step of each layer, dense and gradual, side by side; prints a table.

    Args:
        layers: (channels, kernel, height, width) of each.
        groups: Of the gradual layers.
        rounds: How often each step is timed.

    Returns:
        A row for each layer: `groups` in the end, a training step of the dense layer by the clock
        (`dense_ms`), that of the gradual layer over it (`ratio`, the median over the rounds; `cpu_ratio` of
        processor time, which other processes disturb less), and what `ratio` should not exceed (`target`).
    """
    rows = []
    for channels, kernel, height, width in layers:
        dense = _layer(channels, kernel, height, width)
        gradual = make_gradual(dense, groups)
        set_alpha(gradual, _ALPHA)
        batch = tf.random.stateless_normal((_BATCH, height, width, channels), seed=(0, 1))
        seconds = interleaved({"dense": _step(dense, batch), "gradual": _step(gradual, batch)}, rounds)
        taken = seconds["dense"], seconds["gradual"]
        rows.append(
            {
                "layer": f"{kernel}×{kernel}, {channels} channels, {height}×{width}",
                "groups": groups,
                "dense_ms": 1000 * statistics.median(taken[0].wall),
                "ratio": ratio(taken[1].wall, taken[0].wall),
                "cpu_ratio": ratio(taken[1].cpu, taken[0].cpu),
                "target": TARGET,
            }
        )
    print(table(_COLUMNS, rows))
    return rows


def _layer(channels, kernel, height, width) -> keras.Model:
    inputs = keras.Input((height, width, channels), name="features")
    outputs = keras.layers.Conv2D(channels, kernel, padding="same", use_bias=False, name="conv")(inputs)
    return keras.Model(inputs, outputs)


def _step(model: keras.Model, batch: tf.Tensor) -> Callable[[], object]:
    """A forward and a backward pass, and the optimizer's step."""
    optimizer = keras.optimizers.AdamW(1e-3)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(images):
        with tf.GradientTape() as tape:
            tape.watch(images)  # a layer within a network passes its gradient on
            loss = tf.reduce_mean(tf.square(model(images, training=True)))
        *gradients, below = tape.gradient(loss, [*model.trainable_variables, images])
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss + tf.reduce_sum(below[0, 0, 0])

    return lambda: float(step(batch))
