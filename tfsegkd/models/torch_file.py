"""Reads the tensors of a PyTorch `.pth` file without PyTorch and without executing its code.

A `.pth` is a pickle, which can call any function. Only dictionaries and tensors are allowed: any other
name in the file is refused before it is looked up.
"""

import collections
import io
import math
import os
import pickle
import pickletools
import zipfile
from typing import Any, BinaryIO, NamedTuple

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_STORAGES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_PUTS, _GETS = ("PUT", "BINPUT", "LONG_BINPUT"), ("GET", "BINGET", "LONG_BINGET")
# Opcodes that create objects and that torch.save does not write.
_FOREIGN = ("INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4")


class _Storage(NamedTuple):
    """A flat array, named in the pickle and stored after or beside it."""

    dtype: Any
    key: str
    size: int


class _Tensor(NamedTuple):
    """A view of a storage; offsets and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage, offset, shape, strides, *_):
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _rebuild_parameter(tensor, *_):
    return tensor


_ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
} | {("torch", name): dtype for name, dtype in _STORAGES.items()}


class _TensorUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        try:
            return _ALLOWED[module, name]
        except KeyError:
            # `_unpickle` has checked all names that follow their opcode.
            raise _refusal("STACK_GLOBAL", f"{module}.{name}") from None

    def persistent_load(self, pid):
        kind, dtype, key, _location, size = pid[:5]
        if kind != "storage":
            raise pickle.UnpicklingError(f"it refers to a {kind!r}, not to a storage")
        return _Storage(np.dtype(dtype), str(key), int(size))


def _refusal(opcode: str, name: str) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(
        f"its opcode {opcode} asks for {name}, which is neither a tensor nor a dictionary"
    )


def _unpickle(file: BinaryIO) -> Any:
    """Reads a pickle from the current position of `file`, up to its end."""
    start, previous, indices, tuples = file.tell(), "", set(), set()
    for opcode, argument, position in pickletools.genops(file):
        where = f"{opcode.name} at byte {position}"
        if opcode.name in ("GLOBAL", "INST") and tuple(argument.split(" ", 1)) not in _ALLOWED:
            raise _refusal(where, argument.replace(" ", "."))
        if opcode.name in _FOREIGN:
            raise _refusal(where, "an object")
        # The memo of a pickle is as long as its largest index; tuples of tuples of tuples,
        # each twice in the next, are hashed one by one.
        if opcode.name in _PUTS and argument > position:
            raise _refusal(where, f"index {argument} of a table")
        if opcode.name in _PUTS or opcode.name == "MEMOIZE":
            index = len(indices) if opcode.name == "MEMOIZE" else argument
            indices.add(index)
            if previous.startswith("TUPLE"):
                tuples.add(index)
        if opcode.name == "DUP" or (opcode.name in _GETS and argument in tuples):
            raise _refusal(where, "one tuple twice")
        previous = opcode.name
    end = file.tell()
    file.seek(start)
    return _TensorUnpickler(io.BytesIO(file.read(end - start))).load()


def read_tensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a state dict, by name, in PyTorch's own layouts.

    Args:
        path: A `.pth` written by `torch.save(model.state_dict())`, in the zip or in the older format.

    Returns:
        The tensors by name.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is truncated, holds anything but tensors and dictionaries, or is no state
            dict. Nothing in it is executed.

    Example:
        # in PyTorch: torch.save(network.state_dict(), "network.pth")
        tensors = models.read_tensors("network.pth")
        tensors["conv.weight"].shape  # (16, 3, 3, 3)
    """
    path = os.fspath(path)
    try:
        read = _read_zip if zipfile.is_zipfile(path) else _read_legacy
        content, storages = read(path)
        return {name: _array(value, storages[value.storage.key]) for name, value in content.items()}
    except Exception as error:  # a malformed pickle can raise nearly anything
        if isinstance(error, OSError) and error.filename is not None:
            raise  # it cannot be opened, and the message names it
        raise ValueError(
            f"Cannot read {path!r} as a PyTorch state dict: {error}. Expected a whole .pth file that holds "
            f"nothing but named tensors; save one with torch.save(model.state_dict(), path)."
        ) from None


def _read_legacy(path):
    with open(path, "rb") as file:
        for expected, what in ((_MAGIC, "magic number"), (_PROTOCOL, "protocol version")):
            if _unpickle(file) != expected:
                raise ValueError(f"its {what} is not PyTorch's")
        _unpickle(file)  # sizes of C types on the machine that wrote it
        content = _as_state_dict(_unpickle(file))
        declared = {value.storage.key: value.storage for value in content.values()}
        storages = {}
        for key in _unpickle(file):
            if key not in declared:
                raise ValueError(f"storage {key} belongs to no tensor")
            (size,) = np.frombuffer(file.read(8), "<i8")
            if size != declared[key].size:
                raise ValueError(f"storage {key} has {size} elements instead of {declared[key].size}")
            storages[key] = _elements(file.read(size * declared[key].dtype.itemsize), declared[key])
    return content, storages


def _read_zip(path):
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"the archive holds {len(pickles)} data.pkl instead of one")
        packed = [info.filename for info in archive.infolist() if info.compress_type != zipfile.ZIP_STORED]
        if packed:
            # A small file could unpack to more than the memory holds.
            raise ValueError(f"the archive holds {packed[0]!r} compressed, which torch.save never does")
        root = pickles[0].removesuffix("data.pkl")
        content = _as_state_dict(_unpickle(io.BytesIO(archive.read(pickles[0]))))
        declared = {value.storage.key: value.storage for value in content.values()}
        storages = {
            key: _elements(archive.read(f"{root}data/{key}"), storage) for key, storage in declared.items()
        }
    return content, storages


def _as_state_dict(content):
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__} instead of a dictionary of tensors")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise ValueError(f"entry {name!r} is not a tensor")
    return content


def _elements(data: bytes, storage: _Storage) -> np.ndarray:
    if len(data) != storage.size * storage.dtype.itemsize:
        raise ValueError(f"it ends inside storage {storage.key}")
    return np.frombuffer(data, storage.dtype.newbyteorder("<"))


def _array(tensor: _Tensor, elements: np.ndarray) -> np.ndarray:
    # Tensors are views; some files hold transposed ones, so the strides matter and must stay in bounds.
    if len(tensor.shape) != len(tensor.strides) or min((*tensor.shape, *tensor.strides, 0)) < 0:
        raise ValueError("a tensor has an impossible shape")
    if math.prod(tensor.shape) > len(elements):
        raise ValueError("a tensor is larger than its storage")
    reach = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    if 0 in tensor.shape:
        return np.empty(tensor.shape, elements.dtype)
    if tensor.offset < 0 or reach >= len(elements):
        raise ValueError("a tensor reaches outside its storage")
    strides = [s * elements.itemsize for s in tensor.strides]
    view = np.lib.stride_tricks.as_strided(elements[tensor.offset :], tensor.shape, strides)
    return np.array(view, order="C")
