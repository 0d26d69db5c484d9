"""How many instructions a .tflite takes on an Arm core, as phones have them, and what it computes there.

The file runs in an emulator (qemu-user) on LiteRT's own kernels for Arm. Its instructions are counted: the
same number on every machine and at every load, which no time is. Instructions are not milliseconds: a load
that misses the cache costs more than it counts, and other cores, GPUs and NPUs have costs of their own.
Compare networks by them, and int8 with float; time what you ship on your phone.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfsegkd import _keras
from tfsegkd.progress_bar import waited
from tfsegkd.runtime import arm_sysroot
from tfsegkd.runtime.arm_sysroot import CORES
from tfsegkd.runtime.network import Network, decoded, encoded, load_interpreter
from tfsegkd.runtime.op_times import ops_alone
from tfsegkd.runtime.workers import ending

DEFAULT_CORE = next(iter(CORES))
_GUEST = Path(__file__).parent / "arm_guest.py"


@dataclass(frozen=True)
class OpCount:
    """One op, run alone.

    Args:
        op: Its type and the name of what it gives, which holds the layer's, as in `OpReport`.
        instructions: For one image; None for an op that does not run alone.
    """

    op: str
    instructions: int | None


@dataclass(frozen=True)
class ArmCount:
    """The instructions of one invocation of a file, on one thread.

    Args:
        instructions: Of the file as a whole.
        core: The core that was emulated.
        ops: Each op alone, in the order in which they run; empty unless they were asked for. What the
            delegate gains by joining ops is missing, and each pays for being called.
    """

    instructions: int
    core: str
    ops: tuple[OpCount, ...] = ()


def count(network: str | os.PathLike, ops: bool = True, core: str = DEFAULT_CORE) -> ArmCount:
    """Counts the instructions of one image on an emulated Arm core.

    Args:
        network: Path of a .tflite.
        ops: Whether to count each op alone as well, which about doubles the time.
        core: The core, one of `CORES`.

    Returns:
        Exact counts, equal to four digits wherever they are made.

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
    """Counts several files in one start of the emulator, as `count` does one."""
    for network in networks:
        load_interpreter(network)  # says what is wrong with the file
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as directory:
        files, owners, names = [], [], []
        for owner, network in enumerate(networks):
            content = Path(network).read_bytes()
            parts = [("", content), *(ops_alone(content) if ops else ())]
            for name, part in parts:
                files.append(Path(directory, f"{len(files)}.tflite"))
                files[-1].write_bytes(part)
                owners.append(owner)
                names.append(name)
        with waited("counting Arm instructions"):
            answer, marks = _emulate(directory, core, "count", paths=[str(path) for path in files])
    whole, found = {}, {owner: [] for owner in range(len(networks))}
    # What two marks count with nothing between them.
    nothing = _between(marks, len(files))
    for number, (owner, name) in enumerate(zip(owners, names, strict=True)):
        error = answer["errors"].get(str(number))
        if name:
            found[owner].append(OpCount(name, None if error else _between(marks, number) - nothing))
        elif error:
            raise ValueError(f"{networks[owner]} does not run on the emulated {core}: {error}")
        else:
            whole[owner] = _between(marks, number) - nothing
    return [ArmCount(whole[owner], core, tuple(found[owner])) for owner in found]


def check(core: str = DEFAULT_CORE) -> None:
    """Makes what counting needs, so that what is missing shows before other work is done.

    Raises:
        OSError: if the emulator or its system is missing; the message says what to install.
    """
    arm_sysroot.plugin()
    arm_sysroot.sysroot(core)


def run(network: str | os.PathLike, images: np.ndarray, core: str = DEFAULT_CORE) -> np.ndarray:
    """The logits that Arm's kernels give for images.

    Args:
        network: Path of a .tflite that segments images, as `Network` takes it.
        images: What to look at.
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


def _between(marks: dict[int, int], number: int) -> int:
    return marks[2 * number + 1] - marks[2 * number]


def _emulate(directory: str, core: str, task: str, **arguments: Any) -> tuple[dict, dict[int, int]]:
    """Runs a task of `arm_guest.py`; returns its answer and the instructions up to each of its marks."""
    plugin, root = arm_sysroot.plugin(), arm_sysroot.sysroot(core)
    asked, answered, marks = (Path(directory, name) for name in ("request.json", "answer.json", "marks"))
    # The guest has a LiteRT of its own, in a package of the same name.
    request = {"interpreter": _keras.Interpreter.__module__, "task": task, "arguments": arguments}
    asked.write_text(json.dumps(request))
    # Nothing of our own environment, whose size moves the guest's stack.
    environment = {
        "QEMU_LD_PREFIX": str(root),
        "PYTHONHOME": str(root / "usr"),
        "PYTHONPATH": str(root / "site"),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PATH": os.environ.get("PATH", os.defpath),
    }
    # Two commas are one that is part of a path.
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
