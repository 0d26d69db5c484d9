"""Traces a model: which layers it calls on what, and the operations in between.

Both Kerases run on TensorFlow, so one way to look serves both. Nothing is computed.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import tensorflow as tf

from tfsegkd import checks

# A number of images that no other axis is likely to have, so that operations that mix images are noticed.
BATCH = 7


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer that is not looked into.

    Args:
        layer: The layer, or the `Function` that was its activation.
        path: The names of the layers that it lies in, the model's first, and its own.
        args, kwargs: What it was called with, without the mode.
        outputs: What it gave: a tensor, or a structure of tensors.
        training: The mode, if the model insists on one for this layer; else None.
        is_linear: Whether its activation was split off and follows as a call or operations of its own.
    """

    layer: Any
    path: tuple[str, ...]
    args: tuple
    kwargs: dict[str, Any]
    outputs: Any
    training: bool | None = None
    is_linear: bool = False


@dataclass(frozen=True, eq=False)
class Function:
    """An activation that Keras knows by name, where a layer had it inside."""

    name: str


@dataclass(frozen=True, eq=False)
class Opened:
    """One call of a layer that was looked into.

    Args:
        layer, path: As in `Call`.
        span: The numbers of the operations that it ran.
        is_idle: Whether it handed on what it got.
    """

    layer: Any
    path: tuple[str, ...]
    span: range
    is_idle: bool


@dataclass(eq=False)
class Trace:
    """A model's run.

    Args:
        calls: In the order in which they were made.
        opened: The layers that were looked into, inner ones first.
        graph: The operations, if they were traced.
        inputs: The model's inputs as the trace has them.
        outputs: Its outputs, in their structure.
    """

    calls: list[Call] = field(default_factory=list)
    opened: list[Opened] = field(default_factory=list)
    graph: tf.Graph | None = None
    inputs: Sequence = ()
    outputs: Any = None


def trace(model, specs: Sequence[tf.TensorSpec], run: Callable, is_leaf: Callable, splits: Callable) -> Trace:
    """Follows `run` through the layers of `model` without computing anything.

    Args:
        model: A built model of either Keras.
        specs: The inputs.
        run: (inputs, training) → outputs; calls the model.
        is_leaf: Whether a layer is taken as a whole instead of being looked into.
        splits: activation → `Function` to note in place of it, True to look into it, or False to leave it.
    """
    found = _trace(model, specs, run, is_leaf=is_leaf, splits=splits, training=False)
    try:
        modes = _trace(model, specs, run, is_leaf=is_leaf, splits=splits, training=True).calls
    except Exception:  # the user's code fails when it is to train: then no layer insists on a mode
        modes = []
    # By their paths, because what stands for a split-off activation is new in each pass.
    if [call.path for call in modes] == [call.path for call in found.calls]:
        insisted = [other.training for other in modes]
    else:
        insisted = [None] * len(found.calls)
    found.calls = [
        # The mode that it has whatever the model's is.
        replace(call, training=call.training if call.training == when_training else None)
        for call, when_training in zip(found.calls, insisted, strict=True)
    ]
    return found


def record(model, run: Callable, is_leaf: Callable, splits: Callable) -> Trace:
    """Runs `run()` for good and notes the calls with the numbers that came out."""
    recorder = _Recorder(is_leaf, splits)
    with recorder.recording(model):
        recorder.trace.outputs = run()
    return recorder.trace


def _trace(model, specs, run, is_leaf, splits, training):
    recorder = _Recorder(is_leaf, splits)

    def follow(*tensors):
        with recorder.recording(model):
            return run(list(tensors), training)

    try:
        graph = tf.function(follow, autograph=False).get_concrete_function(*specs).graph
    except Exception as error:  # whatever the user's code says
        raise ValueError(
            f"Model {model.name!r} cannot be called on images of {tuple(specs[0].shape)[1:]}: "
            f"{checks.quoted(error)}. Expected a network that runs at this size. Choose another size, or fix "
            f"the network."
        ) from error
    found = recorder.trace
    found.graph, found.inputs = graph, graph.inputs[: len(specs)]
    found.outputs = graph.structured_outputs
    return found


class _Recorder:
    """Stands between layers and their calls for a while."""

    def __init__(self, is_leaf, splits):
        self.trace = Trace()
        self._is_leaf, self._splits = is_leaf, splits
        self._path: list[str] = []
        self._is_inside = False  # of a layer that is not looked into

    @contextlib.contextmanager
    def recording(self, model) -> Iterator[None]:
        replaced = []
        try:
            for part in _parts(model):
                replaced.append((part, vars(part).get("call")))
                # Keras' own __setattr__ would track what is set.
                object.__setattr__(part, "call", self._recorded(part, part.call))
            yield
        finally:
            for part, own in replaced:
                object.__delattr__(part, "call")
                if own is not None:  # an op that Keras wrapped into a layer has its function there
                    object.__setattr__(part, "call", own)

    def _recorded(self, part, call):
        def recording(*args, **kwargs):
            if self._is_inside:
                return call(*args, **kwargs)
            self._path.append(part.name)
            try:
                visit = self._call if self._is_leaf(part) else self._open
                return visit(part, call, args, kwargs)
            finally:
                self._path.pop()

        return recording

    def _open(self, part, call, args, kwargs):
        first = _now()
        outputs = call(*args, **kwargs)
        given = {id(item) for item in tf.nest.flatten((args, kwargs))}
        is_idle = all(id(item) in given for item in tf.nest.flatten(outputs))
        self.trace.opened.append(Opened(part, tuple(self._path), range(first, _now()), is_idle=is_idle))
        return outputs

    def _call(self, part, call, args, kwargs):
        given = inspect.signature(call).bind(*args, **kwargs).arguments
        training = given.get("training", given.get("kwargs", {}).get("training"))
        args, kwargs = _without_mode(call, args, kwargs)
        silent = {**kwargs, "training": False} if training is not None else kwargs
        activation = getattr(part, "activation", None)
        split = self._splits(part, activation)
        self._is_inside = True
        try:
            with _linear(part) if split else contextlib.nullcontext():
                outputs = tf.nest.map_structure(tf.identity, call(*args, **silent))
        finally:
            self._is_inside = False
        kwargs = {key: value for key, value in kwargs.items() if key != "mask" or value is not None}
        path = tuple(self._path)
        mode = None if training is None else bool(training)
        self.trace.calls.append(
            Call(part, path, args, kwargs=kwargs, outputs=outputs, training=mode, is_linear=bool(split))
        )
        if not split:
            return outputs
        before, first = outputs, _now()
        outputs = activation(outputs)
        if isinstance(split, Function):
            outputs = tf.identity(outputs)
            self.trace.calls.append(Call(split, (*path, split.name), (before,), kwargs={}, outputs=outputs))
        elif not hasattr(activation, "weights"):  # a layer notes itself
            name = getattr(activation, "__name__", type(activation).__name__)
            name = f"{part.name}_{name.strip('<>')}"
            self.trace.opened.append(
                Opened(activation, (*path[:-1], name), range(first, _now()), is_idle=False)
            )
        return outputs


def _without_mode(call, args, kwargs):
    """The arguments without `training`, wherever it stands."""
    names = list(inspect.signature(call).parameters)
    index = names.index("training") if "training" in names else len(args)
    return args[:index], {key: value for key, value in kwargs.items() if key != "training"}


@contextlib.contextmanager
def _linear(part):
    """`part` without its activation."""
    activation = part.activation
    object.__setattr__(part, "activation", lambda tensor: tensor)
    try:
        yield
    finally:
        object.__setattr__(part, "activation", activation)


def _parts(model) -> list:
    """Everything in `model` that can be called: its layers, those within them, and Keras 3's operations."""
    layers = list(model._flatten_layers())
    operations = [operation for layer in layers for operation in getattr(layer, "operations", ())]
    return list({id(part): part for part in (*layers, *operations)}.values())


def _now() -> int:
    graph = tf.compat.v1.get_default_graph()
    return 0 if tf.executing_eagerly() else len(graph.get_operations())
