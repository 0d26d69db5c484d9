"""Random numbers that continue when training is resumed."""

import random

import tensorflow as tf

from tfsegkd._keras import keras


class RandomStream(keras.layers.Layer):
    """A random number generator whose state is a weight, so that checkpoints contain it.

    The internal generators of TensorFlow's operations restart in every process. The seed is drawn when the
    layer is built, as the seeds of initial weights are. Replicas get different numbers.
    """

    def __init__(self, name: str = "draws"):
        super().__init__(name=name, trainable=False, dtype="float32")

    def build(self, input_shape=None):
        self.state = self.add_weight(
            name="state",
            shape=(2,),
            dtype=tf.int32,
            initializer=lambda shape, dtype=None, **_: tf.constant([random.getrandbits(30), 0]),
            trainable=False,
            synchronization=tf.VariableSynchronization.AUTO,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        super().build(input_shape)

    def uniform(self, shape) -> tf.Tensor:
        """Returns random numbers in 0…1 of `shape`, different ones at each call."""
        state = tf.identity(self.state)
        self.state.assign(state + tf.constant([0, 1]))
        replica = tf.distribute.get_replica_context()
        offset = replica.replica_id_in_sync_group if replica else 0
        # A large offset, so that a replica does not repeat the numbers of another one call later.
        return tf.random.stateless_uniform(shape, state + tf.stack([1_000_003 * offset, 0]))
