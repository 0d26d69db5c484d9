"""What happens to a quantized network in the course of its training."""

from tfsegkd import checks
from tfsegkd._keras import keras


class FreezeBatchNorm(keras.callbacks.Callback):
    """Stops BatchNorm from following the batches in the last epochs.

    From then on the network trains with the statistics that the int8 file will have. Scales and offsets stay
    as they are, too. After the training the layers are as trainable as before.

    Args:
        at_epoch: The first epoch, counted from 0, that runs with frozen BatchNorm.
        model: The network whose BatchNorm freezes. By default the `student` of the model that is fitted if it
            has one, else that model.

    Reference:
        Krishnamoorthi 2018, https://arxiv.org/abs/1806.08342, section 3.2.2.
        Differs: scales and offsets freeze as well as the statistics.
    """

    def __init__(self, at_epoch: int, model: keras.Model | None = None):
        super().__init__()
        self.at_epoch = int(checks.in_range(at_epoch, 0, float("inf"), "at_epoch"))
        self._network = model
        self._frozen = []

    def on_epoch_begin(self, epoch, logs=None):
        if self._frozen or epoch < self.at_epoch:
            return
        network = self._network or getattr(self.model, "student", self.model)
        norms = (layer for layer in network.submodules if isinstance(layer, keras.layers.BatchNormalization))
        self._frozen = [norm for norm in norms if norm.trainable]
        self._set_trainable(False)

    def on_train_end(self, logs=None):
        self._set_trainable(True)
        self._frozen = []

    def _set_trainable(self, value):
        for norm in self._frozen:
            norm.trainable = value
        if self._frozen:
            # The compiled step has the old state built in.
            self.model.make_train_function(force=True)
