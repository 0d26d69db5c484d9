"""Conversion of Keras 3 optimizers and data sets, and checks of other arguments of Keras."""

import inspect
from typing import Any

from tfsegkd._keras import is_keras3, keras

# Set by Keras 3 itself, or passed under another name.
_NOT_TAKEN = ("name", "loss_scale_factor", "gradient_accumulation_steps")


def optimizer_of(given: Any) -> Any:
    """Returns the tf_keras optimizer with the settings of a Keras 3 optimizer; others are returned unchanged.

    Raises:
        TypeError: for an optimizer or a setting that tf_keras does not have.
    """
    if not is_keras3(given, "Optimizer") and not is_keras3(given, "BaseOptimizer"):
        return given
    name = type(given).__name__
    kind = getattr(keras.optimizers, name, None)
    if kind is None or not type(given).__module__.startswith("keras."):
        raise TypeError(
            f"The Distiller trains with optimizers of tf_keras. Received: {name} of Keras 3, which tf_keras "
            f"does not have. Pass one of tf_keras.optimizers, such as tf_keras.optimizers.Adam(1e-3)."
        )
    config = {key: value for key, value in given.get_config().items() if key not in _NOT_TAKEN}
    steps = given.get_config().get("gradient_accumulation_steps")
    if steps:
        raise TypeError(
            f"The Distiller trains with optimizers of tf_keras. Received: {name} of Keras 3 with "
            f"gradient_accumulation_steps={steps}. Pass compile(…, accumulate_steps={steps}) and leave it "
            f"out of the optimizer."
        )
    known = set()
    for base in kind.__mro__:
        if "__init__" in vars(base):
            known |= set(inspect.signature(base.__init__).parameters)
    default = {
        key: parameter.default
        for key, parameter in inspect.signature(type(given).__init__).parameters.items()
    }
    unknown = sorted(key for key in config if key not in known and config[key] != default.get(key))
    if unknown:
        raise TypeError(
            f"The Distiller trains with optimizers of tf_keras. Received: {name} of Keras 3 with {unknown}, "
            f"which tf_keras' does not know. Pass tf_keras.optimizers.{name} without them."
        )
    config = {key: value for key, value in config.items() if key in known}
    rate = given._learning_rate
    if is_keras3(rate, "LearningRateSchedule"):
        config["learning_rate"] = _schedule(rate)
    return kind(**config)


def _schedule(rate):
    kind = getattr(keras.optimizers.schedules, type(rate).__name__, None)
    if kind is None:
        raise TypeError(
            f"The Distiller trains with schedules of tf_keras. Received: {type(rate).__name__} of Keras 3, "
            f"which tf_keras does not have. Pass one of tf_keras.optimizers.schedules."
        )
    return kind.from_config(rate.get_config())


def check_compiled(**parts: Any) -> None:
    """Checks that no loss or metric is one of Keras 3.

    Args:
        parts: Arguments of `compile`: losses and metrics, lists or dictionaries of them.

    Raises:
        TypeError: with what to pass.
    """
    for what, given in parts.items():
        items = given.values() if isinstance(given, dict) else given
        for item in items if isinstance(items, list | tuple) or given is not items else [items]:
            for base in ("Loss", "Metric"):
                if is_keras3(item, base):
                    raise TypeError(
                        f"{what} must be of tf_keras. Received: {type(item).__name__} of Keras 3. Pass "
                        f"tf_keras.{base.lower().replace('loss', 'losse')}s.{type(item).__name__}, or leave "
                        f"it out: the default is cross-entropy without void pixels."
                    )


def check_takes_logits(loss: Any) -> None:
    """Checks that no loss of Keras takes probabilities: the gradient of most logits would be 0.

    Raises:
        ValueError: with what to pass.
    """
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    by_name = isinstance(loss, str) or loss in vars(keras.losses).values()
    of_probabilities = by_name and "crossentropy" in name.replace("_", "").lower()
    if isinstance(loss, keras.losses.Loss):
        of_probabilities = loss.get_config().get("from_logits") is False
    if of_probabilities:
        raise ValueError(
            f"The loss gets logits, and {name} takes probabilities. Leave `loss` out for cross-entropy "
            f"without void pixels, or pass "
            f"tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)."
        )


def check_callbacks(callbacks: Any) -> None:
    """Checks that no callback is one of Keras 3.

    Raises:
        TypeError: with what to pass.
    """
    for one in callbacks if isinstance(callbacks, list | tuple) else [callbacks]:
        if is_keras3(one, "Callback"):
            name = type(one).__name__
            known = hasattr(keras.callbacks, name)
            use = f"tf_keras.callbacks.{name}" if known else "a subclass of tf_keras.callbacks.Callback"
            raise TypeError(
                f"Callbacks must be of tf_keras, which trains. Received: {name} of Keras 3. Pass {use}, with "
                f"the same arguments."
            )


def data_of(given: Any) -> Any:
    """Returns a Keras 3 data set as one of tf_keras; others are returned unchanged.

    Raises:
        TypeError: for a data set of unknown length.
    """
    if not is_keras3(given, "PyDataset"):
        return given
    if given.num_batches is None:
        raise TypeError(
            f"A PyDataset must know its length. Received: {type(given).__name__}, whose num_batches is None. "
            f"Give it a __len__, or pass a tf.data.Dataset."
        )
    return _Batches(given)


class _Batches(keras.utils.Sequence):
    """A tf_keras Sequence of the batches of a PyDataset."""

    def __init__(self, batches):
        self._batches = batches

    def __len__(self):
        return self._batches.num_batches

    def __getitem__(self, index):
        return self._batches[index]

    def on_epoch_end(self):
        self._batches.on_epoch_end()
