"""Reading and editing .tflite files."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

__all__ = ["Editor", "pack", "schema", "unpack"]

# The types whose values can be read and written.
_TYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
}
_KINDS = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}


class Editor:
    """An editor of the network in a .tflite: its operators and tensors.

    Tensors are identified by index. An operator is the object that the schema generates, with the indices of
    its input and output tensors.

    Args:
        content: The .tflite. Files appended to it are dropped.

    Attributes:
        model: The whole file, as an object of the schema.

    Example:
        from tfsegkd.runtime.model_file import Editor

        editor = Editor(content)
        kinds = [editor.kind(operator) for operator in editor.operators]
        smaller = editor.pack()
    """

    def __init__(self, content: bytes):
        self.model = unpack(content)

    @property
    def graph(self) -> schema.SubGraphT:
        """The network, the first graph of the file."""
        return self.model.subgraphs[0]

    @property
    def operators(self) -> list[schema.OperatorT]:
        """The operators, in execution order."""
        return self.graph.operators

    @property
    def tensors(self) -> list[schema.TensorT]:
        """The tensors by index."""
        return self.graph.tensors

    @property
    def inputs(self) -> list[int]:
        """The input tensors of the network."""
        return [int(number) for number in self.graph.inputs]

    @property
    def outputs(self) -> list[int]:
        """The output tensors of the network."""
        return [int(number) for number in self.graph.outputs]

    def kind(self, operator: schema.OperatorT) -> str:
        """Returns the type of an operator, such as 'CONV_2D'."""
        return _KINDS.get(_number(self.model.operatorCodes[operator.opcodeIndex]), "CUSTOM")

    def find(self, *kinds: str) -> list[schema.OperatorT]:
        """Returns the operators of these types, such as 'CONV_2D', in execution order."""
        return [operator for operator in self.operators if self.kind(operator) in kinds]

    def producer(self, tensor: int) -> schema.OperatorT | None:
        """Returns the producer of a tensor; None for constants and inputs."""
        return next((one for one in self.operators if tensor in one.outputs), None)

    def name(self, tensor: int) -> str:
        """Returns the name of a tensor, which contains the name of its layer."""
        return _text(self.tensors[tensor].name)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Returns the shape of a tensor."""
        shape = self.tensors[tensor].shape
        return () if shape is None else tuple(map(int, shape))

    def is_constant(self, tensor: int) -> bool:
        """Whether a tensor is a constant."""
        return self.model.buffers[self.tensors[tensor].buffer].data is not None

    def values(self, tensor: int) -> np.ndarray | None:
        """Returns the values of a constant; None for other tensors, and for types that NumPy lacks."""
        found = self.tensors[tensor]
        if not self.is_constant(tensor) or found.type not in _TYPES:
            return None
        data = np.asarray(self.model.buffers[found.buffer].data, np.uint8).tobytes()
        return np.frombuffer(data, _TYPES[found.type]).reshape(self.shape(tensor)) if data else None

    def add_buffer(self, data: bytes) -> int:
        """Adds a buffer and returns its index."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data, np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def add_tensor(
        self, name: str, shape: Sequence[int], number_format: int, values: np.ndarray | None = None
    ) -> int:
        """Adds a tensor, a constant if it has `values`, and returns its index.

        Args:
            number_format: One of `schema.TensorType`.
        """
        tensor = schema.TensorT()
        tensor.name, tensor.type = name.encode(), number_format
        return self._add(tensor, shape, values)

    def add_like(
        self,
        tensor: int,
        shape: Sequence[int] | None = None,
        values: np.ndarray | None = None,
        part: slice | None = None,
    ) -> int:
        """Adds a tensor of the same type and scales as another one and returns its index.

        Args:
            tensor: The other one.
            shape: The shape; that of the other one by default.
            values: Its values, if it is a constant.
            part: The channels of the other one to keep, and their scales if scales are per channel.
        """
        like = self.tensors[tensor]
        new = copy.copy(like)
        new.name = (like.name or b"") + f";{len(self.tensors) + 1}".encode()
        if part is not None and like.quantization is not None and like.quantization.scale is not None:
            new.quantization = copy.copy(like.quantization)
            if len(like.quantization.scale) > 1:
                for field in ("scale", "zeroPoint", "min", "max"):
                    scales = getattr(like.quantization, field)
                    setattr(new.quantization, field, None if scales is None else scales[part])
        return self._add(new, like.shape if shape is None else shape, values)

    def make(
        self,
        kind: str,
        inputs: Iterable[int],
        outputs: Iterable[int],
        options: Any = None,
        version: int = 1,
    ) -> schema.OperatorT:
        """Creates an operator; `append` or `replace` add it to the network.

        Args:
            kind: The type, such as 'CONV_2D'.
            inputs, outputs: Its input and output tensors.
            options: Its options, such as `schema.SplitOptionsT()`.
            version: The version, unless the file already has such operators; int8 tensors often need 2.
        """
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(getattr(schema.BuiltinOperator, kind), version)
        operator.inputs, operator.outputs = list(map(int, inputs)), list(map(int, outputs))
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(
                schema.BuiltinOptions, type(options).__name__.removesuffix("T")
            )
        return operator

    def append(self, *operators: schema.OperatorT) -> None:
        """Appends operators after all others."""
        self.graph.operators = [*self.operators, *operators]

    def replace(self, operator: schema.OperatorT, *others: schema.OperatorT) -> None:
        """Replaces an operator by others, in execution order; none removes it."""
        index = next(number for number, one in enumerate(self.operators) if one is operator)
        self.graph.operators = [*self.operators[:index], *others, *self.operators[index + 1 :]]

    def set_output(self, tensor: int) -> None:
        """Makes a tensor the output of the network and of its signatures."""
        self.graph.outputs = [tensor]
        for signature in self.model.signatureDefs or ():
            signature.outputs[0].tensorIndex = tensor

    def set_metadata(self, name: str, data: bytes | None) -> None:
        """Sets an entry of the file's metadata; None removes it."""
        entries = [entry for entry in self.model.metadata or () if _text(entry.name) != name]
        if data is not None:
            entry = schema.MetadataT()
            entry.name, entry.buffer = name, self.add_buffer(data)
            entries.append(entry)
        self.model.metadata = entries

    def extract(self, operator: schema.OperatorT) -> "Editor":
        """Returns a .tflite of a single operator with its constants."""
        read = [int(tensor) for tensor in operator.inputs if tensor >= 0]
        indices = {tensor: index for index, tensor in enumerate(dict.fromkeys([*read, *operator.outputs]))}
        found = Editor.__new__(Editor)
        found.model, part, alone = copy.copy(self.model), copy.copy(self.graph), copy.copy(operator)
        found.model.subgraphs, found.model.buffers, part.tensors = [part], [schema.BufferT()], []
        found.model.operatorCodes = [self.model.operatorCodes[operator.opcodeIndex]]
        found.model.signatureDefs, found.model.metadata, found.model.metadataBuffer = [], [], []
        for tensor in indices:
            kept = copy.copy(self.tensors[tensor])
            found.model.buffers.append(copy.copy(self.model.buffers[kept.buffer]))
            kept.buffer = len(found.model.buffers) - 1
            part.tensors.append(kept)
        alone.opcodeIndex = 0
        alone.inputs = [indices.get(int(tensor), -1) for tensor in operator.inputs]
        alone.outputs = [indices[int(tensor)] for tensor in operator.outputs]
        part.operators, part.outputs = [alone], alone.outputs
        part.inputs = [indices[tensor] for tensor in dict.fromkeys(read) if not self.is_constant(tensor)]
        return found

    def drop_unused(self) -> None:
        """Empties buffers that no operator uses."""
        used = {number for one in self.operators for number in (*one.inputs, *one.outputs) if number >= 0}
        needed = {self.tensors[number].buffer for number in used}
        needed |= {entry.buffer for entry in self.model.metadata or []}
        for tensor in self.tensors:
            if tensor.buffer not in needed:
                self.model.buffers[tensor.buffer].data = None
                tensor.buffer = 0

    def pack(self) -> bytes:
        """Returns the edited .tflite."""
        return pack(self.model)

    def _add(self, tensor, shape, values) -> int:
        tensor.shape, tensor.shapeSignature = np.array([int(size) for size in shape], np.int32), None
        tensor.buffer = 0 if values is None else self.add_buffer(np.asarray(values).tobytes())
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _code(self, number: int, version: int) -> int:
        """Returns the index of an operator code, which is added if it is new."""
        for index, known in enumerate(self.model.operatorCodes):
            if _number(known) == number:
                return index
        new = schema.OperatorCodeT()
        # Older readers use the narrow field.
        new.builtinCode, new.deprecatedBuiltinCode, new.version = number, min(number, 127), version
        self.model.operatorCodes.append(new)
        return len(self.model.operatorCodes) - 1


class _AlignedBuffer(schema.BufferT):
    """A buffer aligned to 16 bytes, as kernels and the schema require."""

    def Pack(self, builder):
        if self.data is not None:
            builder.Prep(16, len(self.data))
        return super().Pack(builder)


def unpack(content: bytes) -> schema.ModelT:
    """Parses the network in a .tflite, with weights that are stored after it.

    Appended files are ignored.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 mean that the data are in the buffer
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def pack(model: schema.ModelT) -> bytes:
    """Serializes a network as .tflite."""
    for buffer in model.buffers:
        buffer.__class__ = _AlignedBuffer
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _number(code: schema.OperatorCodeT) -> int:
    # Old files have a separate field for codes up to 127.
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def _text(name: bytes | str | None) -> str:
    return name.decode() if isinstance(name, bytes) else name or ""
