"""Callbacks for training."""

import math

from tfsegkd._keras import keras


class StopAtNaN(keras.callbacks.Callback):
    """Stops training at the first step in which a part of the loss is NaN or infinite, and names the part.

    Put it before callbacks that save.

    Raises:
        FloatingPointError: from `fit`, with the names of the parts and the step.

    Example:
        callbacks = [distillation.StopAtNaN()]  # of distiller.fit(batches, callbacks=callbacks)
    """

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        # Metrics may be NaN: mean IoU is, until the first labelled pixel of an epoch.
        metrics = {metric.name for metric in self.model.compiled_metrics.metrics}
        losses = {name: value for name, value in (logs or {}).items() if name not in metrics}
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        # The sum is NaN whenever a part is; name the parts.
        bad = [name for name in bad if name != "loss"] or bad
        if bad:
            steps = int(self.model.optimizer.iterations.numpy())
            raise FloatingPointError(
                f"{bad} became NaN or infinite in step {batch} of epoch {self._epoch + 1}, after {steps} "
                f"steps of the optimizer. Expected finite losses. Lower the learning rate or the weight of "
                f"that term. The last complete epoch is kept."
            )
