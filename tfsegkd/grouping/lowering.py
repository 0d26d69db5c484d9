"""Lowers grouped convolutions of a .tflite to the form that is fastest.

Fewer multiplications can take longer: the int8 kernels for grouped convolutions are slower than those for
dense ones once groups are narrow. All forms compute the same, so the file is the place to choose.
"""

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tfsegkd import checks
from tfsegkd.grouping import tflite_forms
from tfsegkd.grouping.tflite_forms import FORMS, Convolution
from tfsegkd.runtime import latency
from tfsegkd.runtime.model_file import Editor

MEASURED = "measured"


@dataclasses.dataclass(frozen=True)
class LoweredLayer:
    """One grouped convolution of a .tflite.

    Args:
        name: Its name in the file.
        groups: Its groups.
        form: How it runs now, one of `FORMS`.
        milliseconds: Form → the median time of this layer alone. Empty if the form was not measured; without
            'split' where the groups cannot be split by operations that the delegate has.
    """

    name: str
    groups: int
    form: str
    milliseconds: dict[str, float]


@dataclasses.dataclass(frozen=True)
class LoweringReport:
    """What `lower` did.

    Args:
        layers: The grouped convolutions, in the order in which they run.
        num_threads: Processor threads of the measurement.

    Example:
        content, report = grouping.lower(Path("student.tflite").read_bytes())
        report.layers  # ()
    """

    layers: tuple[LoweredLayer, ...]
    num_threads: int

    def __str__(self):
        lines = [
            f"| layer | groups | {' | '.join(f'{form} ms' for form in FORMS)} | runs as |",
            "|---" * 6 + "|",
        ]
        for layer in self.layers:
            times = [f"{layer.milliseconds[f]:.3f}" if f in layer.milliseconds else "–" for f in FORMS]
            lines.append(f"| {layer.name} | {layer.groups} | {' | '.join(times)} | {layer.form} |")
        return "\n".join(lines)


def lower(
    content: bytes, form: str = MEASURED, runs: int = 50, num_threads: int = 1
) -> tuple[bytes, LoweringReport]:
    """Gives every grouped convolution of a .tflite the form in which it runs fastest.

    The forms are 'grouped', one operation for all groups; 'split', dense convolutions of a part each;
    'dense', one convolution with zeros between the groups. The network computes the same in each. A dense
    convolution whose weights are zero between groups counts as grouped, so it does not matter whether a
    network was converted as `regroup` or as `as_dense` gives it.

    Args:
        content: A .tflite with a float or an int8 body. Labels are embedded afterwards, or they are lost.
        form: 'measured' times the forms of each layer on this machine; one of `FORMS` takes that form for
            all of them, such as for another machine.
        runs: Timed runs of each form.
        num_threads: Processor threads for the timing.

    Returns:
        The new .tflite, and what was chosen and why. A network without grouped convolutions stays as it is.

    Raises:
        ValueError: for an unknown form, or 'split' where no split of the delegate fits the groups.

    Example:
        pixels = keras.Input((16, 16, 3))
        x = keras.layers.Conv2D(8, 3)(pixels)
        grouped = keras.Model(pixels, keras.layers.Conv2D(8, 3, groups=2)(x))
        content, report = grouping.lower(runtime.convert(grouped, "float32", "float32"), form="dense")
    """
    checks.one_of(form, (MEASURED, *FORMS), "form")
    editor = Editor(content)
    found = tflite_forms.find(editor)
    if not found:
        return content, LoweringReport((), num_threads)
    times = _times(found, runs, num_threads) if form == MEASURED else {}
    layers, choices = [], []
    for convolution in found:
        taken = times.get(convolution.kind, {})
        choice = min(taken, key=taken.get) if taken else form
        if choice not in tflite_forms.forms(convolution.groups):
            raise ValueError(
                f"Convolution {convolution.name!r} cannot take the form {choice!r}: {convolution.groups} is "
                f"not a product of 2, 3 and 4. Force 'grouped' or 'dense'."
            )
        choices.append((convolution, choice))
        layers.append(LoweredLayer(convolution.name, convolution.groups, choice, milliseconds=taken))
    tflite_forms.write(editor, choices)
    return editor.pack(), LoweringReport(tuple(layers), num_threads)


def _times(found: list[Convolution], runs: int, num_threads: int) -> dict[tuple, dict[str, float]]:
    """Kind of convolution → form → milliseconds, all measured side by side."""
    kinds = {convolution.kind: convolution for convolution in found}
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as directory:
        paths = {}
        for number, form, content in _alone(kinds.values()):
            paths[f"{number} {form}"] = Path(directory, f"{number}_{form}.tflite")
            paths[f"{number} {form}"].write_bytes(content)
        timings = latency(paths, runs=runs, num_threads=num_threads)
    times = {kind: {} for kind in kinds}
    for name, timing in timings.items():
        number, form = name.split()
        times[list(kinds)[int(number)]][form] = timing.median_ms
    return times


def _alone(convolutions) -> Iterator[tuple[int, str, bytes]]:
    """Every form of each convolution as a network of its own."""
    for number, convolution in enumerate(convolutions):
        for form in tflite_forms.forms(convolution.groups):
            alone = tflite_forms.extract(convolution)
            tflite_forms.write(alone.editor, [(alone, form)])
            yield number, form, alone.editor.pack()
