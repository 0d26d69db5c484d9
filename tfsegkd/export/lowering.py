"""Rewrites of int8 files into operations that need fewer instructions on Arm.

Each rewrite replaces a pattern of a .tflite by an equivalent one, up to one step of int8.
"""

import copy
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from tfsegkd.runtime.model_file import Editor, schema

_INT8, _UINT8, _INT32 = schema.TensorType.INT8, schema.TensorType.UINT8, schema.TensorType.INT32
# A bilinear kernel processes 16 channels at once, and takes as long for fewer.
_FEW_CHANNELS = 14
# What may follow the last enlargement: images padded to a multiple of the stride have cropped logits.
_AFTER_ENLARGING = ("DEQUANTIZE", "SLICE", "STRIDED_SLICE")
# Maximum distance, in pixel values, of a channel's mean from the integer that pads the image.
_BORDER = 0.5


def fold_normalization(editor: Editor) -> bool:
    """Folds the normalization of pixels into the first convolution, which then takes raw pixels.

    The zero point of the input becomes the mean, so that zero padding still pads with the mean. The integers
    of the kernel do not change, because a common factor goes into its scale. If channels have different means
    or deviations, or the input is not uint8, there is no such zero point and nothing is changed.
    """
    found = _normalization(editor)
    if found is None or editor.tensors[editor.inputs[0]].type != _UINT8:
        return False
    layer, pixels, factors, offsets = found
    chain = [layer]
    consumer = _sole_consumer(editor, int(layer.outputs[0]))
    if consumer is not None and editor.kind(consumer) == "PAD":
        chain.append(consumer)
        consumer = _sole_consumer(editor, int(consumer.outputs[0]))
    if (
        consumer is None
        or editor.kind(consumer) != "CONV_2D"
        or _scale(editor, int(consumer.inputs[1])) is None
    ):
        return False
    means = -offsets / factors
    mean, factor = int(np.rint(means.mean())), float(factors.mean())
    if np.abs(means - mean).max() > _BORDER + 1e-3 or np.ptp(factors) > 1e-5 * factor or not 0 < mean < 255:
        return False
    kernel, scales = int(consumer.inputs[1]), _scale(editor, int(consumer.inputs[1]))
    values = editor.values(kernel)
    # The difference between zero point and mean is the same at every position.
    shift = (values * scales.reshape(-1, 1, 1, 1)).astype(np.float64) @ (factors * mean + offsets)
    biases = np.zeros(len(values)) if len(consumer.inputs) < 3 else _real(editor, int(consumer.inputs[2]))
    steps = scales * factor
    # A channel of tiny weights has so small a scale that its bias may exceed int32; the converter clips it,
    # too.
    biases = np.divide(biases + shift.sum((1, 2)), steps, out=np.zeros(len(values)), where=steps > 0)
    whole = np.iinfo(np.int32)
    biases = np.clip(np.rint(biases), whole.min, whole.max).astype(np.int32)
    constants = [
        _constant(editor, kernel, values, steps),
        _constant(editor, kernel, biases, steps, _INT32),
    ]
    _set_quantization(editor, editor.inputs[0], 1.0, mean)
    _set_quantization(editor, pixels, 1.0, mean - 128)
    consumer.inputs = [*map(int, consumer.inputs[:1]), *constants]
    first = chain[1] if len(chain) > 1 else consumer
    first.inputs = [pixels, *map(int, first.inputs[1:])]
    if len(chain) > 1:
        _set_quantization(editor, int(chain[1].outputs[0]), 1.0, mean - 128)
    editor.replace(layer)
    return True


def widen_normalization(editor: Editor) -> bool:
    """Normalizes a row of pixels as one position with many channels, because kernels process 16 at once."""
    found = _normalization(editor)
    if found is None:
        return False
    layer, pixels, *_ = found
    _, height, width, channels = editor.shape(pixels)
    if len(editor.operators) < 2 or editor.shape(int(layer.inputs[1])) != (1, 1, 1, channels):
        return False
    flat = (1, height, 1, width * channels)
    before, after = editor.add_like(pixels, flat), editor.add_like(int(layer.outputs[0]), flat)
    wide = copy.copy(layer)
    wide.inputs = [before, *(_repeated(editor, int(one), width) for one in layer.inputs[1:])]
    wide.outputs = [after]
    editor.replace(
        layer, _reshape(editor, pixels, before), wide, _reshape(editor, after, int(layer.outputs[0]))
    )
    return True


def add_without_enlarging(editor: Editor) -> bool:
    """Replaces the upsampling of a single position before an addition by broadcasting."""
    found = False
    for resize in editor.find("RESIZE_BILINEAR"):
        small, large = int(resize.inputs[0]), int(resize.outputs[0])
        consumer = _sole_consumer(editor, large)
        if (
            editor.shape(small)[1:3] != (1, 1)
            or consumer is None
            or editor.kind(consumer) not in ("ADD", "MUL")
        ):
            continue
        others = [int(tensor) for tensor in consumer.inputs if int(tensor) != large]
        if len(others) == 1 and editor.shape(others[0]) == editor.shape(large):
            consumer.inputs = [small if int(tensor) == large else int(tensor) for tensor in consumer.inputs]
            editor.replace(resize)
            found = True
    return found


def enlarge_in_two_steps(editor: Editor) -> bool:
    """Resizes logits along rows first, and then all columns of a row together.

    The cost of the bilinear kernel is per position, and logits have many positions with few channels. In the
    second step a position is a whole row. Values are rounded once more than in a single resize.
    """
    resize = editor.producer(editor.outputs[0])
    while resize is not None and editor.kind(resize) in _AFTER_ENLARGING:
        resize = editor.producer(int(resize.inputs[0]))
    if resize is None or editor.kind(resize) != "RESIZE_BILINEAR":
        return False
    small, large = int(resize.inputs[0]), int(resize.outputs[0])
    (_, rows, columns, channels), (_, height, width, _) = editor.shape(small), editor.shape(large)
    if rows == height or columns == width or (rows, columns) == (1, 1):
        return False
    wide = editor.add_like(small, (1, rows, width, channels))
    flat = editor.add_like(small, (1, rows, 1, width * channels))
    tall = editor.add_like(small, (1, height, 1, width * channels))
    editor.replace(
        resize,
        _resize(editor, resize, small, wide),
        _reshape(editor, wide, flat),
        _resize(editor, resize, flat, tall),
        _reshape(editor, tall, large),
    )
    return True


def enlarge_columns_by_convolution(editor: Editor) -> bool:
    """Enlarges the rows of few logits, the first of two steps, with a convolution of two neighbours.

    Between two pixels lie as many new ones as the factor says, each a mean of the two. A convolution gives
    all of them at once as its channels, with dot products; a bilinear kernel would visit each. At the border
    a pixel is its own neighbour, so that the first and the last come twice, and half of their means go.
    """
    for resize in editor.find("RESIZE_BILINEAR"):
        small, large = int(resize.inputs[0]), int(resize.outputs[0])
        (_, rows, columns, channels), (_, height, width, _) = editor.shape(small), editor.shape(large)
        # The weights are odd parts of twice the factor, whole numbers of int8 for these.
        fits = rows == height and any(width == factor * columns for factor in (2, 4, 8, 16, 32))
        view = _sole_consumer(editor, large)
        if (
            fits
            and channels <= _FEW_CHANNELS
            and resize.builtinOptions.halfPixelCenters
            and editor.tensors[small].type == _INT8
            and view is not None
            and editor.kind(view) == "RESHAPE"
            and editor.shape(int(view.outputs[0])) == (1, rows, 1, width * channels)
        ):
            break
    else:
        return False
    factor = width // columns

    def made(*shape):
        return editor.add_like(small, (1, rows, *shape))

    first, last, padded = made(1, channels), made(1, channels), made(columns + 2, channels)
    between, flat = made(columns + 1, factor * channels), made(1, (columns + 1) * factor * channels)
    joined, plain = schema.ConcatenationOptionsT(), schema.Conv2DOptionsT()
    joined.axis = 2
    plain.padding, plain.strideH, plain.strideW = schema.Padding.VALID, 1, 1
    plain.dilationHFactor = plain.dilationWFactor = 1
    editor.replace(
        resize,
        _slice(editor, small, (0, 0, 0, 0), first),
        _slice(editor, small, (0, 0, columns - 1, 0), last),
        editor.make("CONCATENATION", [first, small, last], [padded], joined, 2),
        editor.make("CONV_2D", [padded, *_means(editor, small, factor)], [between], plain, 3),
        _reshape(editor, between, flat),
    )
    editor.replace(view, _slice(editor, flat, (0, 0, 0, factor // 2 * channels), int(view.outputs[0])))
    return True


CHANGES: dict[str, Callable[[Editor], bool]] = {
    "fold_normalization": fold_normalization,
    "widen_normalization": widen_normalization,
    "add_without_enlarging": add_without_enlarging,
    "enlarge_in_two_steps": enlarge_in_two_steps,
    "enlarge_columns_by_convolution": enlarge_columns_by_convolution,
}


def lower_for_arm(content: bytes, changes: Iterable[str] = tuple(CHANGES)) -> tuple[bytes, tuple[str, ...]]:
    """Rewrites a .tflite with operations that need fewer instructions on Arm.

    Args:
        content: An int8 or float .tflite. Embed labels afterwards, because they are dropped.
        changes: The names of rewrites of `CHANGES`, in order.

    Returns:
        The new .tflite, and the names of the applied rewrites.

    Example:
        content, changes = export.lower_for_arm(Path("student.tflite").read_bytes())
    """
    editor = Editor(content)
    applied = tuple(name for name in changes if CHANGES[name](editor))
    if not applied:
        return content, ()
    editor.drop_unused()
    return editor.pack(), applied


def fingerprint() -> str:
    """Identifies the rewrites: costs that were counted on exported files hold for one fingerprint."""
    source = Path(__file__).read_text(encoding="utf-8")
    return hashlib.sha256("\n".join([source, *CHANGES]).encode()).hexdigest()


def _normalization(editor: Editor) -> tuple[schema.OperatorT, int, np.ndarray, np.ndarray] | None:
    """Returns the 1×1 depthwise convolution of the pixels: operator, input, factors and offsets."""
    layer, pixels = _sole_consumer(editor, editor.inputs[0]), editor.inputs[0]
    if layer is not None and editor.kind(layer) == "QUANTIZE":
        pixels = int(layer.outputs[0])
        layer = _sole_consumer(editor, pixels)
    if layer is None or editor.kind(layer) != "DEPTHWISE_CONV_2D" or len(layer.inputs) < 3:
        return None
    options = layer.builtinOptions
    plain = options.fusedActivationFunction == schema.ActivationFunctionType.NONE
    if not plain or (options.strideH, options.strideW) != (1, 1):
        return None
    factors, offsets = (_real(editor, int(tensor)) for tensor in layer.inputs[1:3])
    if factors is None or offsets is None or factors.size != editor.shape(pixels)[-1] or not factors.all():
        return None
    return layer, pixels, factors.ravel(), offsets


def _sole_consumer(editor: Editor, tensor: int) -> schema.OperatorT | None:
    consumers = [one for one in editor.operators if tensor in one.inputs]
    return consumers[0] if len(consumers) == 1 and tensor not in editor.outputs else None


def _scale(editor: Editor, tensor: int) -> np.ndarray | None:
    """Returns the scale of each channel of a constant; None for floats."""
    found = editor.tensors[tensor].quantization
    if editor.values(tensor) is None or found is None or found.scale is None:
        return None
    return np.asarray(found.scale, np.float64)


def _real(editor: Editor, tensor: int) -> np.ndarray | None:
    """Returns the dequantized values of a constant."""
    values, scale = editor.values(tensor), _scale(editor, tensor)
    if values is None or values.dtype == np.float32:
        return None if values is None else values.astype(np.float64)
    return None if scale is None else values * scale


def _set_quantization(editor: Editor, tensor: int, scale, zero_point: int) -> None:
    new = schema.QuantizationParametersT()
    new.scale = np.atleast_1d(np.asarray(scale, np.float32))
    new.zeroPoint = np.full(len(new.scale), zero_point, np.int64)
    new.quantizedDimension = 0
    editor.tensors[tensor].quantization = new


def _constant(editor: Editor, like: int, values: np.ndarray, scale, number_format: int | None = None) -> int:
    number = editor.add_like(like, values.shape, values)
    editor.tensors[number].type = editor.tensors[like].type if number_format is None else number_format
    _set_quantization(editor, number, scale, 0)
    return number


def _repeated(editor: Editor, tensor: int, times: int) -> int:
    """Adds a constant with repeated channels."""
    values = editor.values(tensor)
    shape = (*values.shape[:-1], values.shape[-1] * times)
    number = editor.add_like(tensor, shape, np.tile(values, times))
    found = editor.tensors[tensor].quantization
    if found is not None and found.scale is not None and len(found.scale) > 1:
        new = copy.copy(found)
        new.scale, new.zeroPoint = np.tile(found.scale, times), np.tile(found.zeroPoint, times)
        new.min = new.max = None
        editor.tensors[number].quantization = new
    return number


def _means(editor: Editor, like: int, factor: int) -> tuple[int, int]:
    """A kernel and biases that give all means of a pixel and the next one, for each channel separately."""
    channels = editor.shape(like)[-1]
    kernel = np.zeros((factor, channels, 1, 2, channels), np.int8)
    later = (2 * np.arange(factor) + 1) * (64 // factor)
    for channel in range(channels):
        kernel[:, channel, 0, 0, channel], kernel[:, channel, 0, 1, channel] = 128 - later, later
    kernel = kernel.reshape(-1, 1, 2, channels)
    steps = np.full(len(kernel), 1 / 128)
    scale = float(editor.tensors[like].quantization.scale[0])
    return (
        _constant(editor, like, kernel, steps),
        _constant(editor, like, np.zeros(len(kernel), np.int32), scale * steps, _INT32),
    )


def _slice(editor: Editor, tensor: int, begin: Sequence[int], into: int) -> schema.OperatorT:
    positions = [
        editor.add_tensor(f"{name};{len(editor.tensors) + 1}", (4,), _INT32, np.int32(values))
        for name, values in (("begin", begin), ("size", editor.shape(into)))
    ]
    return editor.make("SLICE", [tensor, *positions], [into], schema.SliceOptionsT(), 2)


def _reshape(editor: Editor, tensor: int, into: int) -> schema.OperatorT:
    shape = editor.shape(into)
    options = schema.ReshapeOptionsT()
    options.newShape = list(shape)
    target = editor.add_tensor(f"shape;{len(editor.tensors) + 1}", (len(shape),), _INT32, np.int32(shape))
    return editor.make("RESHAPE", [tensor, target], [into], options)


def _resize(editor: Editor, like: schema.OperatorT, tensor: int, into: int) -> schema.OperatorT:
    size = np.int32(editor.shape(into)[1:3])
    new = copy.copy(like)
    target = editor.add_tensor(f"size;{len(editor.tensors) + 1}", (2,), _INT32, size)
    new.inputs, new.outputs = [tensor, target], [into]
    return new
