"""Bundles: directories with everything that an Android app needs."""

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
from tfsegkd.deprecation import renamed_arguments
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
# A file that differs by more, in classes and in logits, is wrong. Untrained networks, whose logits are nearly
# equal, differ in classes only.
_LEAST_AGREEMENT, _MOST_STEPS = 0.9, 32
_PACKAGES = ("tfsegkd", "tensorflow", "tf-keras", "tensorflow-model-optimization", "ai-edge-litert")


@dataclasses.dataclass(frozen=True)
class BundledFile:
    """A file of a bundle, with properties read and measured from the file.

    Args:
        file: The name.
        purpose: The purpose.
        input, output: The `dtype`, `shape` and `quantization` (scale and zero point, or None).
        file_bytes, sha256: The size and hash.
        latency_ms: The median latency on the machine that created the bundle.
        arm_instructions: The instructions for one image on the emulated core named in the card's `timing`;
            None if not counted, or if the file is for a GPU.
        device_ms: The latency on the user's device, from the user's table, or None.
        ops: The number of operations by type.
        float_ops: The float operations, by type and layer.
        delegate_partitions: The number of XNNPACK partitions; one is best.
        outside_delegate: The operations outside of the delegate.
        peak_bytes: The peak memory of activations in bytes.

    Example:
        # card = export.write_bundle(quantized, "android", info, golden_image=source[0][0])
        # {file.file: file.file_bytes for file in card.files}
    """

    file: str
    purpose: str
    input: dict[str, Any]
    output: dict[str, Any]
    file_bytes: int
    sha256: str
    latency_ms: float
    arm_instructions: int | None
    device_ms: float | None
    ops: dict[str, int]
    float_ops: list[str]
    delegate_partitions: int
    outside_delegate: list[str]
    peak_bytes: int


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """The model card of a bundle.

    Args:
        name: The network's name.
        class_names: By label.
        size: (height, width) of its input.
        parameters, macs: The cost at this size.
        accuracy: The accuracy of `model_int8.tflite`, or None.
        files: The files.
        left_out: The reasons why a file is missing, by name.
        golden: The agreement of `golden_mask.png` with the original network.
        made: The quantization method, the source, and the package versions.
        timing: How `latency_ms` was measured, and the core of `arm_instructions`.
        try_page: How `try.html` loads its runtime.

    Example:
        # card = export.write_bundle(quantized, "android", info, golden_image=source[0][0])
        # card.name, card.parameters, card.macs
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


@renamed_arguments(representative_data="calibration")
def write_bundle(
    model: keras.Model,
    directory: str | os.PathLike,
    info: DatasetInfo,
    golden_image: np.ndarray,
    calibration: np.ndarray | Iterable[np.ndarray] | None = None,
    measure: Callable[[Path], dict[str, Any]] | None = None,
    device_table: runtime.DeviceTable | None = None,
    source: str | None = None,
    overwrite: bool = False,
    num_threads: int = 1,
    web_runtime: str | os.PathLike | None = None,
    arm: bool = False,
) -> ModelCard:
    """Writes a bundle: all variants of a network for Android, with labels, a test image and a README.

    The directory appears when it is complete and each of its files has been run.

    Args:
        model: A network of `tfsegkd.quantization.quantize`, or a float one with `calibration`.
        directory: The directory to write.
        info: The classes; without a palette they get default colors.
        golden_image: A test image for devices. `model_int8.tflite` computes its mask.
        calibration: Calibration images for a float network.
        measure: A function that measures the accuracy of a file, given its path; None leaves accuracy out.
        device_table: The user's latencies of these files, by name.
        source: The origin of the network, for the model card.
        overwrite: Whether to replace an existing bundle.
        num_threads: The number of threads for latencies.
        web_runtime: The directory of the runtime of `try.html`; see `write_try_page`.
        arm: Whether to count the instructions of each file on an emulated Arm core, which takes seconds for a
            small network and needs qemu-user.

    Returns:
        What `model_card.json` holds.

    Shapes:
        golden_image: (H, W, 3), uint8, of the network's input size.
        calibration: (N, H, W, 3), 0…255, of the same size.

    Raises:
        ValueError: if the directory exists, the class names do not match the network, a float network has no
            calibration images, ranges were never observed, the data have another size or range, an
            operation stays in float, the int8 file differs from the network, or `web_runtime` is not the
            runtime that `try.html` is tested with.
        OSError: if Arm instructions are requested and the emulator is missing.

    Example:
        card = export.write_bundle(quantized, "android", info, golden_image=source[0][0])
        {file.file: file.file_bytes for file in card.files}
    """
    directory = Path(directory)
    check_functional(model, "write_bundle")
    _check_directory(directory, overwrite)
    _check_fit(model, info, golden_image)
    check_web_runtime(web_runtime)
    if arm:
        runtime.arm.check()
    if not info.palette:
        info = dataclasses.replace(info, palette=distinct_colors(info.num_classes))
    trained = runtime.is_quantization_aware(model)
    model = _int8_network(model, calibration)
    directory.parent.mkdir(parents=True, exist_ok=True)
    # In the same directory, because renaming needs the same file system.
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        purposes, left_out = _write_networks(model, temporary, info, num_threads)
        golden, mask = _write_golden(model, temporary, info, golden_image)
        page = write_try_page(
            temporary / TRY_PAGE, temporary / FLOAT_IO, info, golden_image, mask, web_runtime, model.name
        )
        files, timing = _measure_files(temporary, purposes, device_table, num_threads, arm)
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
        temporary.chmod(0o755)  # a temporary directory has restricted permissions
        put_in_place(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return card


def _check_directory(directory: Path, overwrite: bool) -> None:
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return
    if not overwrite:
        raise ValueError(f"{directory} already exists. Choose another directory, or pass overwrite=True.")
    if not (directory / CARD).is_file():
        raise ValueError(
            f"{directory} is no bundle, because it has no {CARD}; only bundles are replaced. Choose another "
            f"directory."
        )


def _check_fit(model: keras.Model, info: DatasetInfo, golden_image: np.ndarray) -> None:
    if len(info.class_names) != model.output_shape[-1]:
        raise ValueError(
            f"There are {len(info.class_names)} class names, {list(info.class_names)[:5]} and so on, and "
            f"{model.name!r} predicts {model.output_shape[-1]} classes. Pass the labels that it was "
            f"trained with."
        )
    if golden_image.dtype != np.uint8 or golden_image.shape != tuple(model.input_shape[1:]):
        raise ValueError(
            f"The golden image must be uint8 {tuple(model.input_shape[1:])}, the network's input. "
            f"Received: {golden_image.dtype} {golden_image.shape}. Resize it."
        )


def _int8_network(model: keras.Model, calibration) -> keras.Model:
    if not runtime.is_quantization_aware(model):
        if calibration is None:
            raise ValueError(
                f"{model.name!r} is a float network: nothing says what ranges its tensors take. Pass "
                f"calibration, a few dozen images, or quantize and train it first."
            )
        return post_training(model, calibration)
    if calibration is not None:
        raise ValueError(
            f"{model.name!r} is quantized and has ranges. Received: calibration. Leave it out, "
            f"or pass the float network."
        )
    check_observed(model)
    return model


def _write_networks(
    model: keras.Model, directory: Path, info: DatasetInfo, num_threads: int
) -> tuple[dict[str, str], dict[str, str]]:
    """Writes the files; returns the purpose of each, and why others are missing."""
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
        FLOAT_IO: "LiteRT with float input and output around int8",
    }
    left_out = {}
    content = (directory / INT8).read_bytes()
    smaller = without_last_resize(content)
    if smaller:
        name = f"model_stride{smaller[1]}.tflite"
        (directory / name).write_bytes(embed_metadata(smaller[0], model.name, info.class_names))
        purposes[name] = f"logits {smaller[1]} times smaller, which the app upsamples: less time and memory"
    else:
        left_out["model_stride4.tflite"] = "the network does not end in a bilinear resize"
    if len(info.class_names) <= 256:
        (directory / LABELS).write_bytes(with_labels(content))
        purposes[LABELS] = "labels instead of logits, for LiteRT; MediaPipe would misread them"
    half = runtime.convert(strip(model), "float32", "float32", float16=True)
    (directory / FLOAT16).write_bytes(embed_metadata(half, model.name, info.class_names))
    purposes[FLOAT16] = "the GPU delegate"
    return purposes, left_out


def _write_golden(
    model: keras.Model, directory: Path, info: DatasetInfo, image: np.ndarray
) -> tuple[dict[str, Any], np.ndarray]:
    """Writes the test image and its mask; returns the agreement of the mask, and the mask."""
    found = verify(directory / INT8, model, image[None], layers=False)
    if found.int8_agreement < _LEAST_AGREEMENT and found.max_difference_steps > _MOST_STEPS:
        raise ValueError(
            f"{INT8} differs from {model.name!r}: they agree on {found.int8_agreement:.1%} of the "
            f"golden image's pixels, and logits differ by up to {found.max_difference_steps:.0f} steps. "
            f"Expected 98 % and a few. Use an image like those of the training data."
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
    directory: Path,
    purposes: dict[str, str],
    device_table: runtime.DeviceTable | None,
    num_threads: int,
    arm: bool,
) -> tuple[tuple[BundledFile, ...], dict[str, Any]]:
    timings = runtime.latency({name: directory / name for name in purposes}, num_threads=num_threads)

    counted, core = {}, None
    if arm:
        names = [name for name in purposes if name != FLOAT16]
        found = runtime.arm.count_together([directory / name for name in names], ops=False)
        counted = {name: one.instructions for name, one in zip(names, found, strict=True)}
        core = found[0].core

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
            arm_instructions=counted.get(name),
            device_ms=device_table.milliseconds(path) if device_table else None,
            **dataclasses.asdict(operations),
        )

    one = next(iter(timings.values()))
    return tuple(map(measured, purposes)), {
        "runs": one.runs,
        "num_threads": one.num_threads,
        "machine": "the machine that created the bundle: compare only files of the same bundle",
        "arm_core": core,
    }


def _end(details: dict[str, Any]) -> dict[str, Any]:
    scale, zero_point = details["quantization"]
    return {
        "dtype": np.dtype(details["dtype"]).name,
        "shape": [int(side) for side in details["shape"]],
        "quantization": {"scale": float(scale), "zero_point": int(zero_point)} if scale else None,
    }


def _how(model: keras.Model, trained: bool) -> str:
    how = "quantization-aware training" if trained else "post-training, from calibration images"
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
        "files": _table(card),
        "try_page": card.try_page["note"],
        "left_out": "".join(f"`{name}` is missing: {why}.\n\n" for name, why in card.left_out.items()),
    }
    for name in _TEXTS:
        text = (resources.files("tfsegkd.export") / "bundle_texts" / name).read_text(encoding="utf-8")
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        write(name, text)


def _table(card: ModelCard) -> str:
    """The files, and what Arm instructions are where they were counted."""
    core = card.timing["arm_core"]
    heads, rules = ["file", "what for", "input", "output", "KB"], ["---"] * 4 + ["---:"]
    if core:
        heads.append("M Arm instructions")
        rules.append("---:")
    lines = [heads, rules]
    for one in card.files:
        ends = (f"{end['dtype']} {'×'.join(map(str, end['shape']))}" for end in (one.input, one.output))
        lines.append([f"`{one.file}`", one.purpose, *ends, f"{one.file_bytes / 1000:,.0f}"])
        if core:
            counted = one.arm_instructions
            lines[-1].append("–" if counted is None else f"{counted / 1e6:,.1f}")
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    if not core:
        return table
    return (
        f"{table}\n\nInstructions are those of one image on one thread of an emulated {core}. They are not "
        f"milliseconds: they\ncompare these files with one another; how to time them on the phone is below."
    )
