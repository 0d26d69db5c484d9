"""Our quantization beside what others make of the same networks."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.one_quantization import WAYS
from benchmarks.rows import Column, Row, line, table
from tfsegkd import models, runtime
from tfsegkd.atomic import write_atomically, write_json
from tfsegkd.data import Source, resize_image, spread
from tfsegkd.evaluation import evaluate
from tfsegkd.recipe.provenance import provenance
from tfsegkd.runtime import workers

NETWORKS = ("unet(width=16)", "erfnet", "mobile_unet")
FOREIGN = "ai-edge-quantizer"
REQUIREMENT = f"{FOREIGN}==0.10.0"
_IMAGES = 32
_DOCUMENT = """# Quantization, side by side

Written by `python tools/benchmark.py quantization`; figures in `quantization_compared.json`.

{rows}

Every way starts from the same float network and sees the same {images} images. *tfsegkd*:
calibration alone, `quantization.post_training`, uint8 input. *TF-MOT*: what `quantize_model` does,
layers of our own left as they are, its ranges observed on these images, then
`TFLiteConverter.from_keras_model`. *converter*: `from_keras_model` with representative images,
int8 throughout; *16x8*: with activations of 16 bits, at a fixed size and floats at its ends.
*ai-edge-quantizer* ({requirement}): `static_wi8_ai8` on our float file, floats at its ends. Milliseconds are
medians for one image on one thread of an x86 machine that had other work to do; all files of a network ran in
turn, so read the ratios to float. *Agreement*: the share of pixels with the class that the float file
chooses. {remark}
{causes}"""

_COLUMNS = (
    Column("network", "name", "`{}`"),
    Column("size", lambda row: "×".join(map(str, row["size"]))),
    Column("way"),
    Column("float ops", lambda row: "**raises**" if row.get("cause") else row["float_ops"]),
    Column("partitions"),
    Column("KB", "file_bytes", "{:,.0f}", 1e-3),
    Column("ms", "latency_ms", "{:,.2f}"),
    Column("÷ float", "ratio", "{:,.2f}"),
    Column("agreement %", "agreement", "{:,.2f}", 100),
    Column("mean IoU %", "mean_iou", "{:,.2f}", 100),
)


def run(
    results: Path,
    document: Path,
    train: Source,
    val: Source,
    size: tuple[int, int] = (192, 256),
    networks: Sequence[str] = NETWORKS,
    rounds: int = 50,
    environment: Path | None = None,
) -> list[Row]:
    """Makes and measures every network in every way, and writes a table.

    Args:
        results, document: JSON and Markdown to write.
        train: Its images show ranges.
        val: Saved networks are scored on it.
        size: (height, width) of the input of new networks; saved ones are measured at their own, or at this
            one if theirs is open.
        networks: Specs of new networks, or the paths of saved ones.
        rounds: Timed runs of each file.
        environment: Where the virtual environment of ai-edge-quantizer is, or is built to be kept; a
            temporary one unless given.

    Returns:
        A row for each `way` to make a `network`, a spec or a path, int8. `name` is what the table calls it,
        `size` the (height, width) of its input. Of the file: how many operations compute in float
        (`float_ops`), into how many pieces the delegate cuts it (`partitions`), `file_bytes`, `latency_ms` of
        one image and their `ratio` to the float file's, the share of pixels that get the class that the float
        file gives them (`agreement`), `mean_iou` on the data set (None for weights at random), or why there
        is no file, or why it does not run (`cause`).
    """
    rows = []
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as scratch:
        python, missing = foreign_python(environment or Path(scratch, "environment"))
        for network in networks:
            name, shape = _described(network, size)
            images = _resized_images(train, shape)
            np.save(Path(scratch, "images.npy"), images)
            paths, causes = _files(network, shape, val.info.num_classes, Path(scratch), python, missing)
            rows += _measured(network, name, paths, causes, images, val, rounds)
            for row in rows[-len(WAYS) - 1 :]:
                print(line(_COLUMNS, row), flush=True)
    write_json(results, {"benchmark": "quantization", "rows": rows, **provenance()})
    text = page(rows, min(_IMAGES, len(train)))
    write_atomically(document, lambda file: file.write_text(text, encoding="utf-8"))
    return rows


def _described(network: str, size: tuple[int, int]) -> tuple[str, tuple[int, int]]:
    """What the table calls a network, and the (height, width) that it is measured at."""
    if not Path(network).exists():
        return network, size
    model = models.load(network)
    own = model.input_shape[1:3]
    return model.name, size if None in own else own


def _resized_images(train: Source, size: tuple[int, int]) -> np.ndarray:
    """Images at equal distances in the split."""
    return np.stack([resize_image(train[index][0], size) for index in spread(len(train), _IMAGES)])


def foreign_python(directory: Path) -> tuple[Path | None, str | None]:
    """The Python of an environment with ai-edge-quantizer, built if there is none; or why there is none."""
    python = directory / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    commands = [[sys.executable, "-m", "venv", str(directory)]] * (not python.exists())
    # Does nothing but look when the package is there already.
    commands.append([str(python), "-m", "pip", "install", "--quiet", REQUIREMENT])
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return None, f"{REQUIREMENT} cannot be installed: {_last_line(done.stderr)}"
    return python, None


def _files(network, size, num_classes, scratch, python, missing) -> tuple[dict[str, Path], dict[str, str]]:
    """The file of each way that makes one, and the cause for each that does not."""
    paths, causes = {}, {}
    request = {
        "network": network,
        "size": list(size),
        "num_classes": num_classes,
        "images": str(scratch / "images.npy"),
    }
    worker = str(Path(__file__).with_name("one_quantization.py"))
    for number, way in enumerate(WAYS):
        path = scratch / f"{number}.tflite"
        path.unlink(missing_ok=True)
        try:
            workers.run(worker, {**request, "way": way, "output": str(path)})
            paths[way] = path
        except (ValueError, RuntimeError) as error:
            causes[way] = str(error)
    if python is None or "float" not in paths:
        causes[FOREIGN] = missing or "there is no float file"
        return paths, causes
    path = scratch / "foreign.tflite"
    script = Path(__file__).with_name("foreign_quantizer.py")
    command = [python, script, paths["float"], request["images"], path]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        causes[FOREIGN] = _last_line(done.stderr)
    else:
        paths[FOREIGN] = path
    return paths, causes


def _measured(network, name, paths, causes, images, val, rounds) -> list[Row]:
    runnable, labels, size = {}, {}, images.shape[1:3]
    for way, path in paths.items():
        try:
            labels[way] = runtime.Network(path).predict(images).argmax(-1)
            runnable[way] = path
        except (ValueError, RuntimeError) as error:
            causes[way] = f"the file does not run: {error}"
    timings = runtime.latency(runnable, runs=rounds) if runnable else {}
    rows = []
    for way in (*WAYS, FOREIGN):
        row: Row = {"network": network, "way": way, "name": name, "size": size, "cause": causes.get(way)}
        if way in runnable:
            operations = runtime.profile(paths[way])
            row |= {
                "float_ops": len(operations.float_ops),
                "partitions": operations.delegate_partitions,
                "file_bytes": paths[way].stat().st_size,
                "latency_ms": timings[way].median_ms,
                "ratio": timings[way].median_ms / timings["float"].median_ms if "float" in timings else None,
                "agreement": float((labels[way] == labels["float"]).mean()) if "float" in labels else None,
                "mean_iou": evaluate(paths[way], val).mean_iou if Path(network).exists() else None,
            }
        rows.append(row)
    return rows


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"


def page(rows: Sequence[Row], num_images: int) -> str:
    """The document, as Markdown."""
    causes = ["- `{name}`, {way}: {cause}".format(**row) for row in rows if row.get("cause")]
    scored = any(row.get("mean_iou") is not None for row in rows)
    return _DOCUMENT.format(
        rows=table(_COLUMNS, rows, words=3),
        images=num_images,
        requirement=REQUIREMENT,
        remark="" if scored else "Weights at random: no mean IoU; pass saved networks with `--network=`.",
        causes="\n".join(["\nWhat raised:\n", *causes, ""]) if causes else "",
    )
