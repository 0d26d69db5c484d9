"""Callbacks for quantization-aware training."""

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.graph.callbacks import NetworkCallback
from tfsegkd.quantization.configs import QuantizedLayer, SharedRange


class _Freeze(NetworkCallback):
    """Freezes something in the last epochs, and lets it go again after the training.

    Args:
        at_epoch: The first epoch, counted from 0, that runs with it frozen.
        model: The network that it is about. By default the `student` of the model that is fitted if it has
            one, else that model.
    """

    def __init__(self, at_epoch: int, model: keras.Model | None = None):
        super().__init__(model)
        self.at_epoch = int(checks.in_range(at_epoch, 0, float("inf"), what="at_epoch"))
        self._frozen = []

    def on_epoch_begin(self, epoch, logs=None):
        if self._frozen or epoch < self.at_epoch:
            return
        self._frozen = self._find(self.network)
        self._switch(True)

    def on_train_end(self, logs=None):
        self._switch(False)
        self._frozen = []

    def _switch(self, frozen):
        for layer in self._frozen:
            self._set(layer, frozen)
        if self._frozen:
            # The compiled step has the old state built in.
            self.model.make_train_function(force=True)


class FreezeBatchNorm(_Freeze):
    """Stops BatchNorm from following the batches in the last epochs.

    From then on the network trains with the statistics that the int8 file will have. Scales and offsets stay
    as they are, too. After the training the layers are as trainable as before.

    Args:
        at_epoch: The first epoch, counted from 0, that runs with frozen BatchNorm.
        model: The network whose BatchNorm freezes. By default the `student` of the model that is fitted if it
            has one, else that model.

    Example:
        freeze = quantization.FreezeBatchNorm(at_epoch=4)  # of distiller.fit(batches, callbacks=[freeze])

    Reference:
        Krishnamoorthi 2018, https://arxiv.org/abs/1806.08342, section 3.2.2.
        Differs: scales and offsets freeze as well as the statistics.
    """

    def _find(self, network):
        norms = (layer for layer in network.submodules if isinstance(layer, keras.layers.BatchNormalization))
        return [norm for norm in norms if norm.trainable]

    def _set(self, layer, frozen):
        layer.trainable = not frozen


class FreezeRanges(_Freeze):
    """Stops the ranges of activations, and learned steps, from moving in the last epochs.

    From then on the weights adapt to the fixed grid of the int8 file.

    Args:
        at_epoch: The first epoch, counted from 0, that runs with frozen ranges.
        model: The quantized network. By default the `student` of the model that is fitted if it has one, else
            that model.

    Raises:
        ValueError: when training begins, if the network is not quantized.

    Example:
        freeze = quantization.FreezeRanges(at_epoch=4)  # of distiller.fit(batches, callbacks=[freeze])
    """

    def on_train_begin(self, logs=None):
        if not self._find(self.network):
            raise ValueError(
                f"FreezeRanges found no ranges in {self.network.name!r}. Expected a network made by "
                f"tfsegkd.quantization.quantize. Pass it as model=, or leave the callback out."
            )

    def _find(self, network):
        return [one for one in network.submodules if isinstance(one, QuantizedLayer | SharedRange)]

    def _set(self, layer, frozen):
        layer.freeze_ranges(frozen)
