"""Writes `.pth` files byte by byte, as torch.save does, without PyTorch."""

import pickle
import struct
import zipfile


# A small assembler of pickle opcodes, so that neither PyTorch nor a pickler of ours is needed.
def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    return b"I%d\n" % value


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def sequence(*items):
    return b"(" + b"".join(items) + b"t"


def call(function, *arguments):
    return function + sequence(*arguments) + b"R"


def storage(key, size, kind="FloatStorage", tag="storage"):
    return sequence(text(tag), named("torch", kind), text(key), text("cpu"), number(size)) + b"Q"


def tensor(source, shape, strides, offset=0):
    return call(
        named("torch._utils", "_rebuild_tensor_v2"),
        source,
        number(offset),
        sequence(*map(number, shape)),
        sequence(*map(number, strides)),
        b"\x89",  # requires_grad=False
        call(named("collections", "OrderedDict")),
    )


def state(entries):
    items = b"".join(text(name) + value for name, value in entries.items())
    return b"\x80\x02" + call(named("collections", "OrderedDict")) + b"(" + items + b"u."


def write(path, program, storages, form):
    """Writes a `.pth` as torch.save does; `storages` maps keys to arrays."""
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("weights/data.pkl", program)
            archive.writestr("weights/version", "3\n")
            for key, array in storages.items():
                archive.writestr(f"weights/data/{key}", array.tobytes())
        return path
    sizes = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, sizes)]
    parts += [program, pickle.dumps(list(storages), 2)]
    parts += [struct.pack("<q", array.size) + array.tobytes() for array in storages.values()]
    path.write_bytes(b"".join(parts))
    return path


def save(path, arrays):
    """A zip `.pth` of named arrays, as a state dict holds them."""
    kinds = {"float32": "FloatStorage", "int64": "LongStorage"}
    entries, storages = {}, {}
    for key, (name, array) in enumerate(arrays.items()):
        strides = [stride // array.itemsize for stride in array.strides]
        source = storage(str(key), array.size, kinds[array.dtype.name])
        entries[name] = tensor(source, array.shape, strides)
        storages[str(key)] = array
    return write(path, state(entries), storages, "zip")
