"""Schedules of the weights of terms."""

import dataclasses
import functools
import math
import operator
from collections.abc import Sequence

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.registry import Registry
from tfsegkd.spec import Spec, parse

registry = Registry("schedule")


class Schedule:
    """Computes the factor of a term's weight at a step of the optimizer.

    Schedules multiply: `WarmUp(200) * CosineDecay(2000)`, in the flag language
    `*warm_up(steps=200)*cosine_decay(steps=2000)`. All count from the first step of training. Where the
    factor is 0 the term is not computed.

    Shapes:
        step: (), int64, 0 at the first step.
        returns: (), float32.

    Example:
        schedule = distillation.WarmUp(200) * distillation.CosineDecay(2000)
        term = tfsegkd.Term("pixelwise", schedule=schedule)
        float(schedule(0))  # 0.0
    """

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def __mul__(self, other: "Schedule") -> "Schedule":
        return Product((self, other))

    def get_config(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict) -> "Schedule":
        return cls(**config)


@registry.register("warm_up")
@keras.utils.register_keras_serializable("tfsegkd")
@dataclasses.dataclass(frozen=True)
class WarmUp(Schedule):
    """Increases linearly from 0 to the full weight.

    Args:
        steps: The step at which the full weight is reached, at least 1.

    Raises:
        ValueError: if `steps` is not a whole number of at least 1.

    Example:
        float(distillation.WarmUp(steps=200)(100))  # 0.5
    """

    steps: int

    def __post_init__(self):
        checks.whole(self.steps, 1, "steps of warm_up")

    def __call__(self, step):
        return tf.minimum(tf.cast(step, tf.float32) / self.steps, 1.0)


@registry.register("cosine_decay")
@keras.utils.register_keras_serializable("tfsegkd")
@dataclasses.dataclass(frozen=True)
class CosineDecay(Schedule):
    """Decreases from the full weight to 0 along half a cosine.

    Args:
        steps: The first step at which the weight is 0, at least 1.

    Raises:
        ValueError: if `steps` is not a whole number of at least 1.

    Example:
        float(distillation.CosineDecay(steps=200)(0))  # 1.0
    """

    steps: int

    def __post_init__(self):
        checks.whole(self.steps, 1, "steps of cosine_decay")

    def __call__(self, step):
        share = 0.5 + 0.5 * tf.cos(math.pi * tf.cast(step, tf.float32) / self.steps)
        return tf.where(step < self.steps, share, 0.0)


@registry.register("stop")
@keras.utils.register_keras_serializable("tfsegkd")
@dataclasses.dataclass(frozen=True)
class Stop(Schedule):
    """Keeps the full weight, then switches the term off.

    Args:
        step: The first step without the term, at least 1.

    Raises:
        ValueError: if `step` is not a whole number of at least 1.

    Example:
        float(distillation.Stop(step=200)(200))  # 0.0
    """

    step: int

    def __post_init__(self):
        checks.whole(self.step, 1, "step of stop")

    def __call__(self, step):
        return tf.cast(step < self.step, tf.float32)


@keras.utils.register_keras_serializable("tfsegkd")
@dataclasses.dataclass(frozen=True)
class Product(Schedule):
    """The product of several schedules.

    Args:
        factors: The schedules.
    """

    factors: tuple[Schedule, ...]

    def __call__(self, step):
        return tf.reduce_prod([factor(step) for factor in self.factors])

    def get_config(self):
        return {"factors": [keras.utils.serialize_keras_object(factor) for factor in self.factors]}

    @classmethod
    def from_config(cls, config):
        return cls(tuple(keras.utils.deserialize_keras_object(factor) for factor in config["factors"]))


def get(schedule: Schedule | str | Sequence[Spec] | None) -> Schedule | None:
    """Returns the schedule for a spec; None stays None, which is the full weight at every step.

    Args:
        schedule: A schedule; its spec such as `'warm_up(steps=200)*stop(step=500)'`; or parsed specs.

    Raises:
        ValueError: for an unknown name or argument; the message lists the choices.
        TypeError: for another type.
    """
    if schedule is None or isinstance(schedule, Schedule):
        return schedule
    if isinstance(schedule, str):
        spec = parse(schedule)
        if spec.at is not None or spec.weight != 1:
            raise ValueError(
                f"A schedule takes neither layers nor a weight. Received: {schedule!r}. Set them on the term."
            )
        schedule = (spec, *spec.schedule)
    if not isinstance(schedule, Sequence) or not all(isinstance(spec, Spec) for spec in schedule):
        raise TypeError(
            f"schedule must be a Schedule or its spec, such as 'warm_up(steps=200)'. Received: "
            f"{type(schedule).__name__}. Subclass tfsegkd.distillation.Schedule for one of your own."
        )
    return functools.reduce(operator.mul, map(registry.build, schedule)) if schedule else None


def names() -> list[str]:
    """The names that `get` knows."""
    return registry.names()
