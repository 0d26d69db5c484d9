"""A .tflite as an object that can be edited, and back."""

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema


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
