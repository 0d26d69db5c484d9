"""Files of networks: PyTorch's, Keras', TFLite's."""

import json
import zipfile

import numpy as np
import pytest
from fuzzing import altered, damaged, fuzz, json_values, ours, working_children
from hypothesis import strategies as st

from tfsegkd import models, runtime
from tfsegkd._keras import keras
from tfsegkd.distillation import load_teacher
from tfsegkd.export import metadata
from tfsegkd.models.torch_file import read_tensors
from tfsegkd.runtime.model_file import pack, unpack

# Each input loads a network, or starts a process that tries one.
pytestmark = pytest.mark.slow


# PyTorch. A program of pickle is put together from what torch.save writes and from what attackers write.
def _text(value):
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


_STORAGE = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + b"I4\ntQ"
_TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n("
    + _STORAGE
    + b"I0\n(I2\nI2\nt(I2\nI1\nt\x89ccollections\nOrderedDict\n(tRtR"
)
_STATE = b"\x80\x02ccollections\nOrderedDict\n(tR(" + _text("a.weight") + _TENSOR + b"u."
_CALLS = (
    b"cos\nsystem\n(S'touch gone'\ntR", b"cbuiltins\neval\n(S'1'\ntR", b"cbuiltins\nopen\n(S'gone'\nS'w'\ntR",
    b"(S'touch gone'\nios\nsystem\n", b"(cos\nsystem\nS'touch gone'\no", b"\x8c\x02os\x8c\x06system\x93",
)  # fmt: skip
# Opcodes without arguments.
_BARE = [bytes([code]) for code in b"}](tRusb02.NQ\x81\x85\x86\x88\x92\x94"]
_GREEDY = (
    b"r\xff\xff\xff\x7f", b"p4000000000\n", b"j\xff\xff\xff\x7f", b"L" + b"9" * 5000 + b"L\n",
    b"\x8b\xff\xff\xff\x7f", b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x95" + b"\xff" * 8,
)  # fmt: skip
_ODD = (b"q\x00", b"h\x00", b"I9\n", b"I-1\n", b"\x82\x01", b"P1\n", b"ctorch\nFloatStorage\n")
_PARTS = st.sampled_from((*_CALLS, *_BARE, *_GREEDY, *_ODD, _STORAGE, _TENSOR, _text("a")))
_programs = st.one_of(
    damaged(_STATE),
    st.lists(_PARTS, max_size=12).map(lambda parts: b"\x80\x02" + b"".join(parts)),
    st.builds(
        lambda parts, place: _STATE[:place] + b"".join(parts) + _STATE[place:],
        st.lists(_PARTS, min_size=1, max_size=4),
        st.integers(0, len(_STATE)),
    ),
    # Each tuple holds the one before twice: 2**40 to whoever hashes it.
    st.just(b"\x80\x02}(N" + b"".join(b"\x85q%c(h%ch%ct" % (n, n, n) for n in range(40)) + b"Nu."),
    st.just(b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b"."),
)


@fuzz(st.tuples(_programs, st.booleans(), st.integers(0, 32), st.sampled_from(("zip", "old", "bare"))), 1800)
def test_programs_of_pth_files(case, box):
    """`.pth` files whose program is strange."""
    program, packed, size, form = case
    path = box / "net.pth"
    if form == "zip":
        method = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("net/data.pkl", program)
            archive.writestr("net/data/0", b"\0" * size)
    else:
        magic = (
            b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}." if form == "old" else b""
        )
        path.write_bytes(
            magic + program + b"\x80\x02](" + _text("0") + b"e." + (4).to_bytes(8, "little") + b"\0" * size
        )
    with ours():
        assert all(isinstance(value, np.ndarray) for value in read_tensors(path).values())


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory):
    """A small network in every form, which the checks below damage."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 12, 3), name="image")
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="conv")(image)
    x = keras.layers.ReLU(name="relu")(keras.layers.BatchNormalization(name="norm")(x))
    x = keras.layers.Conv2DTranspose(3, 2, strides=2, name="up")(x)
    model = keras.Model(
        image, keras.layers.Add(name="add")([x, keras.layers.Conv2D(3, 1, name="skip")(image)])
    )
    directory = tmp_path_factory.mktemp("files")
    for suffix in ("keras", "h5"):
        model.save(directory / f"net.{suffix}")
    content = runtime.convert(model, "float32", "float32")
    (directory / "net.tflite").write_bytes(metadata.embed_metadata(content, "net", ("a", "b", "c")))
    (directory / "net.pth").write_bytes(b"")
    with zipfile.ZipFile(directory / "net.pth", "w") as archive:
        archive.writestr("net/data.pkl", _STATE)
        archive.writestr("net/data/0", b"\0" * 16)
    _files.update({path.suffix: path.read_bytes() for path in directory.iterdir()})
    with zipfile.ZipFile(directory / "net.keras") as archive:
        _files["parts"] = {name: archive.read(name) for name in archive.namelist()}
    yield
    _files.clear()


_files = {}


def _load(path):
    with ours():
        models.load(path)
    with ours():
        load_teacher(path)


@fuzz(st.data(), 500)
def test_damaged_pth_files(data, box):
    """`.pth` files with other bytes here and there."""
    (box / "net.pth").write_bytes(data.draw(damaged(_files[".pth"])))
    with ours():
        read_tensors(box / "net.pth")


@fuzz(st.data(), 300)
def test_damaged_keras_files(data, box):
    """`.keras` and `.h5` files with other bytes here and there."""
    suffix = data.draw(st.sampled_from((".keras", ".h5")))
    path = box / f"net{suffix}"
    path.write_bytes(data.draw(damaged(_files[suffix], most=3)))
    _load(path)


WORDS = """
Lambda Dense Conv2D Functional InputLayer TFOpLambda keras.layers os builtins a eval tf_keras.utils function
system posixpath keras.models __tuple__ image conv relu float16
"""
words = st.sampled_from(WORDS.split())
numbers = st.sampled_from((0, -1, 1, 2, 3, 10**5, 10**9, 2**31, 2**63, 0.5, float("nan"), float("inf")))


@fuzz(st.data(), 250)
def test_descriptions_of_keras_files(data, box):
    """`.keras` files whose description is another."""
    parts = dict(_files["parts"])
    name = data.draw(st.sampled_from(("config.json", "config.json", "config.json", "metadata.json")))
    parts[name] = json.dumps(data.draw(altered(json.loads(parts[name]), words | numbers | json_values)))
    if data.draw(st.integers(0, 9)) == 0:
        parts[name] = data.draw(st.sampled_from((b"[" * 50_000, b"\xff\xfe", b"", b"3", b"null")))
    path = box / "net.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for part, content in parts.items():
            archive.writestr(part, content)
    _load(path)


def test_a_description_cannot_ask_for_more_memory_than_its_file_has(tmp_path):
    """Layers of a million million weights in a file of some kilobytes."""
    parts = dict(_files["parts"])
    config = json.loads(parts["config.json"])
    next(layer for layer in config["config"]["layers"] if layer["name"] == "conv")["config"]["filters"] = (
        10**11
    )
    parts["config.json"] = json.dumps(config)
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        for part, content in parts.items():
            archive.writestr(part, content)
    with pytest.raises(ValueError, match=r"net\.keras' is not loaded: it describes weights larger than"):
        models.load(tmp_path / "net.keras")


def test_an_archive_cannot_unpack_to_more_memory_than_its_size_tells(tmp_path):
    """Zeros by the gigabyte pack well."""
    with zipfile.ZipFile(tmp_path / "net.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(200 << 20))
    with pytest.raises(ValueError, match=r"209,715,20\d bytes packed into"):
        models.load(tmp_path / "net.keras")


@st.composite
def _rewired(draw, content):
    """A well-formed `.tflite` whose operators read other tensors, or whose scales make no sense.

    LiteRT checks the form of a file, and crashes over some of these.
    """
    model = unpack(content)
    graph = model.subgraphs[0]
    for _ in range(draw(st.integers(1, 3))):
        operator, tensor = draw(st.sampled_from(graph.operators)), draw(st.sampled_from(graph.tensors))
        inputs = [int(number) for number in operator.inputs]
        place = draw(st.integers(0, len(inputs) - 1))
        inputs[place] = draw(st.sampled_from((-1, 10**6)) | st.integers(0, len(graph.tensors) - 1))
        operator.inputs = inputs
        if draw(st.booleans()):
            shape = [int(side) for side in tensor.shape]
            if shape:
                shape[draw(st.integers(0, len(shape) - 1))] = draw(
                    st.sampled_from((0, -1, 1, 65536, 2**31 - 1))
                )
            tensor.shape = shape
    return pack(model)


# A crash of LiteRT would end the tests: what reads a file tries it in a process of its own.
@fuzz(st.data(), 60)
def test_tflite_files(data, box):
    """`.tflite` files with other bytes here and there, read in every way that there is."""
    path = box / "net.tflite"
    strange = damaged(_files[".tflite"]) if data.draw(st.booleans()) else _rewired(_files[".tflite"])
    path.write_bytes(data.draw(strange))
    with working_children():
        with ours():
            runtime.profile(path)
        with ours():
            runtime.Network(path).predict(np.zeros((1, 8, 12, 3), np.uint8))
        with ours():
            load_teacher(path)


@fuzz(st.data(), 500)
def test_labels_of_tflite_files(data, box):
    """The archive behind a network."""
    content = _files[".tflite"]
    (box / "net.tflite").write_bytes(content[:64] + data.draw(damaged(content[-200:])))
    with ours():
        metadata.read_labels(box / "net.tflite")
