"""Random numbers that go on where they were when a training is resumed."""

import random

import tensorflow as tf

from tfsegkd._keras import keras


class RandomStream(keras.layers.Layer):
    """A stream of random numbers whose place is a weight, so that checkpoints hold it.

    The generators that TensorFlow's operations have of their own begin anew in every process. The seed is
    drawn when the layer is built, where Keras draws those of its initial weights. Replicas draw different
    numbers.
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
        """Numbers in 0…1 of `shape`, other ones at each call."""
        state = tf.identity(self.state)
        self.state.assign(state + tf.constant([0, 1]))
        replica = tf.distribute.get_replica_context()
        offset = replica.replica_id_in_sync_group if replica else 0
        # Far apart, so that a replica's numbers are not those of its neighbour a call later.
        return tf.random.stateless_uniform(shape, state + tf.stack([1_000_003 * offset, 0]))
