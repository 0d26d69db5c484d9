"""Running .tflite files that segment images."""

import contextlib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tfsegkd import _keras
from tfsegkd.runtime import workers

Quantization = tuple[float, int]
# Hashes of files that have run once without a crash.
_tried: set[bytes] = set()
_MEMORY, _SECONDS = 8 << 30, 120


def load_interpreter(network: str | os.PathLike | bytes, num_threads: int = 1) -> Any:
    """Returns a LiteRT interpreter with its default delegate and allocated tensors.

    LiteRT crashes on some damaged files, so files are first run in a subprocess. Content in memory is
    trusted.

    Raises:
        ValueError: if the file does not exist or is not a .tflite that LiteRT can run.
    """
    if isinstance(num_threads, bool) or not isinstance(num_threads, int) or num_threads < 1:
        raise ValueError(f"num_threads must be a whole number above 0. Received: {num_threads!r}.")
    if isinstance(network, bytes):
        name, content = f"{len(network)} bytes", network
    else:
        name = str(network)
        if not Path(network).is_file():
            raise ValueError(f"No network file at {name}. Check the path.")
        content = Path(network).read_bytes()
    try:
        if not isinstance(network, bytes):
            _try_out({hashlib.sha256(content).digest(): Path(network)})
        # With empty content, the interpreter would expect a path instead.
        interpreter = _keras.Interpreter(model_content=content or b"\0", num_threads=num_threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"LiteRT cannot load {name} as a .tflite: {reason.rstrip('.')}. Export the network again."
        ) from None
    return interpreter


def try_out_together(networks: Iterable[str | os.PathLike]) -> None:
    """Runs several files in one subprocess, so that `load_interpreter` need not start one for each.

    `load_interpreter` reports faults of the files.
    """
    files = [Path(network) for network in networks if Path(network).is_file()]
    with contextlib.suppress(ValueError, RuntimeError):
        _try_out({hashlib.sha256(path.read_bytes()).digest(): path for path in files})


def _try_out(files: dict[bytes, Path]) -> None:
    """Runs files once in a subprocess, unless that has been done for their contents."""
    files = {key: path for key, path in files.items() if key not in _tried}
    if not files:
        return
    paths = [str(path.resolve()) for path in files.values()]
    request = {"interpreter": _keras.Interpreter.__module__, "paths": paths, "memory": _MEMORY}
    workers.run("trial_worker.py", request, _SECONDS)
    _tried.update(files)


class Network:
    """Runs a .tflite on images, whatever the types of its input and output.

    Args:
        network: The path or content of a .tflite with one image input (1, H, W, 3), uint8, int8 or float32,
            and one output of logits (1, Y, X, C).
        num_threads: The number of threads.

    Raises:
        ValueError: for a file that is missing, damaged or has other inputs or outputs.

    Example:
        network = runtime.Network("student.tflite")
        network.predict(frames).shape  # (2, 32, 48, 11)
    """

    def __init__(self, network: str | os.PathLike | bytes, num_threads: int = 1):
        self._name = f"{len(network)} bytes" if isinstance(network, bytes) else str(network)
        self._interpreter = load_interpreter(network, num_threads)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        shapes = [tuple(map(int, end["shape"])) for end in (*inputs, *outputs)]
        if (
            (len(inputs), len(outputs)) != (1, 1)
            or [len(shape) for shape in shapes] != [4, 4]
            or (shapes[0][0], shapes[0][3], shapes[1][0]) != (1, 3, 1)
        ):
            raise ValueError(
                f"{self._name} is not a segmentation network: expected one input (1, H, W, 3) and one "
                f"output (1, Y, X, C). Received: {shapes}, {len(inputs)} of them inputs."
            )
        self._input, self._output = inputs[0], outputs[0]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The input shape, (H, W, 3)."""
        return tuple(map(int, self._input["shape"][1:]))

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """The output shape, (Y, X, C); smaller than the input if the last resize is left to the user."""
        return tuple(map(int, self._output["shape"][1:]))

    @property
    def num_classes(self) -> int:
        return self.output_shape[2]

    @property
    def input_quantization(self) -> Quantization | None:
        """The (scale, zero point) of the input; None if it is float."""
        return _quantization(self._input)

    @property
    def output_quantization(self) -> Quantization | None:
        """The (scale, zero point) of the output; None if it is float. The scale is one step of the logits."""
        return _quantization(self._output)

    @property
    def input_details(self) -> dict[str, Any]:
        """LiteRT's details of the input, for `encoded`."""
        return self._input

    @property
    def output_details(self) -> dict[str, Any]:
        """LiteRT's details of the output, for `decoded`."""
        return self._output

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Returns the logits of images.

        Shapes:
            images: (N, H, W, 3), uint8 or float, RGB in 0…255.
            returns: (N, Y, X, C), float32.

        Raises:
            ValueError: if the images do not have the network's size.
        """
        images = np.asarray(images)
        self.check_images(images)
        logits = np.empty((len(images), *self.output_shape), np.float32)
        for index, image in enumerate(images):
            self._interpreter.set_tensor(self._input["index"], encoded(image[None], self._input))
            self._interpreter.invoke()
            logits[index] = decoded(self._interpreter.get_tensor(self._output["index"]), self._output)[0]
        return logits

    def check_images(self, images: np.ndarray) -> None:
        """Checks that images have the network's size.

        Raises:
            ValueError: if they do not.
        """
        if images.shape[1:] != self.input_shape:
            expected = ", ".join(map(str, self.input_shape))
            raise ValueError(
                f"{self._name} takes images of shape (N, {expected}). Received: {images.shape}. Resize the "
                "images, or export the network at their size."
            )


def encoded(pixels: np.ndarray, end: dict[str, Any]) -> np.ndarray:
    """Converts pixels 0…255 to the type of an input.

    An 8-bit input takes raw pixels, whatever its scale; 128 is subtracted for int8.
    """
    dtype = end["dtype"]
    if not np.issubdtype(dtype, np.integer):
        return pixels.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(pixels) + limits.min, limits.min, limits.max).astype(dtype)


def decoded(values: np.ndarray, end: dict[str, Any]) -> np.ndarray:
    """Converts an output to float32."""
    quantization = _quantization(end)
    if quantization is None:
        return values.astype(np.float32)
    scale, zero_point = quantization
    return (values.astype(np.float32) - zero_point) * np.float32(scale)


def _quantization(end: dict[str, Any]) -> Quantization | None:
    scale, zero_point = end["quantization"]
    # A tensor without quantization has scale 0.
    return (float(scale), int(zero_point)) if scale else None
