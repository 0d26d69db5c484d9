"""Exponential moving average of weights during training."""

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras

_MOMENTUM = 0.999


class AverageWeights(keras.callbacks.Callback):
    """Computes the exponential moving average of the weights and validates with it.

    It averages the trained weights and the statistics of BatchNorm. The momentum after step t is
    min(0.999, (1 + t) / (10 + t)): the average follows quickly at first and later spans about a ninth of the
    steps, whatever the length of training. Other variables (pruning masks, frozen ranges, the state of a
    schedule) keep their last value, and so do weights that are exactly zero, as pruned ones are.

    Keras' optimizers average too (`use_ema`), but without the statistics of BatchNorm, and they validate with
    the weights of the last step.

    The network has the averages during validation only. A callback that saves or restores weights at the end
    of an epoch, such as `ModelCheckpoint(save_best_only=True)` or `EarlyStopping(restore_best_weights=True)`,
    gets those of the last step, which are not what was validated: train with a fixed number of epochs, and
    apply the averages at the end.

    Args:
        network: The trained network.

    Attributes:
        state: A `tf.Module` with the variables that a checkpoint needs.

    Example:
        average = distillation.AverageWeights(student)
        # distiller.fit(batches, callbacks=[average])
        # average.apply()

    Reference:
        Polyak and Juditsky, SIAM J. Control Optim. 1992, https://doi.org/10.1137/0330046; Tarvainen and
        Valpola, 2017, https://arxiv.org/abs/1703.01780. The momentum at first: `num_updates` of
        `tf.train.ExponentialMovingAverage`.
    """

    def __init__(self, network: keras.Model):
        super().__init__()
        self._weights = [*network.trainable_weights, *_statistics(network)]
        self.state = tf.Module(name="average")
        self.state.steps = tf.Variable(0, dtype=tf.int64, trainable=False, name="steps")
        self.state.values = [
            tf.Variable(tf.cast(weight, tf.float32), trainable=False, name="average")
            for weight in self._weights
        ]
        self._before_test = None

    def on_train_batch_end(self, batch, logs=None):
        self._update()

    def on_test_begin(self, logs=None):
        self._before_test = keras.backend.batch_get_value(self._weights)
        self.apply()

    def on_test_end(self, logs=None):
        keras.backend.batch_set_value(list(zip(self._weights, self._before_test, strict=True)))
        self._before_test = None

    def apply(self) -> None:
        """Assigns the averages to the network."""
        last = keras.backend.batch_get_value(self._weights)
        averages = keras.backend.batch_get_value(self.state.values)
        values = (np.where(one == 0, 0, other) for one, other in zip(last, averages, strict=True))
        keras.backend.batch_set_value(list(zip(self._weights, values, strict=True)))

    @tf.function
    def _update(self):
        steps = tf.cast(self.state.steps.assign_add(1), tf.float32)
        momentum = tf.minimum(_MOMENTUM, (1 + steps) / (10 + steps))
        for average, weight in zip(self.state.values, self._weights, strict=True):
            average.assign(average + (1 - momentum) * (tf.cast(weight, tf.float32) - average))


def _statistics(network) -> list[tf.Variable]:
    norms = (layer for layer in network.submodules if isinstance(layer, keras.layers.BatchNormalization))
    return [weight for norm in norms for weight in (norm.moving_mean, norm.moving_variance)]
