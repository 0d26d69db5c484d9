"""PyTorch files, written here byte by byte: tensors come out, anything else is refused unexecuted."""

import io
import pickle
import zipfile

import numpy as np
import pytest
from torch_pickles import call, named, number, state, storage, tensor, text, write

from tfsegkd.models import read_tensors

FLOATS = np.arange(24, dtype=np.float32) / 8
CODES = {"Float": "f4", "Double": "f8", "Half": "f2", "Long": "i8", "Int": "i4", "Short": "i2", "Char": "i1"}
KINDS = {f"{name}Storage": np.dtype(code) for name, code in {**CODES, "Byte": "u1", "Bool": "?"}.items()}
FORMATS = ("legacy", "zip")


def one(path, form, program=None, array=FLOATS, **options):
    """A file with one storage '0' and, unless a program is given, one tensor 'weight' on it."""
    options = {"shape": (24,), "strides": (1,), **options}
    program = program or state({"weight": tensor(storage("0", array.size), **options)})
    return write(path / "file.pth", program, {"0": array}, form)


@pytest.mark.parametrize("form", FORMATS)
def test_tensors_of_every_type_come_out_in_order(tmp_path, form):
    arrays = {name: (np.arange(6) % 2 if name == "BoolStorage" else np.arange(6)) for name in KINDS}
    arrays = {name: array.astype(KINDS[name]) for name, array in arrays.items()}
    entries = {f"layer.{n}": tensor(storage(n, 6, n), (2, 3), (3, 1)) for n in KINDS}
    tensors = read_tensors(write(tmp_path / "all.pth", state(entries), arrays, form))
    assert list(tensors) == list(entries)
    for name, array in arrays.items():
        assert tensors[f"layer.{name}"].dtype == KINDS[name]
        np.testing.assert_array_equal(tensors[f"layer.{name}"], array.reshape(2, 3))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("shape", "strides", "offset", "expected"),
    [
        ((2, 3, 4), (12, 4, 1), 0, FLOATS.reshape(2, 3, 4)),
        ((4, 3, 2), (1, 4, 12), 0, FLOATS.reshape(2, 3, 4).transpose(2, 1, 0)),
        ((3, 2), (4, 1), 13, FLOATS.reshape(6, 4)[3:, 1:3]),
        ((4,), (6,), 5, FLOATS[5::6]),
        ((2, 3), (0, 1), 1, np.tile(FLOATS[1:4], (2, 1))),
        ((), (), 23, FLOATS[23]),
        ((0, 5), (5, 1), 0, np.empty((0, 5), np.float32)),
    ],
    ids=["contiguous", "transposed", "offset", "strided", "expanded", "scalar", "empty"],
)
def test_strides_and_offsets_are_followed(tmp_path, form, shape, strides, offset, expected):
    read = read_tensors(one(tmp_path, form, shape=shape, strides=strides, offset=offset))["weight"]
    assert read.shape == shape
    np.testing.assert_array_equal(read, expected)
    assert read.flags.c_contiguous


@pytest.mark.parametrize("form", FORMATS)
def test_tensors_may_share_a_storage_and_be_parameters(tmp_path, form):
    view = tensor(storage("0", 24), (4,), (1,), 20)
    parameter = call(
        named("torch._utils", "_rebuild_parameter"), view, b"\x88", call(named("collections", "OrderedDict"))
    )
    program = state({"a": tensor(storage("0", 24), (24,), (1,)), "b": parameter})
    tensors = read_tensors(one(tmp_path, form, program))
    np.testing.assert_array_equal(tensors["a"][20:], tensors["b"])


SHORT = b"\x8c"


def by_stack(module, name):
    """The GLOBAL of protocol 4, whose names come from the stack."""
    return b"".join(SHORT + bytes([len(part)]) + part.encode() for part in (module, name)) + b"\x93"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("opcode", "called"), [(named, r"GLOBAL at byte \d+"), (by_stack, "STACK_GLOBAL")], ids=["2", "4"]
)
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("posix", "system"),
        ("os", "system"),
        ("builtins", "eval"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("collections", "OrderedDict.fromkeys"),
    ],
)
def test_other_names_are_refused_before_they_are_looked_up(tmp_path, form, opcode, called, module, name):
    witness = tmp_path / "witness"
    program = b"\x80\x04" + call(opcode(module, name), text(f"touch {witness}")) + b"."
    refusal = rf"file\.pth' .*its opcode {called} asks for {module}\.{name}, which is neither a tensor"
    with pytest.raises(ValueError, match=refusal):
        read_tensors(one(tmp_path, form, program))
    nested = state({"weight": call(opcode(module, name), text(f"touch {witness}"))})
    with pytest.raises(ValueError, match=refusal):
        read_tensors(one(tmp_path, form, nested))
    assert not witness.exists()


def test_calls_hidden_in_the_header_or_in_old_opcodes_are_refused(tmp_path):
    witness = tmp_path / "witness"
    path = tmp_path / "file.pth"
    old = b"(" + text(f"touch {witness}") + b"iposix\nsystem\n."  # INST names and calls in one
    for before in (b"", pickle.dumps(0x1950A86A20F9469CFC6C, 2)):
        path.write_bytes(before + old)
        at = len(before) + old.index(b"iposix")
        with pytest.raises(ValueError, match=rf"its opcode INST at byte {at} asks for posix\.system"):
            read_tensors(path)
    assert not witness.exists()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("opcode", "name"),
    [
        (b"(" + named("collections", "OrderedDict") + b"o", "OBJ"),
        (named("collections", "OrderedDict") + b")\x81", "NEWOBJ"),
        (b"\x82\x07", "EXT1"),
    ],
)
def test_objects_made_in_other_ways_are_refused(tmp_path, form, opcode, name):
    with pytest.raises(ValueError, match=rf"its opcode {name} at byte \d+ asks for an object"):
        read_tensors(one(tmp_path, form, state({"weight": opcode})))


@pytest.mark.parametrize("form", FORMATS)
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, form):
    whole = one(tmp_path, form).read_bytes()
    assert len(read_tensors(tmp_path / "file.pth")) == 1
    for length in range(0, len(whole), 9):
        (tmp_path / "cut.pth").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"Cannot read .*cut\.pth' as a PyTorch state dict"):
            read_tensors(tmp_path / "cut.pth")
    if form == "legacy":
        (tmp_path / "cut.pth").write_bytes(whole[:-1])
        with pytest.raises(ValueError, match="it ends inside storage 0"):
            read_tensors(tmp_path / "cut.pth")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((25,), (1,), 0),
        ((24,), (1,), 1),
        ((2,), (24,), 0),
        ((), (), 24),
        ((1,), (1,), -1),
        ((3,), (-1,), 2),
        ((-1,), (1,), 0),
        ((2, 2), (1,), 0),
    ],
)
def test_tensors_stay_inside_their_storage(tmp_path, form, shape, strides, offset):
    path = one(tmp_path, form, shape=shape, strides=strides, offset=offset)
    with pytest.raises(ValueError, match=r"outside its storage|larger than its storage|impossible shape"):
        read_tensors(path)


@pytest.mark.parametrize("form", FORMATS)
def test_a_small_file_does_not_fill_the_memory(tmp_path, form):
    endless = one(tmp_path, form, shape=(10**12,), strides=(0,))
    with pytest.raises(ValueError, match="a tensor is larger than its storage"):
        read_tensors(endless)


def test_a_compressed_archive_is_refused(tmp_path):
    with (
        zipfile.ZipFile(one(tmp_path, "zip")) as stored,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    with pytest.raises(ValueError, match=r"holds 'weights/data\.pkl' compressed"):
        read_tensors(tmp_path / "packed.pth")


@pytest.mark.parametrize("form", FORMATS)
def test_storages_must_be_as_long_as_they_say(tmp_path, form):
    program = state({"weight": tensor(storage("0", 23), (23,), (1,))})
    with pytest.raises(ValueError, match="storage 0"):
        read_tensors(one(tmp_path, form, program))
    program = state({"weight": tensor(storage("1", 24), (24,), (1,))})
    with pytest.raises(ValueError, match=r"storage 0 belongs to no tensor|data/1"):
        read_tensors(one(tmp_path, form, program))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"\x80\x02" + number(7) + b".", "it holds a int instead of a dictionary"),
        (state({"epoch": number(7)}), "entry 'epoch' is not a tensor"),
        (state({"raw": storage("0", 24)}), "entry 'raw' is not a tensor"),
        (state({"weight": tensor(number(7), (1,), (1,))}), "a tensor without a storage"),
        (state({"weight": storage("0", 24, tag="module")}), "it refers to a 'module'"),
    ],
)
def test_anything_but_named_tensors_is_refused(tmp_path, form, program, message):
    with pytest.raises(ValueError, match=message):
        read_tensors(one(tmp_path, form, program))


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "file.pth"
    for content in (b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\x80\x02."):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"file\.pth' as a PyTorch state dict"):
            read_tensors(path)
    path.write_bytes(pickle.dumps(7, 2))
    with pytest.raises(ValueError, match="magic number"):
        read_tensors(path)
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1002, 2))
    with pytest.raises(ValueError, match="protocol version"):
        read_tensors(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no tensors")
    with pytest.raises(ValueError, match=r"0 data\.pkl instead of one"):
        read_tensors(path)
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("form", FORMATS)
def test_pytorch_agrees(tmp_path, form):
    torch = pytest.importorskip("torch")
    path = one(tmp_path, form, shape=(4, 3, 2), strides=(1, 4, 12))
    theirs = torch.load(path, weights_only=True)["weight"].numpy()
    np.testing.assert_array_equal(read_tensors(path)["weight"], theirs)
    saved = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).state_dict()
    buffer = io.BytesIO()
    torch.save(saved, buffer, _use_new_zipfile_serialization=form == "zip")
    (tmp_path / "theirs.pth").write_bytes(buffer.getvalue())
    ours = read_tensors(tmp_path / "theirs.pth")
    assert list(ours) == list(saved)
    for name, value in saved.items():
        np.testing.assert_array_equal(ours[name], value.numpy())
