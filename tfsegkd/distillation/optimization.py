"""Optimizer steps, with loss scaling and with gradients accumulated over batches."""

from collections.abc import Sequence

import tensorflow as tf

from tfsegkd._keras import keras


def gradients_of(
    loss: tf.Tensor, variables: Sequence[tf.Variable], tape: tf.GradientTape, optimizer
) -> list[tf.Tensor | None]:
    """Returns the gradients of `loss`, computed from a scaled loss where the optimizer scales losses."""
    if not isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer):
        return tape.gradient(loss, variables)
    with tape:
        loss = optimizer.get_scaled_loss(loss)
    return optimizer.get_unscaled_gradients(tape.gradient(loss, variables))


def descend(
    loss: tf.Tensor,
    tape: tf.GradientTape,
    variables: Sequence[tf.Variable],
    optimizer,
    accumulator: "Accumulator | None" = None,
) -> tf.Tensor | int:
    """Applies or accumulates the gradients of `loss`; returns the number of optimizer steps taken."""
    gradients = gradients_of(loss, variables, tape, optimizer)
    if accumulator is not None:
        return accumulator.apply(optimizer, gradients, variables)
    optimizer.apply_gradients(zip(gradients, variables, strict=True))
    return 1


class Accumulator(tf.Module):
    """Accumulates gradients, so that several small batches give one optimizer step.

    The sums and the count of batches are variables, so that checkpoints contain them.

    Args:
        variables: The trained variables.
        batches: The number of batches per step.
    """

    def __init__(self, variables: Sequence[tf.Variable], batches: int):
        super().__init__(name="accumulator")
        self.batches = batches
        self.count = tf.Variable(
            0, trainable=False, name="count", aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        # Each device has its own sum; the optimizer adds them up when it steps.
        self.sums = [
            tf.Variable(
                tf.zeros(variable.shape, variable.dtype),
                trainable=False,
                name="sum",
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.SUM,
            )
            for variable in variables
        ]
        self._index = {variable.ref(): index for index, variable in enumerate(variables)}

    def apply(self, optimizer, gradients, variables) -> tf.Tensor:
        """Adds a batch's gradients; returns 1 if the optimizer took a step, else 0."""
        # Variables without a gradient are left out, as in the optimizer: a zero would apply weight decay.
        pairs = [
            (self.sums[self._index[variable.ref()]], gradient, variable)
            for gradient, variable in zip(gradients, variables, strict=True)
            if gradient is not None
        ]
        for total, gradient, _ in pairs:
            total.assign_add(tf.convert_to_tensor(gradient) / self.batches)
        full = tf.equal(self.count, self.batches - 1)
        self.count.assign(tf.where(full, 0, self.count + 1))

        def step():
            optimizer.apply_gradients([(total.read_value(), variable) for total, _, variable in pairs])
            for total, _, _ in pairs:
                total.assign(tf.zeros_like(total))

        # The optimizer synchronizes the devices, which works only where all of them take the same branch.
        def step_all_replicas(strategy, full):
            full = tf.reshape(strategy.experimental_local_results(full)[0], [])
            tf.cond(full, lambda: _nothing(strategy.extended.call_for_each_replica(step)), _nothing)

        tf.distribute.get_replica_context().merge_call(step_all_replicas, args=(full,))
        return tf.cast(full, tf.int64)


def _nothing(done=None):
    return tf.no_op()
