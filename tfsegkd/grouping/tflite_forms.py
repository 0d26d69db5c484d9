"""Grouped convolutions inside a .tflite: finding them, and writing them in another form."""

import copy
import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

FORMS = ("grouped", "split", "dense")
_TYPES = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.INT8: np.int8}
_OPERATORS = schema.BuiltinOperator
# The delegate splits a tensor into no more parts than this, and joins no more.
_MAX_PARTS = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Convolution:
    """A grouped convolution of a .tflite.

    Args:
        model: The file it is in.
        operator: Its operation there.
        kernel: (Cout, height, width, Cin / groups).
        groups: Its groups.
    """

    model: schema.ModelT
    operator: schema.OperatorT
    kernel: np.ndarray
    groups: int

    @property
    def tensors(self) -> list[schema.TensorT]:
        """Input, kernel, bias if it has one, output."""
        found = self.model.subgraphs[0].tensors
        return [found[number] for number in (*self.operator.inputs, *self.operator.outputs) if number >= 0]

    @property
    def name(self) -> str:
        return self.tensors[-1].name.decode()

    @property
    def kind(self) -> tuple:
        """Equal for convolutions that take equal time."""
        options = vars(self.operator.builtinOptions)
        shapes = [(tuple(tensor.shape), tensor.type) for tensor in (self.tensors[0], self.tensors[-1])]
        return (*shapes, self.kernel.shape, self.groups, *sorted(options.items()))


def forms(groups: int) -> tuple[str, ...]:
    """The forms that a convolution of so many groups can take."""
    return FORMS if _parts(groups) else tuple(form for form in FORMS if form != "split")


def find(model: schema.ModelT) -> list[Convolution]:
    """The grouped convolutions of a network, those that are only by their weights included."""
    found = []
    tensors = model.subgraphs[0].tensors
    for operator in model.subgraphs[0].operators:
        if _code(model, operator) != _OPERATORS.CONV_2D:
            continue
        kernel = _values(model, tensors[operator.inputs[1]])
        if kernel is None:
            continue
        inputs = int(tensors[operator.inputs[0]].shape[-1])
        groups = inputs // kernel.shape[-1]
        if groups == 1:
            groups = _hidden_groups(kernel)
            kernel = _compact(kernel, groups)
        if groups > 1:
            found.append(Convolution(model, operator, kernel, groups))
    return found


def extract(convolution: Convolution) -> tuple[schema.ModelT, Convolution]:
    """A network of that one convolution."""
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [], [schema.SubGraphT()]
    model.buffers = [schema.BufferT()]
    graph = model.subgraphs[0]
    graph.tensors, operator = [], copy.copy(convolution.operator)
    for tensor in convolution.tensors:
        values = _values(convolution.model, tensor)
        _add_tensor(model, tensor, values=values)
    count = len(graph.tensors)
    operator.inputs, operator.outputs = list(range(count - 1)), [count - 1]
    operator.opcodeIndex = _opcode(model, _OPERATORS.CONV_2D, convolution.model)
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [count - 1]
    return model, dataclasses.replace(convolution, model=model, operator=operator)


def write(model: schema.ModelT, choices: Sequence[tuple[Convolution, str]]) -> None:
    """Puts convolutions of `model` into the forms chosen."""
    chosen = {id(convolution.operator): (convolution, form) for convolution, form in choices}
    operators = []
    for operator in model.subgraphs[0].operators:
        convolution, form = chosen.get(id(operator), (None, None))
        if form == "split":
            operators += _split(convolution)
            continue
        if form:
            kernel = convolution.kernel
            kernel = kernel if form == "grouped" else _spread(kernel, convolution.groups)
            number = _add_tensor(model, convolution.tensors[1], kernel.shape, kernel)
            operator.inputs = [operator.inputs[0], number, *operator.inputs[2:]]
        operators.append(operator)
    model.subgraphs[0].operators = operators
    _drop_unused(model)


def _split(convolution: Convolution) -> list[schema.OperatorT]:
    """The operations of the form 'split'."""
    model, groups = convolution.model, convolution.groups
    _, kernel, *bias, output = convolution.tensors
    size = len(convolution.kernel) // groups
    before, inputs = _split_tensor(model, convolution.operator.inputs[0], _parts(groups))
    operators, outputs = [], []
    for group, number in enumerate(inputs):
        operator = copy.copy(convolution.operator)
        part = slice(group * size, (group + 1) * size)
        values = convolution.kernel[part]
        operator.inputs = [number, _add_tensor(model, kernel, values.shape, values, part)]
        for tensor in bias:
            values = _values(model, tensor)[part]
            operator.inputs.append(_add_tensor(model, tensor, values.shape, values, part))
        outputs.append(_add_tensor(model, output, (*output.shape[:-1], size)))
        operator.outputs = [outputs[-1]]
        operators.append(operator)
    return before + operators + _join(model, outputs, convolution.operator.outputs[0], _parts(groups))


def _split_tensor(model, number, parts) -> tuple[list, list[int]]:
    """Operations that split a tensor along its channels, a few parts at a time, and the tensors they give."""
    if not parts:
        return [], [number]
    tensor = model.subgraphs[0].tensors[number]
    shape = (*tensor.shape[:-1], tensor.shape[-1] // parts[0])
    outputs = [_add_tensor(model, tensor, shape) for _ in range(parts[0])]
    axis = schema.TensorT()
    axis.type, axis.name = schema.TensorType.INT32, b"axis"
    axis = _add_tensor(model, axis, (), np.int32(3))
    options = schema.SplitOptionsT()
    options.numSplits = parts[0]
    operators = [_operator(model, _OPERATORS.SPLIT, [axis, number], outputs, "SplitOptions", options)]
    leaves = []
    for output in outputs:
        more, found = _split_tensor(model, output, parts[1:])
        operators += more
        leaves += found
    return operators, leaves


def _join(model, numbers, output, parts) -> list[schema.OperatorT]:
    """Operations that put tensors together along their channels, in the tree in which they were split."""
    operators = []
    if len(parts) > 1:
        size = len(numbers) // parts[0]
        joined = []
        for start in range(0, len(numbers), size):
            tensor = model.subgraphs[0].tensors[output]
            shape = (*tensor.shape[:-1], tensor.shape[-1] // parts[0])
            joined.append(_add_tensor(model, tensor, shape))
            operators += _join(model, numbers[start : start + size], joined[-1], parts[1:])
        numbers = joined
    options = schema.ConcatenationOptionsT()
    options.axis = 3
    code = _OPERATORS.CONCATENATION
    return [*operators, _operator(model, code, numbers, [output], "ConcatenationOptions", options)]


def _parts(groups: int) -> list[int]:
    """Numbers up to 4 whose product is `groups`; none if there are none."""
    parts = []
    while groups > 1:
        largest = next((part for part in range(_MAX_PARTS, 1, -1) if groups % part == 0), None)
        if largest is None:
            return []
        parts.append(largest)
        groups //= largest
    return parts


def _operator(model, code, inputs, outputs, kind, options) -> schema.OperatorT:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = _opcode(model, code), inputs, outputs
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
    operator.builtinOptions = options
    return operator


def _code(model, operator) -> int:
    code = model.operatorCodes[operator.opcodeIndex]
    # Old files keep codes up to 127 in a field of their own.
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def _opcode(model, code: int, source: schema.ModelT | None = None) -> int:
    """The number of an operation's code in the file, which is added if it is new; as of `source` if given."""
    for number, known in enumerate(model.operatorCodes):
        if max(known.builtinCode, known.deprecatedBuiltinCode) == code:
            return number
    new = schema.OperatorCodeT()
    if source is not None:
        new = copy.copy(source.operatorCodes[_opcode(source, code)])
    else:
        # Version 2 is that of int8 tensors; float ones do not mind.
        new.builtinCode, new.deprecatedBuiltinCode, new.version = code, min(code, 127), 2
    model.operatorCodes.append(new)
    return len(model.operatorCodes) - 1


def _values(model, tensor) -> np.ndarray | None:
    """The values of a constant tensor; None for another, or of a type that is no weight's."""
    data = model.buffers[tensor.buffer].data
    types = {**_TYPES, schema.TensorType.INT32: np.int32}
    if data is None or len(data) == 0 or tensor.type not in types:
        return None
    return np.frombuffer(bytes(bytearray(data)), types[tensor.type]).reshape(tensor.shape)


def _add_tensor(model, like: schema.TensorT, shape=None, values=None, part: slice | None = None) -> int:
    """Adds a tensor, constant if it has `values`; its scales are those that `part` of `like` has."""
    tensor = copy.copy(like)
    tensor.shape = list(map(int, like.shape if shape is None else shape))
    tensor.shapeSignature, tensor.buffer = None, 0
    if values is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    if part is not None and like.quantization is not None and like.quantization.scale is not None:
        tensor.quantization = copy.copy(like.quantization)
        if len(like.quantization.scale) > 1:
            for field in ("scale", "zeroPoint", "min", "max"):
                scales = getattr(like.quantization, field)
                setattr(tensor.quantization, field, None if scales is None else scales[part])
    tensors = model.subgraphs[0].tensors
    tensors.append(tensor)
    tensor.name = (like.name or b"") + f";{len(tensors)}".encode()
    return len(tensors) - 1


def _drop_unused(model) -> None:
    """Empties the buffers that no operation needs any more."""
    graph = model.subgraphs[0]
    used = {number for operator in graph.operators for number in (*operator.inputs, *operator.outputs)}
    needed = {graph.tensors[number].buffer for number in used if number >= 0}
    needed |= {entry.buffer for entry in model.metadata or []}
    for tensor in graph.tensors:
        if tensor.buffer not in needed:
            model.buffers[tensor.buffer].data = None
            tensor.buffer = 0


def _hidden_groups(kernel: np.ndarray) -> int:
    """The most groups between which a dense kernel (Cout, height, width, Cin) is zero."""
    outputs, _, _, inputs = kernel.shape
    used = kernel.any((1, 2))
    common = math.gcd(inputs, outputs)
    for groups in range(common, 1, -1):
        if common % groups == 0:
            within = np.arange(outputs)[:, None] * groups // outputs == np.arange(inputs) * groups // inputs
            if not used[~within].any() and used.any():
                return groups
    return 1


def _compact(kernel: np.ndarray, groups: int) -> np.ndarray:
    """The kernel without what lies between groups."""
    width = kernel.shape[-1] // groups
    parts = np.split(kernel, groups)
    return np.concatenate([part[..., g * width : (g + 1) * width] for g, part in enumerate(parts)])


def _spread(kernel: np.ndarray, groups: int) -> np.ndarray:
    """The kernel with zeros between groups."""
    outputs, height, width, inputs = kernel.shape
    dense = np.zeros((outputs, height, width, groups * inputs), kernel.dtype)
    for group, part in enumerate(np.split(np.arange(outputs), groups)):
        dense[part, :, :, group * inputs : (group + 1) * inputs] = kernel[part]
    return dense
