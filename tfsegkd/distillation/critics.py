"""Training of critics, the discriminators of adversarial losses."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.distillation.batches import Batch, devices
from tfsegkd.distillation.terms import Term


class Critics:
    """Trains the critics of the terms that have one, each to distinguish the teacher from the student.

    Args:
        terms: All terms; those whose loss has a `critic_loss` have a critic.
    """

    def __init__(self, terms: Sequence[Term]):
        self._losses = {
            index: term.loss for index, term in enumerate(terms) if hasattr(term.loss, "critic_loss")
        }
        self._names = {index: f"{terms[index].name}_critic" for index in self._losses}

    def __bool__(self):
        return bool(self._losses)

    @property
    def names(self) -> list[str]:
        """The names of their losses in logs."""
        return list(self._names.values())

    @property
    def variables(self) -> list[tf.Variable]:
        return [variable for loss in self._losses.values() for variable in loss.critic.trainable_variables]

    def optimizer(self, optimizer) -> keras.optimizers.Optimizer | None:
        """Returns the optimizer, for None that of WGAN-GP, built so that checkpoints contain its state.

        Raises:
            ValueError: if an optimizer is given and there is no critic.
        """
        if not self:
            if optimizer is not None:
                raise ValueError("critic_optimizer is set, but no term has a critic. Leave it out.")
            return None
        if optimizer is None:
            optimizer = keras.optimizers.Adam(1e-4, beta_1=0.0, beta_2=0.9)
        optimizer = keras.optimizers.get(optimizer)
        optimizer.build(self.variables)
        return optimizer

    def step(self, optimizer, batch: Batch, pair: Callable[[int], tuple]) -> dict[str, tf.Tensor]:
        """Takes one step of `optimizer`; returns this device's part of each critic's loss.

        Args:
            pair: Returns the teacher's and the student's tensor of the term of an index.
        """
        with tf.GradientTape() as tape:
            values = {}
            for index, loss in self._losses.items():
                value = loss.critic_loss(*pair(index), valid=batch.valid, images=batch.images)
                values[self._names[index]] = value / devices()
            total = tf.add_n(list(values.values()))
        gradients = tape.gradient(total, self.variables)
        optimizer.apply_gradients(zip(gradients, self.variables, strict=True))
        return values
