"""A directory that an Android app takes as it is."""

import csv
import dataclasses
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tfsegkd import metrics, runtime
from tfsegkd._keras import keras
from tfsegkd.atomic import put_in_place, sha256, write_json
from tfsegkd.data.labels import distinct_colors
from tfsegkd.data.source import DatasetInfo
from tfsegkd.export.metadata import embed_metadata
from tfsegkd.export.output_variants import with_labels, without_last_resize
from tfsegkd.export.tflite import VARIANTS, export_tflite
from tfsegkd.export.try_page import TRY_PAGE, write_try_page
from tfsegkd.export.verify import verify
from tfsegkd.export.web_runtime import check_web_runtime
from tfsegkd.graph import check_functional, cost
from tfsegkd.quantization import check_observed, float_layers, post_training, strip
from tfsegkd.runtime.network import load_interpreter

INT8, FLOAT_IO, *_ = VARIANTS
LABELS, FLOAT16 = "model_labels.tflite", "model_float16.tflite"
CARD = "model_card.json"
_TEXTS = ("README.md", "MediaPipeSegmenter.kt", "LiteRtSegmenter.kt")
# A file that differs by more, in classes and in logits, is not the network that it was made from. Untrained
# networks, whose logits are nearly equal, differ in classes alone.
_LEAST_AGREEMENT, _MOST_STEPS = 0.9, 32
_PACKAGES = ("tfsegkd", "tensorflow", "tf-keras", "tensorflow-model-optimization", "ai-edge-litert")


@dataclasses.dataclass(frozen=True)
class BundledFile:
    """One network of a bundle, as read and measured from the file itself.

    Args:
        file: Its name.
        purpose: What it is for.
        input, output: The `dtype`, `shape` and `quantization` (scale and zero point, or None) of its ends.
        file_bytes, sha256: Its size and fingerprint.
        latency_ms: The median time for one image on the machine that made the bundle.
        device_ms: The time on the user's device, from the user's table; None if that does not know it.
        ops: How many operations there are of each type.
        float_ops: Those that compute on floats, by type and layer.
        delegate_partitions: Into how many pieces XNNPACK cuts the network; one is best.
        outside_delegate: The operations that it leaves to slower code.
        peak_bytes: The most bytes of activations that are needed at one time.
    """

    file: str
    purpose: str
    input: dict[str, Any]
    output: dict[str, Any]
    file_bytes: int
    sha256: str
    latency_ms: float
    device_ms: float | None
    ops: dict[str, int]
    float_ops: list[str]
    delegate_partitions: int
    outside_delegate: list[str]
    peak_bytes: int


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What is known of the network in a bundle.

    Args:
        name: The network's name.
        class_names: By label.
        size: (height, width) of its input.
        parameters, macs: What it costs, at this size.
        accuracy: What was measured of `model_int8.tflite`, or None.
        files: The networks.
        left_out: Why a file that other bundles have is not here, by name.
        golden: How well `golden_mask.png` agrees with the network that the bundle was made from.
        made: How the network became int8, its source, and the versions of what made it.
        timing: How `latency_ms` was measured.
        try_page: How `try.html` gets the runtime that it needs in a browser.
    """

    name: str
    class_names: tuple[str, ...]
    size: tuple[int, int]
    parameters: int
    macs: int
    accuracy: dict[str, Any] | None
    files: tuple[BundledFile, ...]
    left_out: dict[str, str]
    golden: dict[str, Any]
    made: dict[str, Any]
    timing: dict[str, Any]
    try_page: dict[str, Any]


def write_bundle(
    model: keras.Model,
    directory: str | os.PathLike,
    info: DatasetInfo,
    golden_image: np.ndarray,
    representative_data: np.ndarray | Iterable[np.ndarray] | None = None,
    measure: Callable[[Path], dict[str, Any]] | None = None,
    device_table: runtime.DeviceTable | None = None,
    source: str | None = None,
    overwrite: bool = False,
    num_threads: int = 1,
    web_runtime: str | os.PathLike | None = None,
) -> ModelCard:
    """Writes a network in every form that Android asks for, with labels, a test picture and a README.

    The directory appears when it is complete, and each of its files has run.

    Args:
        model: A network of `tfsegkd.quantization.quantize`, or a float one with `representative_data`.
        directory: Where to write.
        info: What the labels mean; without a palette the classes get colors.
        golden_image: A picture to check the files with, on any device. Its mask is made here by
            `model_int8.tflite`.
        representative_data: Images that show the ranges of a float network's tensors.
        measure: What measures the accuracy of a file, given its path; None to leave accuracy out.
        device_table: The user's own latencies of these files, by name.
        source: Where the network comes from, for the card.
        overwrite: Replace a directory that holds a bundle.
        num_threads: Processor threads for the timing.
        web_runtime: Where the runtime of `try.html` is unpacked; as of `write_try_page`.

    Shapes:
        golden_image: (H, W, 3), uint8, of the network's input size.
        representative_data: (N, H, W, 3), 0…255, of the same size.

    Raises:
        ValueError: if the directory is taken, the class names do not fit the network, the network is float
            and there is no representative data, its ranges were never observed, the data have another size
            or range, an operation stays in float, the int8 file does not do what the network does, or
            `web_runtime` is not the runtime that `try.html` is tested with.
    """
    directory = Path(directory)
    check_functional(model, "write_bundle")
    _check_directory(directory, overwrite)
    _check_fit(model, info, golden_image)
    check_web_runtime(web_runtime)
    if not info.palette:
        info = dataclasses.replace(info, palette=distinct_colors(info.num_classes))
    trained = runtime.is_quantization_aware(model)
    model = _int8_network(model, representative_data)
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place, for renaming works on one file system only.
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        purposes, left_out = _write_networks(model, temporary, info, num_threads)
        golden, mask = _write_golden(model, temporary, info, golden_image)
        page = write_try_page(
            temporary / TRY_PAGE, temporary / FLOAT_IO, info, golden_image, mask, web_runtime, model.name
        )
        files, timing = _measure_files(temporary, purposes, device_table, num_threads)
        price = cost(model)
        card = ModelCard(
            name=model.name,
            class_names=tuple(info.class_names),
            size=tuple(model.input_shape[1:3]),
            parameters=price.parameters,
            macs=price.macs,
            accuracy=measure(temporary / INT8) if measure else None,
            files=files,
            left_out=left_out,
            golden=golden,
            made={
                "source": source,
                "dataset": info.name,
                "quantization": _how(model, trained),
                "float_layers": list(float_layers(model)),
                "versions": _versions(),
            },
            timing=timing,
            try_page={"file": TRY_PAGE, "offline": page.offline, "note": page.note},
        )
        _write_texts(temporary, card, info)
        write_json(temporary / CARD, dataclasses.asdict(card))
        temporary.chmod(0o755)  # a temporary directory is its owner's alone
        put_in_place(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return card


def _check_directory(directory: Path, overwrite: bool) -> None:
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return
    if not overwrite:
        raise ValueError(f"{directory} exists already. Choose another directory, or pass overwrite=True.")
    if not (directory / CARD).is_file():
        raise ValueError(
            f"{directory} is no bundle: it has no {CARD}, and only bundles are replaced. Choose another "
            f"directory."
        )


def _check_fit(model: keras.Model, info: DatasetInfo, golden_image: np.ndarray) -> None:
    if len(info.class_names) != model.output_shape[-1]:
        raise ValueError(
            f"There are {len(info.class_names)} class names, {list(info.class_names)[:5]} and so on, and "
            f"{model.name!r} tells {model.output_shape[-1]} classes apart. Pass the labels that it was "
            f"trained with."
        )
    if golden_image.dtype != np.uint8 or golden_image.shape != tuple(model.input_shape[1:]):
        raise ValueError(
            f"The golden image must be uint8 {tuple(model.input_shape[1:])}, as the network takes it. "
            f"Received: {golden_image.dtype} {golden_image.shape}. Resize it."
        )


def _int8_network(model: keras.Model, representative_data) -> keras.Model:
    if not runtime.is_quantization_aware(model):
        if representative_data is None:
            raise ValueError(
                f"{model.name!r} is a float network: nothing says what ranges its tensors take. Pass "
                f"representative_data, a few dozen images, or quantize and train it first."
            )
        return post_training(model, representative_data)
    if representative_data is not None:
        raise ValueError(
            f"{model.name!r} is quantized and knows its ranges. Received: representative_data. Leave it out, "
            f"or pass the float network."
        )
    check_observed(model)
    return model


def _write_networks(
    model: keras.Model, directory: Path, info: DatasetInfo, num_threads: int
) -> tuple[dict[str, str], dict[str, str]]:
    """Writes the files; returns what each is for, and why others are missing."""
    allow_float = bool(float_layers(model))
    for name, options in VARIANTS.items():
        export_tflite(
            model,
            directory / name,
            metadata=info,
            allow_float=allow_float,
            num_threads=num_threads,
            **options,
        )
    purposes = {
        INT8: "MediaPipe Tasks, and LiteRT with raw pixels: the fastest",
        FLOAT_IO: "LiteRT with floats: 8 bits inside",
    }
    left_out = {}
    content = (directory / INT8).read_bytes()
    smaller = without_last_resize(content)
    if smaller:
        name = f"model_stride{smaller[1]}.tflite"
        (directory / name).write_bytes(embed_metadata(smaller[0], model.name, info.class_names))
        purposes[name] = f"logits {smaller[1]} times smaller, which the app enlarges: less time and memory"
    else:
        left_out["model_stride4.tflite"] = "the network does not end in a bilinear enlargement"
    if len(info.class_names) <= 256:
        (directory / LABELS).write_bytes(with_labels(content))
        purposes[LABELS] = "labels in place of logits, for LiteRT; MediaPipe would misread them"
    half = runtime.convert(strip(model), "float32", "float32", float16=True)
    (directory / FLOAT16).write_bytes(embed_metadata(half, model.name, info.class_names))
    purposes[FLOAT16] = "the GPU delegate"
    return purposes, left_out


def _write_golden(
    model: keras.Model, directory: Path, info: DatasetInfo, image: np.ndarray
) -> tuple[dict[str, Any], np.ndarray]:
    """Writes the picture and its mask; returns how good the mask is, and the mask."""
    found = verify(directory / INT8, model, image[None], layers=False)
    if found.int8_agreement < _LEAST_AGREEMENT and found.max_difference_steps > _MOST_STEPS:
        raise ValueError(
            f"{INT8} does not do what {model.name!r} does: they agree on {found.int8_agreement:.1%} of the "
            f"golden image's pixels, and logits differ by up to {found.max_difference_steps:.0f} steps. "
            f"Expected 98 % and a few. Is the image of the kind that the network was trained on?"
        )
    logits = runtime.Network(directory / INT8).predict(image[None])[0]
    mask = metrics.labels_at(logits, image.shape[:2])
    drawn = Image.fromarray(mask).convert("P")
    drawn.putpalette(np.array(info.palette, np.uint8).tobytes())
    drawn.save(directory / "golden_mask.png")
    Image.fromarray(image).save(directory / "golden_input.png")
    return {
        "input": "golden_input.png",
        "mask": "golden_mask.png",
        "made_by": INT8,
        "agreement": found.int8_agreement,
        "max_difference_steps": found.max_difference_steps,
    }, mask


def _measure_files(
    directory: Path, purposes: dict[str, str], device_table: runtime.DeviceTable | None, num_threads: int
) -> tuple[tuple[BundledFile, ...], dict[str, Any]]:
    timings = runtime.latency({name: directory / name for name in purposes}, num_threads=num_threads)

    def measured(name):
        path = directory / name
        operations, interpreter = runtime.profile(path), load_interpreter(path)
        return BundledFile(
            file=name,
            purpose=purposes[name],
            input=_end(interpreter.get_input_details()[0]),
            output=_end(interpreter.get_output_details()[0]),
            file_bytes=path.stat().st_size,
            sha256=sha256(path),
            latency_ms=timings[name].median_ms,
            device_ms=device_table.milliseconds(path) if device_table else None,
            **dataclasses.asdict(operations),
        )

    one = next(iter(timings.values()))
    return tuple(map(measured, purposes)), {
        "runs": one.runs,
        "num_threads": one.num_threads,
        "machine": "the one that made the bundle: compare its files with one another only",
    }


def _end(details: dict[str, Any]) -> dict[str, Any]:
    scale, zero_point = details["quantization"]
    return {
        "dtype": np.dtype(details["dtype"]).name,
        "shape": [int(side) for side in details["shape"]],
        "quantization": {"scale": float(scale), "zero_point": int(zero_point)} if scale else None,
    }


def _how(model: keras.Model, trained: bool) -> str:
    how = "quantization-aware training" if trained else "post-training, from representative data"
    return f"{how}, int8" + (", some layers in float" if float_layers(model) else "")


def _versions() -> dict[str, str]:
    def version(package):
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return "not installed as a package"

    return {package: version(package) for package in _PACKAGES}


def _write_texts(directory: Path, card: ModelCard, info: DatasetInfo) -> None:
    def write(name, text):
        (directory / name).write_text(text, encoding="utf-8")

    write("labels.txt", "".join(f"{name}\n" for name in info.class_names))
    colors = zip(info.palette, info.class_names, strict=True)
    write("colors.txt", "".join(f"{red} {green} {blue} {name}\n" for (red, green, blue), name in colors))
    table = io.StringIO()
    lines = csv.writer(table, lineterminator="\n")
    lines.writerow(("file", "ms", "sha256"))
    for one in card.files:
        lines.writerow((one.file, "" if one.device_ms is None else one.device_ms, one.sha256))
    write("latency_table.csv", table.getvalue())
    values = {
        "name": card.name,
        "height": card.size[0],
        "width": card.size[1],
        "classes": len(card.class_names),
        "agreement": f"{100 * card.golden['agreement']:.2f}",
        "files": "\n".join(map(_row, card.files)),
        "try_page": card.try_page["note"],
        "left_out": "".join(f"`{name}` is not here: {why}.\n\n" for name, why in card.left_out.items()),
    }
    for name in _TEXTS:
        text = (resources.files("tfsegkd.export") / "bundle_texts" / name).read_text(encoding="utf-8")
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        write(name, text)


def _row(one: BundledFile) -> str:
    ends = (f"{end['dtype']} {'×'.join(map(str, end['shape']))}" for end in (one.input, one.output))
    return f"| `{one.file}` | {one.purpose} | {' | '.join(ends)} | {one.file_bytes / 1000:,.0f} |"
