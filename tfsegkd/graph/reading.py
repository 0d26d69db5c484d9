"""Turns the trace of a model into nodes: calls of layers, and layers in place of operations."""

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.graph.frontend import Frontend, own_weights
from tfsegkd.graph.keras_graph import producer
from tfsegkd.graph.maps import (
    Affine,
    ChannelSelection,
    Clip,
    PoolPadding,
    UnsupportedLayerError,
    clipping,
    scaling,
)
from tfsegkd.graph.naming import Names
from tfsegkd.graph.nodes import Graph, Node, Tensor
from tfsegkd.graph.operations import SPLITS, Chain, Operation, padded_pool, parts, translate
from tfsegkd.graph.tracing import Call, Function, Opened, Trace

layers = keras.layers

_MOST_ISSUES, _LONGEST = 8, 200  # of a message, which is to fit on a screen


@dataclass(frozen=True)
class Canonical:
    """A model in canonical form, and what was changed to get there.

    Args:
        graph: The nodes; `rebuild(graph)` is the model.
        sources: The name of a layer with weights → the layer of the original that they come from.
        opened: The models and layers that were looked into.
        replaced: Operations and activations, and the layers that they are now.
        removed: What does nothing except while a model trains, and cannot be a layer of its own.
        renamed: (old path, new name) of layers whose name another one has.
        calls: The original's calls → the tensors of the graph that they became.
    """

    graph: Graph
    sources: dict[str, Any]
    opened: tuple[str, ...]
    replaced: tuple[str, ...]
    removed: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    calls: tuple[tuple[Call, str, int], ...]


@dataclass(eq=False)
class _UnnamedNode:
    """A node without its name."""

    layer: keras.layers.Layer
    args: tuple
    kwargs: dict
    output: Any
    call: Call | None = None  # else it was an operation
    kind: str = ""
    scope: str = ""
    name: str = ""


@dataclass(frozen=True)
class _Pending:
    """A map that waits for what comes next, to become one layer with it."""

    source: Tensor
    map: Affine | PoolPadding | Clip | ChannelSelection
    op: tf.Operation


@dataclass(eq=False)
class Reading:
    """Turns a trace into nodes."""

    model: Any
    trace: Trace
    frontend: Frontend
    unnamed: list[_UnnamedNode] = field(default_factory=list)
    issues: dict[str, None] = field(default_factory=dict)
    unopened: list = field(default_factory=list)
    replaced: list[tuple[str, _UnnamedNode]] = field(default_factory=list)

    def __post_init__(self):
        self._values: dict[str, Tensor | _Pending] = {}
        self._converted: dict[int, keras.layers.Layer] = {}
        self._number = 0
        self._order = {op.name: i for i, op in enumerate(self.trace.graph.get_operations())}
        self._callers = {t.name: call for call in self.trace.calls for t in tf.nest.flatten(call.outputs)}
        self._moving = self._depend_on_inputs()
        known = getattr(self.model, "inputs", None)
        names = [producer(keras_input).layer.name for keras_input in known] if known else ["images"]
        for tensor, name in zip(self.trace.inputs, names, strict=True):
            entry = layers.InputLayer(tuple(tensor.shape)[1:], name=name)
            output = self._assign(tensor)
            self.unnamed.append(_UnnamedNode(entry, (), {}, output=output, name=entry.name))
        for step in self._steps():
            (self._read_call if isinstance(step, Call) else self._read_operation)(step)
        self.outputs = tf.nest.map_structure(self._tensor, self.trace.outputs)

    def _depend_on_inputs(self) -> set[str]:
        found = {tensor.name for tensor in self.trace.inputs}
        for op in self.trace.graph.get_operations():
            if any(tensor.name in found for tensor in op.inputs):
                found.update(tensor.name for tensor in op.outputs)
        return found

    def _steps(self) -> list:
        """The calls, and the operations outside of them, that lead to the outputs, in an order of running."""
        needed, waiting = {}, list(tf.nest.flatten(self.trace.outputs))
        ends = {tensor.name for tensor in self.trace.inputs}
        while waiting:
            tensor = waiting.pop()
            if tensor.name in ends or tensor.name not in self._moving:
                continue
            step = self._callers.get(tensor.name) or tensor.op
            position = self._order[tensor.op.name]
            if isinstance(step, Call):
                position = min(self._order[t.op.name] for t in tf.nest.flatten(step.outputs))
                waiting += [t for t in tf.nest.flatten((step.args, step.kwargs)) if tf.is_tensor(t)]
            elif position not in needed:
                waiting += list(step.inputs)
            needed[position] = step
            ends.add(tensor.name)
        return [needed[position] for position in sorted(needed)]

    def _read_call(self, call):
        def ours(item):
            return self._tensor(item) if tf.is_tensor(item) and item.name in self._moving else item

        if self._is_padded_pool(call):
            self._read_padded_pool(call)
            return
        args, kwargs = tf.nest.map_structure(ours, (call.args, call.kwargs))
        if call.training is not None:
            kwargs = {**kwargs, "training": call.training}
        output = tf.nest.map_structure(self._assign, call.outputs)
        if isinstance(call.layer, Function):
            layer = _activation(call.layer.name)
        else:
            try:
                layer = self._convert(call, tf.nest.map_structure(lambda t: t.shape, args[0] if args else ()))
            except UnsupportedLayerError as issue:
                self._report(f"{'/'.join(call.path[1:])!r} ({type(call.layer).__name__}): {issue}")
                return
        node = _UnnamedNode(layer, args, kwargs, output=output, call=call)
        self.unnamed.append(node)
        if isinstance(call.layer, Function):
            self.replaced.append((f"the activation {call.layer.name!r} of {call.path[-2]!r}", node))

    def _is_padded_pool(self, call) -> bool:
        """Whether it is a max pool over what is padded by minus infinity."""
        given = self._values.get(getattr(call.args[0], "name", None)) if len(call.args) == 1 else None
        below = isinstance(given, _Pending) and isinstance(given.map, PoolPadding)
        return below and type(call.layer).__name__ == "MaxPooling2D" and call.layer.padding == "valid"

    def _read_padded_pool(self, call):
        pending = self._values[call.args[0].name]
        try:
            chain = padded_pool(pending.map.amounts, tuple(call.layer.pool_size), tuple(call.layer.strides))
        except UnsupportedLayerError as issue:
            self._report(f"'{'/'.join(call.path[1:])}' (MaxPooling2D): {issue}")
            self._assign(call.outputs)
            return
        self._append_chain(pending.op, chain, pending.source, at=call.outputs)

    def _convert(self, call, shapes):
        if id(call.layer) not in self._converted:
            self._converted[id(call.layer)] = self.frontend.convert(call, shapes)
        return self._converted[id(call.layer)]

    def _read_operation(self, op):
        try:
            if op.type in SPLITS:
                self._split(op)
                return
            self._translate(op, [self._operand(tensor) for tensor in op.inputs])
        except UnsupportedLayerError as issue:
            self._not_translated(op, issue)

    def _split(self, op):
        operands = [self._resolve(t) if t.name in self._moving else self._constant(t) for t in op.inputs]
        for output, made in zip(op.outputs, parts(self._operation(op, operands)), strict=True):
            self._append(op, *made, at=output)

    def _operand(self, tensor):
        return self._values[tensor.name] if tensor.name in self._moving else self._constant(tensor)

    def _translate(self, op, operands):
        pending = next((operand for operand in operands if isinstance(operand, _Pending)), None)
        made = translate(self._operation(op, operands))
        if pending is not None and made is pending.source:
            self._values[op.outputs[0].name] = pending  # such as an identity
            return
        if (
            pending is not None
            and not isinstance(pending.map, ChannelSelection)
            and not _joins(pending, made)
        ):
            operands = [
                self._resolve(tensor) if tensor.name in self._moving else operand
                for tensor, operand in zip(op.inputs, operands, strict=True)
            ]
            made, pending = translate(self._operation(op, operands)), None
        if isinstance(made, Tensor):
            self._values[op.outputs[0].name] = made
        elif isinstance(made[0], Chain):
            self._append_chain(op, *made, op.outputs[0])
        elif isinstance(made[0], Affine | PoolPadding | Clip | ChannelSelection):
            step = made[0] if pending is None else made[0].after(pending.map)
            changes = not isinstance(step, Affine) or step.changes
            self._values[op.outputs[0].name] = _Pending(made[1], step, op) if changes else made[1]
        else:
            self._append(op, *made)

    def _operation(self, op, operands) -> Operation:
        plain = [value.source if isinstance(value, _Pending) else value for value in operands]
        maps = [value.map if isinstance(value, _Pending) else None for value in operands]
        selections = [each if isinstance(each, ChannelSelection) else None for each in maps]
        return Operation(op, plain, selections, same_size=self._sized)

    def _resolve(self, tensor) -> Tensor:
        """The graph's tensor for one of the trace; what waits becomes a layer."""
        value = self._values[tensor.name]
        if isinstance(value, _Pending):
            try:
                value = self._append(value.op, _layer_of(value), value.source, at=tensor)
            except UnsupportedLayerError as issue:
                self._not_translated(value.op, issue)
                value = self._assign(tensor)
        return value

    def _tensor(self, tensor) -> Tensor:
        if tensor.name not in self._values:  # constants, and what issues left undone
            return self._assign(tensor)
        return self._resolve(tensor)

    def _append_chain(self, op, chain, source, at):
        for layer in chain.layers[:-1]:
            shape = layer.compute_output_shape(source.shape)
            self._number += 1
            between = Tensor(self._number - 1, (None, *tuple(shape)[1:]))
            source = self._append(op, layer, source, output=between)
        self._append(op, chain.layers[-1], source, at=at)

    def _append(self, op, layer, inputs, at=None, output=None) -> Tensor:
        if output is None:
            output = self._assign(at if at is not None else op.outputs[0])
        scope = self._scope(op)
        is_preprocessing = isinstance(layer, layers.DepthwiseConv2D) and inputs is self.unnamed[0].output
        kind = "scale" if isinstance(layer, layers.DepthwiseConv2D) else layer.name.rstrip("_0123456789")
        node = _UnnamedNode(layer, (inputs,), {}, output=output, kind=kind)
        if is_preprocessing:
            node.scope = "normalization"
        elif scope is not None and not isinstance(getattr(scope.layer, "layers", None), list):
            node.scope = re.sub(r"\W+", "_", scope.path[-1].split(".")[-1]).strip("_")
        self.unnamed.append(node)
        where = "/".join(scope.path[1:]) if scope is not None else ""
        self.replaced.append((f"{op.type} {where!r}" if where else op.type, node))
        return output

    def _assign(self, tensor) -> Tensor:
        self._number += 1
        self._values[tensor.name] = Tensor(self._number - 1, (None, *tuple(tensor.shape)[1:]))
        return self._values[tensor.name]

    def _sized(self, height, width) -> Tensor | None:
        made = (tensor for node in self.unnamed for tensor in tf.nest.flatten(node.output))
        return next((t for t in made if len(t.shape) == 4 and t.shape[1:3] == (height, width)), None)

    def _constant(self, tensor) -> np.ndarray:
        value = tf.get_static_value(tensor)
        if value is not None:
            return value
        graph = self.trace.graph
        feeds = {
            inside.name: outside.numpy()
            for outside, inside in graph.captures
            if inside.op.type == "Placeholder" and outside.dtype != tf.resource
        }
        feeds |= self._variables()
        try:
            with tf.compat.v1.Session(graph=graph) as session:
                return session.run(tensor, feeds)
        except tf.errors.InvalidArgumentError as error:
            raise UnsupportedLayerError("it computes with a weight of its own") from error

    def _variables(self) -> dict[str, np.ndarray]:
        """What the trace reads of variables, with their numbers."""
        captures = self.trace.graph.captures
        handles = {inside.name: outside for outside, inside in captures if outside.dtype == tf.resource}
        return {
            op.outputs[0].name: tf.raw_ops.ReadVariableOp(
                resource=handles[op.inputs[0].name], dtype=op.outputs[0].dtype
            ).numpy()
            for op in self.trace.graph.get_operations()
            if op.type == "ReadVariableOp" and op.inputs[0].name in handles
        }

    def _scope(self, op) -> Opened | None:
        position = self._order[op.name]
        around = [opened for opened in self.trace.opened if position in opened.span]
        return min(around, key=lambda opened: len(opened.span), default=None)

    def _not_translated(self, op, issue):
        scope = self._scope(op)
        position = self._order[op.name]
        for opened in self.trace.opened:
            own = position in opened.span and not hasattr(opened.layer, "layers")
            if own and isinstance(opened.layer, keras.layers.Layer) and self.frontend.can_stay(opened.layer):
                self.unopened.append(opened.layer)
                break
        where = "/".join(scope.path[1:]) if scope is not None else ""
        kind = f" in {where!r} ({type(scope.layer).__name__})" if where else ""
        self._report(f"operation {op.type}{kind}: {issue}")
        for tensor in op.outputs:
            self._assign(tensor)

    def _report(self, text):
        self.issues[text] = None

    def finish(self) -> Canonical:
        if self.issues:
            raise ValueError(
                f"Model {self.model.name!r} cannot be made of plain Keras layers. Expected layers and "
                f"operations that have a counterpart. Received: {_on_a_screen(list(self.issues))}. Replace "
                f"these, or use the network as a teacher, which needs no counterparts."
            )
        renamed = self._assign_names()
        nodes = [Node(d.layer, d.name, d.args, kwargs=d.kwargs, output=d.output) for d in self.unnamed]
        entries = [node.output for node in self.unnamed[: len(self.trace.inputs)]]
        inputs = entries[0] if len(entries) == 1 else entries
        graph = Graph(self.model.name, tuple(nodes), inputs, outputs=self.outputs, trainable=True)
        called = [node for node in self.unnamed if node.call is not None]
        return Canonical(
            graph,
            {d.name: d.call.layer for d in called if d.layer.weights},
            tuple(self._opened(idle=False)),
            replaced=tuple(self._constants())
            + tuple(f"{what} → {type(into.layer).__name__} {into.name!r}" for what, into in self.replaced),
            removed=tuple(self._opened(idle=True)),
            renamed=tuple(renamed),
            calls=tuple(
                (d.call, d.name, tensor.id) for d in called for tensor in tf.nest.flatten(d.output)[:1]
            ),
        )

    def _constants(self) -> list[str]:
        """The layers with weights of their own that were looked into."""
        owners = {}
        for opened in self.trace.opened:
            is_network = isinstance(getattr(opened.layer, "layers", None), list)
            if hasattr(opened.layer, "weights") and not is_network:
                owners["/".join(opened.path[1:])] = opened.layer
        return [
            f"the weights of {path!r} ({type(layer).__name__}) → constants, which do not train"
            for path, layer in owners.items()
            if own_weights(layer)
        ]

    def _opened(self, idle) -> list[str]:
        lines = {}
        for opened in self.trace.opened:
            is_layer = not type(opened.layer).__name__.endswith("OpLambda") and hasattr(
                opened.layer, "weights"
            )
            if is_layer and opened.layer is not self.model and opened.is_idle == idle:
                lines["/".join(opened.path[1:]) + f" ({type(opened.layer).__name__})"] = None
        return list(lines)

    def _assign_names(self) -> list[tuple[str, str]]:
        names, renamed = Names(), []
        for node in self.unnamed[: len(self.trace.inputs)]:
            names.take(node, [node.name])
        called = [node for node in self.unnamed if node.call is not None]
        for node in sorted(called, key=lambda node: len(node.call.path)):  # outer layers choose first
            path = node.call.path
            if isinstance(node.call.layer, Function):
                candidates = [f"{path[-2]}_{path[-1]}", "_".join(path[1:])]
            else:
                candidates = [path[-1], "_".join(path[1:])]
            # A layer with weights has one name wherever it is called.
            owner = node.layer if node.layer.weights else node
            node.name = names.take(owner, candidates)
            if node.name not in candidates[:1] and not isinstance(node.call.layer, Function):
                renamed.append(("/".join(path[1:]), node.name))
        # The last layer of several that were one has that one's name.
        for node in reversed(self.unnamed):
            if node.call is None and not node.name:
                scope = node.scope
                node.name = names.take(node, [scope, f"{scope}_{node.kind}"] if scope else [node.kind])
        return list(dict.fromkeys(renamed))


def _on_a_screen(issues: list[str]) -> str:
    """The issues, one of each kind, with how often it comes."""
    kinds: dict[str, list[str]] = {}
    for issue in issues:
        # The position differs, what is wrong there does not.
        kinds.setdefault(re.sub(r"'[^']*'", "", issue), []).append(issue)
    lines = []
    for alike in list(kinds.values())[:_MOST_ISSUES]:
        line = alike[0] if len(alike[0]) <= _LONGEST else alike[0][: _LONGEST - 1] + "…"
        lines.append(line + (f" (and {len(alike) - 1} more of this kind)" if len(alike) > 1 else ""))
    if len(kinds) > len(lines):
        lines.append(f"{len(kinds) - len(lines)} more kinds")
    return "; ".join(lines)


def _joins(pending, made) -> bool:
    """Whether what was made is a map of the kind that waits, of its result alone."""
    is_map = isinstance(made, tuple) and type(made[0]) is type(pending.map)
    return is_map and made[1] is pending.source


def _layer_of(pending):
    if isinstance(pending.map, ChannelSelection):
        raise UnsupportedLayerError("it takes a single channel")
    if isinstance(pending.map, PoolPadding):
        raise UnsupportedLayerError("it pads with something else than zeros around the image")
    return (
        scaling(pending.map, pending.source.shape)
        if isinstance(pending.map, Affine)
        else clipping(pending.map)
    )


def _activation(name):
    if name in ("relu", "relu6"):
        return layers.ReLU(6.0 if name == "relu6" else None)
    return layers.Softmax() if name == "softmax" else layers.Activation(name)
