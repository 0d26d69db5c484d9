"""From a loss to a step of the optimizer, over one batch or several."""

from collections.abc import Sequence

import tensorflow as tf

from tfsegkd._keras import keras


def gradients_of(
    loss: tf.Tensor, variables: Sequence[tf.Variable], tape: tf.GradientTape, optimizer
) -> list[tf.Tensor | None]:
    """The gradients of `loss`, by way of a scaled loss where the optimizer scales it against underflow."""
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
    """Takes the step against the gradient, or puts it by; returns how many steps `optimizer` has made."""
    gradients = gradients_of(loss, variables, tape, optimizer)
    if accumulator is not None:
        return accumulator.apply(optimizer, gradients, variables)
    optimizer.apply_gradients(zip(gradients, variables, strict=True))
    return 1


class Accumulator(tf.Module):
    """Lets several small batches make one step of the optimizer, as if they were one large batch.

    Sums of gradients and the count of batches are variables, so that a checkpoint holds them.

    Args:
        variables: What is trained.
        batches: How many batches make a step.
    """

    def __init__(self, variables: Sequence[tf.Variable], batches: int):
        super().__init__(name="accumulator")
        self.batches = batches
        self.count = tf.Variable(
            0, trainable=False, name="count", aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        # Each device sums what it sees; the optimizer adds up the devices when it steps.
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
        """Adds a batch's gradients; when it is time the optimizer steps, and 1 is returned, else 0."""
        # What has no gradient is left out, as the optimizer would: zeros would decay its weight.
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

        # The devices meet inside the optimizer's step, and may only do so where all take the same branch.
        def step_all_replicas(strategy, full):
            full = tf.reshape(strategy.experimental_local_results(full)[0], [])
            tf.cond(full, lambda: _nothing(strategy.extended.call_for_each_replica(step)), _nothing)

        tf.distribute.get_replica_context().merge_call(step_all_replicas, args=(full,))
        return tf.cast(full, tf.int64)


def _nothing(done=None):
    return tf.no_op()
