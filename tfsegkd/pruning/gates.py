"""A network with a gate on every channel that a layer consumes: 1 lets it through, 0 removes it."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.graph import ChannelGraph, Node, Tensor, rebuild, rewrite
from tfsegkd.graph.rewriting import reading
from tfsegkd.losses import SegmentationLoss
from tfsegkd.pruning.batches import VOID


@keras.utils.register_keras_serializable("tfsegkd")
class ChannelGate(keras.layers.Layer):
    """Multiplies each channel by the gate of its unit.

    Args:
        units: The number of the unit at each channel.

    Shapes:
        inputs: (N, …, C) and gates (N or 1, units). returns: (N, …, C).
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = [int(unit) for unit in units]

    def call(self, inputs):
        x, gates = inputs
        gates = tf.gather(gates, self.units, axis=1)
        return x * tf.reshape(gates, [-1, *[1] * (x.shape.rank - 2), len(self.units)])

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def gated(channels: ChannelGraph) -> keras.Model:
    """Builds (images, gates) → outputs of the network of `channels`, gates of shape (N or 1, units).

    With the gates of some units at 0 it computes exactly what is left when they are pruned, so the slope at a
    gate of 1 says what pruning a unit would change, coupled layers and all.
    """
    graph = channels.graph
    layer = keras.layers.InputLayer((channels.num_units,), name="gates")
    gates = Tensor(-1, (None, channels.num_units))
    positions = {node: position for position, node in enumerate(graph.nodes)}

    def step(node, here, build):
        known = channels.layers.get(node.name)
        if known is not None and known.consumes:
            (read,) = node.inputs
            gate = ChannelGate(channels.units_of(read.id), name=f"gate_{positions[node]}")
            here = reading(here, build.add(gate, [read, gates], like=read))
        return build.keep(here)

    gated = rewrite(graph, step)
    nodes = (Node(layer, "gates", (), kwargs={}, output=gates), *gated.nodes)
    return rebuild(dataclasses.replace(gated, nodes=nodes, inputs=[graph.inputs, gates]))


class GatedLoss:
    """How the loss of a network changes with its gates.

    Attributes:
        model: (images, gates) → logits, a copy of the network.
    """

    def __init__(self, channels: ChannelGraph):
        self.model = gated(channels)
        self._all = channels.all()
        self._loss = SegmentationLoss(ignore_label=VOID)

    def value(self, images: np.ndarray, masks: np.ndarray, keep: np.ndarray) -> np.ndarray:
        """The loss of each image with only some units kept."""
        return self._value(*_tensors(images, masks), _as_gates(keep)).numpy()

    def squared_slopes(
        self, images: np.ndarray, masks: np.ndarray, keep: np.ndarray | None = None
    ) -> np.ndarray:
        """The squared slope at each gate, each image for itself, added up."""
        gates = _as_gates(self._all if keep is None else keep)
        return self._squared(*_tensors(images, masks), gates).numpy().astype(float)

    def curvature(self, images: np.ndarray, masks: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """The Hessian with respect to the gates, times `signs`."""
        return self._curvature(*_tensors(images, masks), signs).numpy()

    def _of(self, images, masks, gates):
        return self._loss.call(masks, self.model([images, gates], training=False))

    @tf.function(reduce_retracing=True)
    def _value(self, images, masks, gates):
        return self._of(images, masks, gates)

    @tf.function(reduce_retracing=True)
    def _squared(self, images, masks, gates):
        gates = tf.repeat(gates, tf.shape(images)[0], axis=0)
        with tf.GradientTape() as tape:
            tape.watch(gates)
            loss = self._of(images, masks, gates)
        return tf.reduce_sum(tape.gradient(loss, gates) ** 2, axis=0)

    @tf.function(reduce_retracing=True)
    def _curvature(self, images, masks, signs):
        gates = tf.ones_like(signs)
        with tf.GradientTape() as outer:
            outer.watch(gates)
            with tf.GradientTape() as inner:
                inner.watch(gates)
                loss = self._of(images, masks, gates)
            slope = tf.reduce_sum(signs * inner.gradient(loss, gates))
        return outer.gradient(slope, gates)


def _as_gates(keep):
    return tf.cast(keep[None], tf.float32)


def _tensors(images, masks):
    return tf.cast(images, tf.float32), tf.cast(masks, tf.int32)
