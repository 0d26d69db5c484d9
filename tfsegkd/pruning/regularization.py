"""Callbacks that weaken channels while the network trains, so that removing them costs little."""

import numpy as np
import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.graph import ChannelGraph, Group
from tfsegkd.graph.callbacks import NetworkCallback


class _Shrink(NetworkCallback):
    """Shrinks weights of the channels that can be removed after each step."""

    def on_train_begin(self, logs=None):
        self._channels = ChannelGraph(self.network)
        if not self._channels.prunable:
            raise ValueError(
                f"Model {self.network.name!r} has no channel that could be removed, so there is none to "
                f"weaken. See ChannelGraph(model).describe()."
            )

    def on_train_batch_end(self, batch, logs=None):
        self.shrink(tf.cast(self.model.optimizer.learning_rate, tf.float32))

    def shrink(self, rate):
        """Shrinks the weights by one step at a learning rate."""
        raise NotImplementedError


class SlimNorms(_Shrink):
    """Presses the scales of BatchNorm to zero, each as hard, so that those that matter least get there.

    Prune with importance='bn_scale' afterwards.

    Args:
        strength: The factor of Σ|γ| in the loss.
        model: The network. By default the `student` of the model that is fitted if it has one, else that
            model.

    Raises:
        ValueError: when the training begins, if no channel that could be removed runs through a BatchNorm.

    Example:
        callbacks = [pruning.SlimNorms(strength=0.01)]  # of distiller.fit(batches, callbacks=callbacks)

    Reference:
        Liu et al., ICCV 2017, https://arxiv.org/abs/1708.06519, eq. 1.
        Differs: a proximal step after the optimizer's, at its learning rate, in place of a subgradient, so
        that scales become exactly zero and Adam does not divide the pressure by the gradient's size.
    """

    def __init__(self, strength: float = 1e-2, model: keras.Model | None = None):
        super().__init__(model)
        self.strength = checks.positive(strength, "strength")
        self._scales = []

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        names = dict.fromkeys(name for group in self._channels.prunable for name in group.pass_through)
        layers = [self.network.get_layer(name) for name in names]
        norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
        self._scales = [norm.gamma for norm in norms if norm.scale and norm.trainable]
        if not self._scales:
            raise ValueError(
                f"Model {self.network.name!r} has no trainable BatchNorm with a scale whose channels could "
                f"be removed. Expected scale=True. Use GrowGroupDecay, which needs none."
            )

    def shrink(self, rate):
        for gamma in self._scales:
            gamma.assign(tf.sign(gamma) * tf.maximum(tf.abs(gamma) - rate * self.strength, 0.0))


class GrowGroupDecay(_Shrink):
    """Decays the weights of each channel, the weaker ones the harder, and all the harder as time goes by.

    All layers that would lose a channel together decay it together. The network moves what it knows to the
    channels that will stay, before any is removed.

    Args:
        growth: What is added, at every epoch, to the decay of the weakest channel of each group.
        model: The network. By default the `student` of the model that is fitted if it has one, else that
            model.

    Example:
        callbacks = [pruning.GrowGroupDecay(growth=0.01)]  # of distiller.fit(batches, callbacks=callbacks)

    Reference:
        Wang et al., ICLR 2021, https://arxiv.org/abs/2012.09243, for decay that grows.
        Fang et al., CVPR 2023, https://arxiv.org/abs/2301.12900, section 3.4, for norms over coupled layers.
        Differs: each epoch adds growth · (max − norm) / (max − min) within a group to a channel's decay,
        whatever the target; the decay is decoupled from the optimizer, as in AdamW.
    """

    def __init__(self, growth: float = 1e-2, model: keras.Model | None = None):
        super().__init__(model)
        self.growth = checks.positive(growth, "growth")

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.decay = np.zeros(self._channels.num_units, np.float32)
        self._parts = [
            (weight, cut)
            for name, layer in self._channels.layers.items()
            for cut in layer.cuts
            if cut.role != "consumes"
            for weight in [self.network.get_layer(name).weights[cut.weight]]
            if weight.trainable and self.network.get_layer(name).trainable
        ]

    def on_epoch_begin(self, epoch, logs=None):
        squares = np.zeros(self._channels.num_units)
        for weight, cut in self._parts:
            others = tuple(axis for axis in range(weight.shape.rank) if axis != cut.axis)
            np.add.at(squares, cut.channels, (weight.numpy().astype(float) ** 2).sum(others))
        for group in self._channels.prunable:
            self.decay[group.units] += self.growth * _weakness(group, np.sqrt(squares))

    def shrink(self, rate):
        for weight, cut in self._parts:
            shape = [1] * weight.shape.rank
            shape[cut.axis] = -1
            weight.assign(weight * (1.0 - rate * self.decay[cut.channels].reshape(shape)))


def _weakness(group: Group, norms: np.ndarray) -> np.ndarray:
    """1 for the unit of the group with the least norm, 0 for that with the greatest."""
    norms = norms[group.units]
    return (norms.max() - norms) / max(np.ptp(norms), np.finfo(float).tiny)
