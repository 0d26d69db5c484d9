"""Instruction counts and outputs of a .tflite on an emulated Arm core.

The file runs in an emulator (qemu-user) with LiteRT's kernels for Arm. Instruction counts, unlike latencies,
are the same on every machine and at every load. Instructions are not milliseconds: a cache miss costs more,
and other cores, GPUs and NPUs differ. Use them to compare networks, and int8 with float; measure the latency
on your phone.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tfsegkd import _keras, checks
from tfsegkd.atomic import read_json, write_json
from tfsegkd.progress_bar import waited
from tfsegkd.runtime import arm_sysroot
from tfsegkd.runtime.arm_ops import ops_by_kind
from tfsegkd.runtime.arm_sysroot import CORES
from tfsegkd.runtime.network import Network, decoded, encoded, load_interpreter
from tfsegkd.runtime.op_times import ops_alone
from tfsegkd.runtime.workers import ending

DEFAULT_CORE = next(iter(CORES))
# Ops that are counted in one start of the emulator.
_AT_ONCE = 64
_GUEST = Path(__file__).parent / "arm_guest.py"


@dataclass(frozen=True)
class OpCount:
    """An op, run alone.

    Args:
        op: Its type and the name of its output, which contains the layer's name, as in `OpReport`.
        instructions: The count for one image; None for an op that cannot run alone.
    """

    op: str
    instructions: int | None


@dataclass(frozen=True)
class ArmCount:
    """The instructions of one invocation of a file, on one thread.

    Args:
        instructions: The count for the whole file.
        core: The emulated core.
        ops: Each op alone, in execution order; empty unless requested. Without the fusion of the delegate,
            and with the overhead of a call each.
        summed: Whether `instructions` is the sum of `ops`; the whole file was not run.

    Example:
        # counted, = runtime.arm.count_together(["model_int8.tflite"])
        runtime.ArmCount(instructions=1_000_000, core="a55").instructions  # 1000000
    """

    instructions: int
    core: str
    ops: tuple[OpCount, ...] = ()
    summed: bool = False


def count(network: str | os.PathLike, ops: bool = True, core: str = DEFAULT_CORE) -> ArmCount:
    """Counts the instructions of one image on an emulated Arm core.

    Args:
        network: The path of a .tflite.
        ops: Whether to also count each op alone, which about doubles the time.
        core: The core, one of `CORES`.

    Returns:
        Exact counts, equal to four digits on every machine.

    Raises:
        ValueError: if the file does not exist or cannot be run, or for an unknown core.
        OSError: if the emulator or its system is missing; the message says what to install.

    Example:
        >>> arm.count("model_int8.tflite").instructions  # doctest: +SKIP
        39883021
    """
    return count_together([network], ops, core)[0]


def count_together(
    networks: Sequence[str | os.PathLike], ops: bool = True, core: str = DEFAULT_CORE
) -> list[ArmCount]:
    """Counts several files with one start of the emulator."""
    contents, owners, names = [], [], []
    for owner, network in enumerate(networks):
        load_interpreter(network)  # reports faults of the file
        content = Path(network).read_bytes()
        for name, part in [("", content), *(ops_alone(content) if ops else ())]:
            contents.append(part)
            owners.append(owner)
            names.append(name)
    with waited("counting Arm instructions"):
        counts = _counts(contents, core)
    whole, found = {}, {owner: [] for owner in range(len(networks))}
    for owner, name, (counted, error) in zip(owners, names, counts, strict=True):
        if name:
            found[owner].append(OpCount(name, counted))
        elif error:
            raise ValueError(f"{networks[owner]} does not run on the emulated {core}: {error}")
        else:
            whole[owner] = counted
    return [ArmCount(whole[owner], core, tuple(found[owner])) for owner in found]


def estimate(networks: Sequence[str | os.PathLike], core: str = DEFAULT_CORE) -> list[ArmCount]:
    """Estimates the instructions of files as the sum of their ops.

    Ops of equal type, shapes and options take the same number: each is counted once, large ones on two strips
    of rows, and kept in the cache directory. Large networks, for which `count` takes hours, take minutes.

    Args:
        networks: Paths of .tflite files.
        core: The core, one of `CORES`.

    Returns:
        Counts with `summed`. Without the fusion of the delegate, and with the overhead of a call for each op.

    Raises:
        ValueError: if a file does not exist or cannot be run, has an op that does not run alone, or for an
            unknown core.
        OSError: if the emulator or its system is missing; the message says what to install.

    Example:
        >>> arm.estimate(["model_int8.tflite"])[0].instructions  # doctest: +SKIP
        35349243
    """
    checks.one_of(core, CORES, "core")
    files = []
    for network in networks:
        load_interpreter(network)  # reports faults of the file
        files.append(ops_by_kind(Path(network).read_bytes()))
    path = arm_sysroot.cache_directory() / "tables" / f"ops-{core}-{version('ai-edge-litert')}.json"
    known = read_json(path) if path.exists() else {}
    missing = {op.key: op for ops in files for op in ops if op.key not in known}
    with waited("counting Arm instructions"):
        # Some at a time, so that little is lost where one is interrupted.
        for first in range(0, len(missing), _AT_ONCE):
            group = [*missing.values()][first : first + _AT_ONCE]
            found = _counts([make() for op in group for _, make in op.parts], core)
            for op in group:
                counts = [found.pop(0) for _ in op.parts]
                errors = [error for _, error in counts if error]
                if errors:
                    raise ValueError(f"{op.name} does not run alone on the emulated {core}: {errors[0]}")
                pairs = zip(op.parts, counts, strict=True)
                known[op.key] = round(sum(factor * counted for (factor, _), (counted, _) in pairs))
            # Another process may have written meanwhile.
            known = {**(read_json(path) if path.exists() else {}), **known}
            write_json(path, known)
    counted = [tuple(OpCount(op.name, known[op.key]) for op in ops) for ops in files]
    return [ArmCount(sum(one.instructions for one in ops), core, ops, summed=True) for ops in counted]


def check(core: str = DEFAULT_CORE) -> None:
    """Prepares the emulator and its system, so that missing programs are reported early.

    Raises:
        OSError: if the emulator or its system is missing; the message says what to install.
    """
    arm_sysroot.plugin()
    arm_sysroot.sysroot(core)


def run(network: str | os.PathLike, images: np.ndarray, core: str = DEFAULT_CORE) -> np.ndarray:
    """Returns the logits of a file on the emulated Arm core.

    Args:
        network: The path of a .tflite that segments images, see `Network`.
        images: The images.
        core: The core, one of `CORES`.

    Shapes:
        images: (N, H, W, 3), uint8 or float, RGB in 0…255.
        returns: (N, Y, X, C), float32.

    Raises:
        ValueError: if the file cannot be run, or the images do not have the network's size.
        OSError: if the emulator or its system is missing; the message says what to install.
    """
    here = Network(network)
    here.check_images(images)
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as directory:
        inputs, outputs = Path(directory, "inputs.npy"), Path(directory, "outputs.npy")
        np.save(inputs, encoded(images, here.input_details))
        arguments = {"path": str(Path(network).resolve()), "inputs": str(inputs), "outputs": str(outputs)}
        with waited("running on the emulated Arm core"):
            _emulate(directory, core, "run", **arguments)
        return decoded(np.load(outputs), here.output_details)


def _counts(contents: Sequence[bytes], core: str) -> list[tuple[int | None, str | None]]:
    """The instructions of each network, or why it does not run."""
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as directory:
        files = [Path(directory, f"{number}.tflite") for number in range(len(contents))]
        for file, content in zip(files, contents, strict=True):
            file.write_bytes(content)
        answer, marks = _emulate(directory, core, "count", paths=[str(file) for file in files])
    # The count between two marks without a call.
    nothing = _between(marks, len(files))
    errors = [answer["errors"].get(str(number)) for number in range(len(files))]
    return [
        (None, error) if error else (_between(marks, number) - nothing, None)
        for number, error in enumerate(errors)
    ]


def _between(marks: dict[int, int], number: int) -> int:
    return marks[2 * number + 1] - marks[2 * number]


def _emulate(directory: str, core: str, task: str, **arguments: Any) -> tuple[dict, dict[int, int]]:
    """Runs a task of `arm_guest.py`; returns its result and the instruction counts at its marks."""
    plugin, root = arm_sysroot.plugin(), arm_sysroot.sysroot(core)
    asked, answered, marks = (Path(directory, name) for name in ("request.json", "answer.json", "marks"))
    # The guest has its own LiteRT, in a package of the same name.
    request = {"interpreter": _keras.Interpreter.__module__, "task": task, "arguments": arguments}
    asked.write_text(json.dumps(request))
    # An empty environment, because its size shifts the guest's stack.
    environment = {
        "QEMU_LD_PREFIX": str(root),
        "PYTHONHOME": str(root / "usr"),
        "PYTHONPATH": str(root / "site"),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PATH": os.environ.get("PATH", os.defpath),
    }
    # A comma in a path is written twice.
    plugin, marked = (str(path).replace(",", ",,") for path in (plugin, marks))
    command = [arm_sysroot.QEMU, "-cpu", core, "-plugin", f"{plugin},marks={marked}"]
    command.append(str(arm_sysroot.python(root)))
    command += ["-P", str(_GUEST), str(asked), str(answered)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode or not answered.exists():
        lines = done.stderr.strip().splitlines()
        said = lines[-1] if lines else ending(done.returncode)
        raise OSError(f"{arm_sysroot.QEMU} -cpu {core} stopped before it answered: {said}.")
    pairs = (line.split() for line in marks.read_text().splitlines())
    return json.loads(answered.read_text()), {int(number): int(counted) for number, counted in pairs}
