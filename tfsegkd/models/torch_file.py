"""Reads the tensors of a PyTorch `.pth` file without PyTorch and without executing what it holds.

A `.pth` is a pickle, which can call any function. Ours is allowed to make dictionaries and tensors and
nothing else: any other name in the file is refused before it is looked up.
"""

import collections
import os
import pickle
import zipfile
from typing import Any, NamedTuple

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


class _Storage(NamedTuple):
    """A flat piece of memory, named in the pickle and stored after or beside it."""

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


class _TensorUnpickler(pickle.Unpickler):
    _ALLOWED = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    } | {("torch", name): dtype for name, dtype in _STORAGES.items()}

    def find_class(self, module, name):
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which is neither a tensor nor a dictionary"
            ) from None

    def persistent_load(self, pid):
        kind, dtype, key, _location, size = pid[:5]
        if kind != "storage":
            raise pickle.UnpicklingError(f"it refers to a {kind!r}, not to a storage")
        return _Storage(np.dtype(dtype), str(key), int(size))


def read_tensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a state dict, by name, in PyTorch's own layouts.

    Args:
        path: A `.pth` written by `torch.save(model.state_dict())`, in the zip or in the older format.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is truncated, holds anything but tensors and dictionaries, or is no state
            dict. Nothing in it is executed.
    """
    path = os.fspath(path)
    try:
        read = _read_zip if zipfile.is_zipfile(path) else _read_legacy
        content, storages = read(path)
        return {name: _array(value, storages[value.storage.key]) for name, value in content.items()}
    except OSError:
        raise
    except Exception as error:  # a malformed pickle can raise nearly anything
        raise ValueError(
            f"Cannot read {path!r} as a PyTorch state dict: {error}. Expected a whole .pth file that holds "
            f"nothing but named tensors; save one with torch.save(model.state_dict(), path)."
        ) from None


def _read_legacy(path):
    with open(path, "rb") as file:
        for expected, what in ((_MAGIC, "magic number"), (_PROTOCOL, "protocol version")):
            if _TensorUnpickler(file).load() != expected:
                raise ValueError(f"its {what} is not PyTorch's")
        _TensorUnpickler(file).load()  # sizes of C types on the machine that wrote it
        content = _as_state_dict(_TensorUnpickler(file).load())
        declared = {value.storage.key: value.storage for value in content.values()}
        storages = {}
        for key in _TensorUnpickler(file).load():
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
        root = pickles[0].removesuffix("data.pkl")
        with archive.open(pickles[0]) as file:
            content = _as_state_dict(_TensorUnpickler(file).load())
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
    reach = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    if 0 in tensor.shape:
        return np.empty(tensor.shape, elements.dtype)
    if tensor.offset < 0 or reach >= len(elements):
        raise ValueError("a tensor reaches outside its storage")
    strides = [s * elements.itemsize for s in tensor.strides]
    view = np.lib.stride_tricks.as_strided(elements[tensor.offset :], tensor.shape, strides)
    return np.array(view, order="C")
