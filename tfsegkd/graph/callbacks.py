"""The base of callbacks that are about one network."""

from tfsegkd._keras import keras


class NetworkCallback(keras.callbacks.Callback):
    """Knows the network that it is about, whether that is fitted by itself or taught as a student.

    Args:
        model: The network. By default the `student` of the model that is fitted if it has one, else that
            model.
    """

    def __init__(self, model: keras.Model | None = None):
        super().__init__()
        self._network = model

    @property
    def network(self) -> keras.Model:
        """The network that the callback is about, once a training has begun."""
        return self._network or getattr(self.model, "student", self.model)
