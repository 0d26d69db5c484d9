r"""Which networks of other libraries can be adopted, pruned, quantized, exported, and teach and learn.

Random weights, small images. keras-hub, segmentation-models and keras-unet-collection ask for other versions
than ours: run it in an environment of its own, where what they ask for does not replace what we ask for:

    pip install tokenizers scikit-image
    pip install --no-deps keras-hub==0.32 segmentation-models==1.0.1 keras_applications==1.0.8 \
        image-classifiers==1.0.0 efficientnet==1.0.0 keras-unet-collection==0.1.13

Each library has a process of its own, because libraries choose their Keras when they are imported.
"""

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import ecosystem_networks
from benchmarks.ecosystem_page import NO_RESULT, NOT_BUILT, STEPS, UNTRIED, new_row
from benchmarks.rows import Row
from tfsegkd.atomic import write_json
from tfsegkd.recipe.provenance import provenance

_SECONDS = 900  # for one network


def run(results: Path, steps: Sequence[str] = STEPS, only: str = "") -> list[Row]:
    """Tries networks, keeps a row for each as it comes, and prints it.

    Run again, it tries what is missing, what gave no result and steps that were left out. A result is not
    replaced by none. Remove the file to try all again.

    Args:
        results: JSON with the rows, which is read first.
        steps: What to try of each network, some of `STEPS`.
        only: Tries the networks whose library or name holds it, also those that have a row.
    """
    kept = {(row["library"], row["network"]): row for row in read(results)}
    for library, networks in ecosystem_networks.NETWORKS.items():
        named = [network for network in networks if only.lower() in f"{library} {network}".lower()]
        wanted = [network for network in named if only or _is_due(kept.get((library, network)), steps)]
        for row in _in_a_process(library, wanted, steps):
            key = library, row["network"]
            if not (row["adopt"].startswith(NO_RESULT) and key in kept):
                kept[key] = row
                _write(results, kept)
            print(*(f"{value!s:<10.60}" for value in row.values()), flush=True)
    return read(results)


def _write(results: Path, kept: dict[tuple[str, str], Row]) -> None:
    """In the order in which the networks are listed."""
    keys = [(library, one) for library, of in ecosystem_networks.NETWORKS.items() for one in of]
    rows = [kept[key] for key in keys if key in kept]
    write_json(results, {"benchmark": "ecosystem", "rows": rows, **provenance()})


def read(results: Path) -> list[Row]:
    """The rows of a file of results; none where there is no such file."""
    if not results.exists():
        return []
    return json.loads(results.read_text(encoding="utf-8"))["rows"]


def _is_due(row: Row | None, steps: Sequence[str]) -> bool:
    """Whether a step has not been tried that could be."""
    if row is None or row["adopt"].startswith(NO_RESULT):
        return True
    if row["adopt"].startswith(NOT_BUILT):
        return False
    needs = {"prune": ["adopt"], "quantize": ["adopt"], "export": ["adopt", "quantize"]}
    return any(
        row[step] == UNTRIED and all(row[before] in ("ok", UNTRIED) for before in needs.get(step, []))
        for step in steps
    )


def _in_a_process(library: str, networks: Sequence[str], steps: Sequence[str]) -> Iterator[Row]:
    """The rows of some networks of a library; what ends the process costs one of them its row."""
    environment = dict(os.environ, **ecosystem_networks.ENVIRONMENT.get(library, {}))
    left = list(networks)
    while left:
        command = [sys.executable, "-m", "benchmarks.ecosystem", library, json.dumps(left), ",".join(steps)]
        with (
            tempfile.TemporaryFile("w+") as log,
            subprocess.Popen(
                command,
                cwd=Path(__file__).parents[1],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as child,
        ):
            for line in child.stdout:
                if line.startswith("{"):  # libraries print as well
                    yield json.loads(line)
                    left.pop(0)
            child.wait()
            if not left:
                return
            log.seek(0)
            *_, last = ["", *log.read().strip().splitlines()]
            cause = f"its process ended with code {child.returncode}. {last}"
            yield new_row(library, left.pop(0), adopt=f"{NO_RESULT}: {cause}")


def tried(library: str, network: str, steps: Sequence[str]) -> Row:
    """Tries one network in this process."""
    import numpy as np

    from tfsegkd import distillation, export, models, pruning, quantization

    form = ecosystem_networks.NETWORKS[library][network]
    try:
        model = form.build()
    except ImportError:
        raise  # the environment lacks a package, which says nothing of the network
    except Exception as error:  # the library and Keras may not fit each other
        return new_row(library, network, adopt=f"{NOT_BUILT}: {type(error).__name__}")
    images = np.random.default_rng(0).integers(0, 256, (2, *form.size, 3)).astype(np.float32)
    found, kept, longest = {}, {}, 0

    def attempt(step, call):
        nonlocal longest
        if step not in steps:
            return
        try:
            kept[step] = call()
            found[step] = "ok"
        except Exception as error:  # any refusal is a result
            # AutoGraph puts the lines of the code, and where they lie, in front.
            text = str(error).rpartition(f"    {type(error).__name__}: ")[2].strip()
            longest = max(longest, len(text))
            found[step] = f"{type(error).__name__}: {' '.join(text.split())}"

    attempt("adopt", lambda: models.adopt(model, **form.options)[0])
    adopted = kept.get("adopt")
    if adopted is not None:
        attempt("prune", lambda: pruning.prune_channels(adopted, "macs:0.8", importance="l1")[0])
        attempt("quantize", lambda: quantization.quantize(adopted, calibration=[images]))
    if "quantize" in kept:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "network.tflite")
            attempt("export", lambda: export.export_tflite(kept["quantize"], path))

    def taught():
        teacher = distillation.load_teacher(model, **form.teacher_options)
        _train(teacher, _small(form.size, teacher.shapes(["logits"], images.shape[1:])["logits"][-1]), images)

    attempt("teacher", taught)

    def learnt():
        student = adopted if form.options and adopted is not None else model
        classes = ecosystem_networks.CLASSES if adopted is None else adopted.output_shape[-1]
        _train(_small(form.size, classes), student, images)

    attempt("student", learnt)
    option = ", ".join(f"{key}={value!r}" for key, value in form.options.items())
    about = {"version": _version(library), "option": option, "longest_message": longest}
    return new_row(library, network, **about, **found)


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library.removesuffix(".applications"))
    except importlib.metadata.PackageNotFoundError:
        return ""


def _small(size, classes):
    """A network of few weights."""
    from tfsegkd._keras import keras

    inputs = keras.Input((*size, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(inputs)
    x = keras.layers.UpSampling2D(2, interpolation="bilinear")(keras.layers.Conv2D(classes, 1)(x))
    return keras.Model(inputs, x)


def _train(teacher, student, images):
    """Distils until some weight of the student is another."""
    import numpy as np

    import tfsegkd
    from tfsegkd._keras import keras

    distiller = tfsegkd.Distiller(teacher, student)
    before = [np.array(weight) for weight in student.trainable_weights]
    distiller.compile(keras.optimizers.SGD(1e-2))
    masks = np.random.default_rng(0).integers(0, 2, images.shape[:-1]).astype(np.int32)
    for _ in range(20):  # half precision passes over steps until it has a scale for the loss
        loss = distiller.fit(images, masks, batch_size=len(images), verbose=0).history["loss"]
        if not np.isfinite(loss).all():
            raise ValueError(f"the loss is {loss}")
        if any(not np.array_equal(*pair) for pair in zip(before, student.trainable_weights, strict=True)):
            return
    raise ValueError("no weight of the student has changed")


def main(library: str, networks: Sequence[str], steps: Sequence[str]) -> None:
    """Prints the row of each network as a line of JSON."""
    from tfsegkd._keras import keras

    for network in networks:
        signal.alarm(_SECONDS)  # ends the process where nothing else would
        print("\n" + json.dumps(tried(library, network, steps)), flush=True)
        keras.backend.clear_session()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3].split(","))
