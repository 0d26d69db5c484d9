"""Counts one network on Arm, in a process of its own: python -m benchmarks.one_arm REQUEST ANSWER."""

import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from benchmarks.arm_page import GOAL
from benchmarks.one_network import answer, build, smooth_images
from tfsegkd import quantization, runtime
from tfsegkd.export import lower_for_arm
from tfsegkd.export.lowering import CHANGES
from tfsegkd.export.output_variants import without_last_resize
from tfsegkd.graph import cost
from tfsegkd.pruning.recalibration import recalibrate
from tfsegkd.runtime import arm


def measure(request: dict, note: Callable[..., None]) -> None:
    """Counts the network of `request` and hands each figure to `note` as soon as it is known."""
    model = build(request["network"], request["num_classes"], (*request["size"], 3))
    images = smooth_images(model.input_shape[1:])
    recalibrate(model, [images])
    note(macs=cost(model).macs)
    quantized = runtime.convert(quantization.quantize(model, calibration=[images]))
    contents = {"as converted": quantized}
    for name in CHANGES:
        quantized, changed = lower_for_arm(quantized, [name])
        if changed:
            contents[name] = quantized
    smaller = without_last_resize(quantized)
    if smaller:
        contents[f"output_stride={smaller[1]}"] = smaller[0]
    float_content = lower_for_arm(runtime.convert(model, "float32", "float32"))[0]
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as directory:
        paths = {name: Path(directory, f"{number}.tflite") for number, name in enumerate(contents)}
        for name, path in paths.items():
            path.write_bytes(contents[name])
        counts = _count([*paths.values()], request["whole"])
        steps = {name: one.instructions for name, one in zip(paths, counts, strict=True)}
        exported = [name for name in steps if "output_stride" not in name][-1]
        note(int8=steps[exported], steps=steps, core=counts[0].core, summed=counts[0].summed)
        real = Path(directory, "float.tflite")
        real.write_bytes(float_content)
        in_float = _count([real], request["whole"])[0].instructions
        note(float=in_float)
        if request["whole"]:
            note(again=_count([paths[exported]], whole=True)[0].instructions)
            real_ops, int8_ops = (one.instructions for one in arm.estimate([real, paths[exported]]))
            note(by_ops={"int8": int8_ops, "float": real_ops})
        if steps[exported] > GOAL * in_float:
            note(kinds=_by_kind(paths[exported], real))


def _count(paths: list[Path], whole: bool) -> list[arm.ArmCount]:
    return arm.count_together(paths, ops=False) if whole else arm.estimate(paths)


def _by_kind(quantized: Path, real: Path) -> dict[str, list[int]]:
    """Kind of op → instructions of all such ops in the float file, and in the int8 file."""
    found = defaultdict(lambda: [0, 0])
    for index, counted in enumerate(arm.estimate([real, quantized])):
        for one in counted.ops:
            found[one.op.split()[0]][index] += one.instructions
    return found


if __name__ == "__main__":
    answer(measure)
