"""A .tflite that segments images."""

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
# Contents that have run once without a crash. A network for a phone needs far less than this.
_tried: set[bytes] = set()
_MEMORY, _SECONDS = 8 << 30, 120


def load_interpreter(network: str | os.PathLike | bytes, num_threads: int = 1) -> Any:
    """A LiteRT interpreter, with its default delegate, that is ready to be fed.

    A file may come from anywhere, and LiteRT crashes over some that are damaged: what a path names is first
    run in a process of its own. Content in memory is taken to be ours.

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
        # Given an empty content, the interpreter would ask for a path instead.
        interpreter = _keras.Interpreter(model_content=content or b"\0", num_threads=num_threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"LiteRT cannot load {name} as a .tflite: {reason.rstrip('.')}. Export the network again."
        ) from None
    return interpreter


def try_out_together(networks: Iterable[str | os.PathLike]) -> None:
    """Tries files in one process, so that `load_interpreter` need not start one for each.

    What is wrong with one of them is for `load_interpreter` to say.
    """
    files = [Path(network) for network in networks if Path(network).is_file()]
    with contextlib.suppress(ValueError, RuntimeError):
        _try_out({hashlib.sha256(path.read_bytes()).digest(): path for path in files})


def _try_out(files: dict[bytes, Path]) -> None:
    """Runs files once, by the fingerprints of their contents, unless that has been done."""
    files = {key: path for key, path in files.items() if key not in _tried}
    if not files:
        return
    paths = [str(path.resolve()) for path in files.values()]
    request = {"interpreter": _keras.Interpreter.__module__, "paths": paths, "memory": _MEMORY}
    workers.run("trial_worker.py", request, _SECONDS)
    _tried.update(files)


class Network:
    """Runs a .tflite on images, whatever number format its ends have.

    Args:
        network: Path or content of a .tflite that takes one image (1, H, W, 3), uint8, int8 or float32,
            and gives one tensor of logits (1, Y, X, C).
        num_threads: Processor threads to run on.

    Raises:
        ValueError: for a file that is missing, damaged or of another form.
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
        """(H, W, 3)."""
        return tuple(map(int, self._input["shape"][1:]))

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """(Y, X, C); Y and X differ from the input's where the file leaves the last resize to its user."""
        return tuple(map(int, self._output["shape"][1:]))

    @property
    def num_classes(self) -> int:
        return self.output_shape[2]

    @property
    def input_quantization(self) -> Quantization | None:
        """(scale, zero point) of the input; None if it is float."""
        return _quantization(self._input)

    @property
    def output_quantization(self) -> Quantization | None:
        """(scale, zero point) of the output; None if it is float. The scale is one step of the logits."""
        return _quantization(self._output)

    @property
    def input_details(self) -> dict[str, Any]:
        """What LiteRT tells of the input, as `encoded` takes it."""
        return self._input

    @property
    def output_details(self) -> dict[str, Any]:
        """What LiteRT tells of the output, as `decoded` takes it."""
        return self._output

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The logits of images.

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
        """Refuses images that do not have the network's size.

        Raises:
            ValueError: if there are any.
        """
        if images.shape[1:] != self.input_shape:
            expected = ", ".join(map(str, self.input_shape))
            raise ValueError(
                f"{self._name} takes images of shape (N, {expected}). Received: {images.shape}. Resize the "
                "images, or export the network at their size."
            )


def encoded(pixels: np.ndarray, end: dict[str, Any]) -> np.ndarray:
    """Pixels 0…255 as the input `end` of a network takes them, the way its clients feed them.

    An input of 8 bits takes raw pixels, whatever it reads them as; signed ones are moved down by 128.
    """
    dtype = end["dtype"]
    if not np.issubdtype(dtype, np.integer):
        return pixels.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(pixels) + limits.min, limits.min, limits.max).astype(dtype)


def decoded(values: np.ndarray, end: dict[str, Any]) -> np.ndarray:
    """What the output `end` of a network says, as float32."""
    quantization = _quantization(end)
    if quantization is None:
        return values.astype(np.float32)
    scale, zero_point = quantization
    return (values.astype(np.float32) - zero_point) * np.float32(scale)


def _quantization(end: dict[str, Any]) -> Quantization | None:
    scale, zero_point = end["quantization"]
    # An unquantized tensor has scale 0.
    return (float(scale), int(zero_point)) if scale else None
