"""A .tflite as an object that can be read and edited, and back."""

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
    """A network in a .tflite: its operators and tensors, and what can be done to them.

    Tensors go by their number. An operator is the object that the schema generates, with the numbers of the
    tensors that it reads and gives.

    Args:
        content: The .tflite. Files appended to it are not part of the network and get lost.

    Attributes:
        model: The whole file, as the schema has it.

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
        """The operators in the order in which they run."""
        return self.graph.operators

    @property
    def tensors(self) -> list[schema.TensorT]:
        """The tensors by their numbers."""
        return self.graph.tensors

    @property
    def inputs(self) -> list[int]:
        """The tensors that the network reads."""
        return [int(number) for number in self.graph.inputs]

    @property
    def outputs(self) -> list[int]:
        """The tensors that the network gives."""
        return [int(number) for number in self.graph.outputs]

    def kind(self, operator: schema.OperatorT) -> str:
        """What an operator is, such as 'CONV_2D'."""
        return _KINDS.get(_number(self.model.operatorCodes[operator.opcodeIndex]), "CUSTOM")

    def find(self, *kinds: str) -> list[schema.OperatorT]:
        """The operators of these kinds, such as 'CONV_2D', in the order in which they run."""
        return [operator for operator in self.operators if self.kind(operator) in kinds]

    def producer(self, tensor: int) -> schema.OperatorT | None:
        """The operator that gives a tensor; None for constants and inputs."""
        return next((one for one in self.operators if tensor in one.outputs), None)

    def name(self, tensor: int) -> str:
        """The name of a tensor, which holds that of the layer it is from."""
        return _text(self.tensors[tensor].name)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """The shape of a tensor."""
        shape = self.tensors[tensor].shape
        return () if shape is None else tuple(map(int, shape))

    def is_constant(self, tensor: int) -> bool:
        """Whether the values of a tensor stand in the file."""
        return self.model.buffers[self.tensors[tensor].buffer].data is not None

    def values(self, tensor: int) -> np.ndarray | None:
        """The values of a constant; None for other tensors, and for types that NumPy does not have."""
        found = self.tensors[tensor]
        if not self.is_constant(tensor) or found.type not in _TYPES:
            return None
        data = np.asarray(self.model.buffers[found.buffer].data, np.uint8).tobytes()
        return np.frombuffer(data, _TYPES[found.type]).reshape(self.shape(tensor)) if data else None

    def add_buffer(self, data: bytes) -> int:
        """Adds bytes to the file and returns the number of their buffer."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data, np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def add_tensor(
        self, name: str, shape: Sequence[int], number_format: int, values: np.ndarray | None = None
    ) -> int:
        """Adds a tensor, a constant if it has `values`, and returns its number.

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
        """Adds a tensor of the same type and the same scales as another one and returns its number.

        Args:
            tensor: The other one.
            shape: As of the other one, unless given.
            values: Its values, if it is a constant.
            part: The channels that it has of the other one, and of its scales where each channel has its own.
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
        """Makes an operator; `append` or `replace` put it into the network.

        Args:
            kind: Such as 'CONV_2D'.
            inputs, outputs: The tensors that it reads and gives.
            options: The object of its options, such as `schema.SplitOptionsT()`.
            version: Of the kind, unless the file has such operators already; tensors of int8 often need 2.
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
        """Lets operators run after all others."""
        self.graph.operators = [*self.operators, *operators]

    def replace(self, operator: schema.OperatorT, *others: schema.OperatorT) -> None:
        """Puts other operators, in the order in which they run, in the place of one; none removes it."""
        place = next(number for number, one in enumerate(self.operators) if one is operator)
        self.graph.operators = [*self.operators[:place], *others, *self.operators[place + 1 :]]

    def set_output(self, tensor: int) -> None:
        """Makes a tensor the network's output, for signatures as well."""
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
        """One operator as a network of its own, with its constants."""
        read = [int(tensor) for tensor in operator.inputs if tensor >= 0]
        places = {tensor: place for place, tensor in enumerate(dict.fromkeys([*read, *operator.outputs]))}
        found = Editor.__new__(Editor)
        found.model, part, alone = copy.copy(self.model), copy.copy(self.graph), copy.copy(operator)
        found.model.subgraphs, found.model.buffers, part.tensors = [part], [schema.BufferT()], []
        found.model.operatorCodes = [self.model.operatorCodes[operator.opcodeIndex]]
        found.model.signatureDefs, found.model.metadata, found.model.metadataBuffer = [], [], []
        for tensor in places:
            kept = copy.copy(self.tensors[tensor])
            found.model.buffers.append(copy.copy(self.model.buffers[kept.buffer]))
            kept.buffer = len(found.model.buffers) - 1
            part.tensors.append(kept)
        alone.opcodeIndex = 0
        alone.inputs = [places.get(int(tensor), -1) for tensor in operator.inputs]
        alone.outputs = [places[int(tensor)] for tensor in operator.outputs]
        part.operators, part.outputs = [alone], alone.outputs
        part.inputs = [places[tensor] for tensor in dict.fromkeys(read) if not self.is_constant(tensor)]
        return found

    def drop_unused(self) -> None:
        """Empties the buffers that no operator needs any more."""
        used = {number for one in self.operators for number in (*one.inputs, *one.outputs) if number >= 0}
        needed = {self.tensors[number].buffer for number in used}
        needed |= {entry.buffer for entry in self.model.metadata or []}
        for tensor in self.tensors:
            if tensor.buffer not in needed:
                self.model.buffers[tensor.buffer].data = None
                tensor.buffer = 0

    def pack(self) -> bytes:
        """The .tflite as it is now."""
        return pack(self.model)

    def _add(self, tensor, shape, values) -> int:
        tensor.shape, tensor.shapeSignature = np.array([int(size) for size in shape], np.int32), None
        tensor.buffer = 0 if values is None else self.add_buffer(np.asarray(values).tobytes())
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _code(self, number: int, version: int) -> int:
        """The index of an operator's code in the file, which is added if it is new."""
        for index, known in enumerate(self.model.operatorCodes):
            if _number(known) == number:
                return index
        new = schema.OperatorCodeT()
        # Readers of older files look for the number in the narrow field.
        new.builtinCode, new.deprecatedBuiltinCode, new.version = number, min(number, 127), version
        self.model.operatorCodes.append(new)
        return len(self.model.operatorCodes) - 1


class _AlignedBuffer(schema.BufferT):
    """A buffer that starts at a multiple of 16 bytes, as kernels and the file's schema ask."""

    def Pack(self, builder):
        if self.data is not None:
            builder.Prep(16, len(self.data))
        return super().Pack(builder)


def unpack(content: bytes) -> schema.ModelT:
    """The network in a .tflite, with the weights that some programs write behind it.

    Files appended to it are not part of it.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 say that the content stands in the buffer
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def pack(model: schema.ModelT) -> bytes:
    """The .tflite of a network."""
    for buffer in model.buffers:
        buffer.__class__ = _AlignedBuffer
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _number(code: schema.OperatorCodeT) -> int:
    # Old files keep codes up to 127 in a field of their own.
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def _text(name: bytes | str | None) -> str:
    return name.decode() if isinstance(name, bytes) else name or ""
