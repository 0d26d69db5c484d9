"""Which networks of other libraries can be adopted, pruned, quantized, exported, and teach and learn.

Random weights, small images. keras-hub, segmentation-models and keras-unet-collection ask for other versions
than ours: run it in an environment of its own that has them. Each network has a process of its own, because
libraries choose their Keras when they are imported.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import ecosystem_networks

STEPS = ("adopt", "prune", "quantize", "export", "teacher", "student")
_DOCUMENT = """# Networks of other libraries

Written by `python tools/benchmark.py ecosystem`; figures in `ecosystem.json`.

{adopted} of the {tried} networks that were built are adopted as they are, or after naming an output or a
size. Their weights are random and their images small: this says what the code takes, not how good it is.
*Refused* is a message that names what stands in the way, {longest} characters at most.

{table}

A dash: not tried in this run. Of what is refused, a network with inputs and outputs can still be a teacher.
{refusals}
"""
_SECONDS = 900


@dataclasses.dataclass(frozen=True)
class Row:
    """One network.

    Args:
        library, network: What it is.
        adopt, prune, quantize, export, teacher, student: 'ok', a refusal, or '–' where it was not tried.
        option: What `adopt` was told: an output or a size.
        longest_message: The characters of its longest refusal.
    """

    library: str
    network: str
    adopt: str = "–"
    prune: str = "–"
    quantize: str = "–"
    export: str = "–"
    teacher: str = "–"
    student: str = "–"
    option: str = ""
    longest_message: int = 0


def run(steps: Sequence[str] = STEPS, only: str = "") -> list[Row]:
    """Tries every network whose library or name holds `only`, and prints a line for each."""
    rows = []
    for library, networks in ecosystem_networks.NETWORKS.items():
        for network in networks:
            if only.lower() not in f"{library} {network}".lower():
                continue
            row = _in_a_process(library, network, steps)
            rows.append(row)
            print(*(f"{value:10.60}" for value in dataclasses.asdict(row).values()), flush=True)
    return rows


def page(rows: Sequence[Row]) -> str:
    """The document, as Markdown."""
    built = [row for row in rows if not row.adopt.startswith("not built")]
    lines = ["| library | network | " + " | ".join(STEPS) + " |", "|---" * (2 + len(STEPS)) + "|"]
    for row in rows:
        cells = [_cell(getattr(row, step)) for step in STEPS]
        if row.option and row.adopt == "ok":
            cells[0] += f", with `{row.option}`"
        lines.append(f"| {row.library} | {row.network} | " + " | ".join(cells) + " |")
    refused = [row for row in built if row.adopt not in ("ok", "–")]
    return _DOCUMENT.format(
        adopted=sum(row.adopt == "ok" for row in built),
        tried=len(built),
        longest=max((row.longest_message for row in built), default=0),
        table="\n".join(lines),
        refusals="\n".join(["", *(f"- {row.library}, {row.network}: `{row.adopt}`" for row in refused)]),
    )


def _cell(result: str) -> str:
    return result if result in ("ok", "–") else "not built" if result.startswith("not built") else "refused"


def _in_a_process(library, network, steps) -> Row:
    environment = dict(os.environ, **ecosystem_networks.ENVIRONMENT.get(library, {}))
    command = [sys.executable, "-m", "benchmarks.ecosystem", library, network, ",".join(steps)]
    try:
        done = subprocess.run(
            command,
            cwd=Path(__file__).parents[1],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
        return Row(**json.loads(done.stdout.strip().splitlines()[-1]))
    except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
        return Row(library, network, adopt=f"no result: {type(error).__name__}")


def tried(library: str, network: str, steps: Sequence[str]) -> Row:
    """Tries one network in this process."""
    import numpy as np

    import tfsegkd
    from tfsegkd import export, models, pruning, quantization
    from tfsegkd._keras import keras

    form = ecosystem_networks.NETWORKS[library][network]
    try:
        model = form.build()
    except Exception as error:  # the library and Keras may not fit each other
        return Row(library, network, adopt=f"not built: {type(error).__name__}")
    size = form.size
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3)).astype(np.float32)
    found, longest, kept = {}, 0, {}

    def attempt(step, call):
        nonlocal longest
        if step not in steps:
            return
        try:
            kept[step] = call()
            found[step] = "ok"
        except Exception as error:  # any refusal is a result
            text = " ".join(str(error).split())
            longest = max(longest, len(str(error)))
            found[step] = f"{type(error).__name__}: {text.replace('`', '')[:160]}"

    attempt("adopt", lambda: models.adopt(model, **form.options)[0])
    adopted = kept.get("adopt")
    if adopted is not None:
        attempt("prune", lambda: pruning.prune_channels(adopted, "macs:0.8", importance="l1")[0])
        attempt("quantize", lambda: quantization.quantize(adopted, calibration=[images]))
    if "quantize" in kept:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "network.tflite")
            attempt("export", lambda: export.export_tflite(kept["quantize"], path))

    def small(classes):
        inputs = keras.Input((*size, 3))
        x = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(inputs)
        x = keras.layers.UpSampling2D(2, interpolation="bilinear")(keras.layers.Conv2D(classes, 1)(x))
        return keras.Model(inputs, x)

    def step(teacher, student):
        distiller = tfsegkd.Distiller(teacher, student)
        distiller.compile(keras.optimizers.SGD(1e-3))
        classes = distiller._student_features.output_shape["logits"][-1]
        masks = np.random.default_rng(0).integers(0, classes, (2, *size)).astype(np.int32)
        loss = distiller.train_on_batch(images, masks, return_dict=True)["loss"]
        if not np.isfinite(loss):
            raise ValueError(f"the loss is {loss}")

    def taught():
        teacher = tfsegkd.load_teacher(model, **form.teacher_options)
        step(teacher, small(teacher.shapes(["logits"], (*size, 3))["logits"][-1]))

    attempt("teacher", taught)

    def learnt():
        student = adopted if form.options and adopted is not None else model
        classes = models.adopt(model)[0].output_shape[-1] if adopted is None else adopted.output_shape[-1]
        step(small(classes), student)

    attempt("student", learnt)
    option = ", ".join(f"{key}={value!r}" for key, value in form.options.items())
    return Row(library, network, option=option, longest_message=longest, **found)


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(tried(sys.argv[1], sys.argv[2], sys.argv[3].split(",")))))
