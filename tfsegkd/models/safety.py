"""Checks untrusted model files before Keras loads them.

A Keras file is a description of layers and an archive of arrays, but the description can name any function of
any module, carry Python bytecode in a Lambda, or call TensorFlow's own operations on files.
"""

import contextlib
import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import tensorflow as tf

from tfsegkd._keras import keras

_LARGEST_DESCRIPTION = 64 * 2**20
_LAMBDAS = ("Lambda", "__lambda__")
_OPERATIONS = ("TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod", "InstanceProperty")
# Modules whose classes are allowed, besides those registered with Keras in this process.
_PACKAGES = ("keras", "tf_keras", "keras_cv", "tfsegkd", "tensorflow_model_optimization")
# The maximum unpacked size of a description, beyond the file's size on the disk.
_SLACK = 64 * 2**20
_NOT_OF_NETWORKS = ("utils", "callbacks", "saving", "export", "datasets", "config", "distribution")
# TensorFlow functions that layers may call: arithmetic and moving of array elements.
_FUNCTION = re.compile(
    r"""(compat\.v1\.)?(
    (math|nn|image|linalg|signal|__operators__)\.[a-z_0-9.]+
    | (abs|add|divide|equal|exp|greater|less|maximum|minimum|multiply|pow|sigmoid|sign|sqrt|square|tanh)
    | (argmax|argmin|norm|reduce_[a-z]+ | subtract|cast|clip_by_value|constant|convert_to_tensor)
    | (identity|stop_gradient)
    | (boolean_mask|broadcast_to|concat|expand_dims|fill|gather|gather_nd|meshgrid|pad|range|repeat|reshape)
    | (reverse|roll|scatter_nd|slice|split|squeeze|stack|strided_slice|tile|transpose|unstack|where)
    | (einsum|matmul|tensordot|ones|ones_like|zeros|zeros_like|rank|shape|size)
    )""",
    re.VERBOSE,
)


class Refused(ValueError):
    """Raised for a model file that is not loaded."""


def refuse_code(path: str | os.PathLike, allow_lambda: bool = False) -> None:
    """Refuses a Keras file that describes anything but a network.

    Args:
        path: A `.keras` or `.h5` file; other files are not checked.
        allow_lambda: Allow Lambda layers. They are Python code, which runs with the rights of the user.

    Raises:
        ValueError: naming the fault: a Lambda, a class or function of another module, an operation that
            networks do not need, arrays in other files or larger than the memory, or a description that is
            not JSON.
    """
    try:
        _look_through(Path(path), allow_lambda)
    except Refused:
        raise
    except Exception as error:  # a damaged archive can raise nearly anything
        raise unreadable(path, error) from None


def _look_through(path, allow_lambda):
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            total = sum(member.file_size for member in archive.infolist())
            if total > _SLACK + 20 * path.stat().st_size:
                raise _refusal(path, f"{total:,} bytes packed into {path.stat().st_size:,}", "")
            for name in ("config.json", "metadata.json"):
                if name in names:
                    if archive.getinfo(name).file_size > _LARGEST_DESCRIPTION:
                        raise _refusal(path, f"{name} of {archive.getinfo(name).file_size} bytes", "")
                    _scan(_parsed(archive.read(name), path), path, allow_lambda)
            for name in names:
                if name.endswith(".h5"):
                    with unpacked(archive, name) as arrays, h5py.File(arrays) as file:
                        _scan_arrays(file, path)
    elif path.is_file() and h5py.is_hdf5(path):
        with h5py.File(path) as file:
            if "model_config" in file.attrs:
                _scan(_parsed(file.attrs["model_config"], path), path, allow_lambda)
            _scan_arrays(file, path)


@contextlib.contextmanager
def unpacked(archive: zipfile.ZipFile, name: str) -> Iterator[Path]:
    """Extracts a member of an archive to a temporary file.

    HDF5 seeks back and forth, and before Python 3.13 each backward seek inside an archive reads it from its
    beginning: minutes for a large network.
    """
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as directory:
        path = Path(directory, "network.weights.h5")
        with archive.open(name) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, 2**20)
        yield path


def refuse_untrusted(path: str | os.PathLike, trust_model: bool) -> None:
    """Refuses a SavedModel unless the user trusts it: its graph can read and write files.

    Raises:
        ValueError: if `path` is a directory and `trust_model` is not set.
    """
    if Path(path).is_dir() and not trust_model:
        raise ValueError(
            f"{os.fspath(path)!r} is a SavedModel, whose graph can read and write files. Expected a .keras "
            f"or .h5 file. If you trust whoever made it, load it with `trust_model=True`."
        )


def _parsed(text, path):
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(
            f"Cannot read {str(path)!r} as a Keras model: its description is no JSON ({error}). Save it "
            f"again."
        ) from None


def _scan(root, path, allow_lambda):
    # Without recursion: a description may be nested more deeply than Python's stack.
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            waiting.extend(node.values())
            _check(node, path, allow_lambda)


def _check(node, path, allow_lambda):
    kind, config = node.get("class_name"), node.get("config")
    if kind in _LAMBDAS:
        if not allow_lambda:
            name = config.get("name", kind) if isinstance(config, dict) else kind
            raise _refusal(
                path,
                f"the Lambda layer {name!r}, which is Python code",
                " If you trust whoever made the file, allow it with `allow_lambda=True`.",
            )
    elif kind in _OPERATIONS and isinstance(config, dict) and "function" in config:
        function = str(config["function"])
        if not _FUNCTION.fullmatch(function):
            raise _refusal(path, f"the operation {function!r}, which is none of a network", "")
    module = node.get("module")
    if kind is not None and module is not None and not _welcome(module, kind, config, node):
        what = config if kind == "function" else kind
        raise _refusal(
            path,
            f"{what!r} of the module {module!r}",
            " If it is a layer of your own, import it first, registered with Keras.",
        )


def _welcome(module, kind, config, node):
    registered = node.get("registered_name") or (config if kind == "function" else kind)
    if isinstance(registered, str) and keras.saving.get_registered_object(registered) is not None:
        return True
    first, *rest = str(module).split(".")
    if kind == "function":
        # 'builtins' stands for Keras' own activations, losses and the like, by their bare names.
        return module == "builtins" or (first in _PACKAGES and "activations" in rest)
    return first in _PACKAGES and not any(part in _NOT_OF_NETWORKS for part in rest)


def _scan_arrays(group, path):
    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise _refusal(path, f"the array {name!r}, which lies in {link.filename!r}", "")
        found = group.get(name)
        if isinstance(found, h5py.Group):
            if isinstance(link, h5py.HardLink):  # soft links may run in circles
                _scan_arrays(found, path)
        elif isinstance(found, h5py.Dataset) and (found.external or found.is_virtual):
            raise _refusal(path, f"the array {name!r}, which lies in another file", "")
        elif isinstance(found, h5py.Dataset) and found.nbytes > _SLACK + 20 * found.id.get_storage_size():
            raise _refusal(path, f"the array {name!r} of {found.nbytes:,} bytes, most of them not stored", "")


def unreadable(path: str | os.PathLike, error: Exception) -> ValueError:
    """The error for a file that Keras cannot read."""
    first = (str(error).strip() or type(error).__name__).split("\n")[0].rstrip(".")
    return ValueError(
        f"Cannot read {os.fspath(path)!r} as a Keras model: {first}. Expected a .keras or .h5 file that "
        f"Keras or tfsegkd saved."
    )


@contextlib.contextmanager
def no_larger_than(path: str | os.PathLike) -> Iterator[None]:
    """Limits variables made inside the context to the bytes that the file holds.

    Raises:
        ValueError: if they exceed it.
    """
    left = _SLACK + 20 * _bytes(Path(path))

    def create(following, **options):
        nonlocal left
        shape = tf.TensorShape(options.get("shape"))
        if shape.rank is not None and shape.is_fully_defined():
            left -= shape.num_elements() * tf.as_dtype(options.get("dtype") or tf.float32).size
        if left < 0:
            raise Refused(
                f"{os.fspath(path)!r} is not loaded: it describes weights larger than the whole file. "
                f"Expected the weights that belong to its layers."
            )
        return following(**options)

    with tf.variable_creator_scope(create):
        yield


def _bytes(path):
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _refusal(path, what, fix):
    return Refused(
        f"{str(path)!r} is not loaded: it holds {what}. Expected layers and arrays, and no code.{fix}"
    )
