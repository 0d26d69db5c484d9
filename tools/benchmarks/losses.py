"""Time, memory and error of the Gram form of the pairwise and csc losses against the P×P form.

Each measurement runs in a process of its own, because the peak memory of a process never goes down again.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time

from benchmarks.rows import Column, Row, line, table

SIZES = ((33, 33), (65, 65), (64, 128), (128, 256))
CHANNELS = {"pairwise": 128, "csc": 19}
# The P×P form holds two similarity matrices, their difference, its square and a gradient at once.
MATRICES = 5

_COLUMNS = (
    Column("loss"),
    Column("positions", lambda row: f"{row['height']}×{row['width']}"),
    Column("C", "channels"),
    Column("P×P s", "pp_seconds", "{:,.4f}"),
    Column("Gram s", "gram_seconds", "{:,.4f}"),
    Column("speed-up", lambda row: row["pp_seconds"] and row["pp_seconds"] / row["gram_seconds"], "{:.1f}×"),
    Column("P×P MB", "pp_mb", "{:,.0f}"),
    Column("Gram MB", "gram_mb", "{:,.0f}"),
    Column("of it the loss", "gram_own_mb", "{:,.0f}"),
    Column("error", form="{:.1e}"),
    Column("", "note"),
)


def run(sizes=SIZES, names=tuple(CHANNELS)) -> list[Row]:
    """Measures every loss of `names` at every size of `sizes`, and prints a table.

    Returns:
        A row for each. Times are medians, in seconds, of value and gradient for one image; `pp_seconds` and
        `pp_mb`, of the P×P form, are None where it was skipped, for the reason in `note`. `gram_mb` is the
        peak memory of the whole process, `gram_own_mb` what of it was not there before the loss. `error` is
        that of the value, relative to the P×P form in float64, summed block by block; `gradient_error` the
        largest difference of the gradients of the two forms over the largest gradient.
    """
    print(table(_COLUMNS, []), flush=True)
    rows = []
    for name in names:
        for size in sizes:
            rows.append(_row(name, *size))
            print(line(_COLUMNS, rows[-1]), flush=True)
    return rows


def _row(name: str, height: int, width: int) -> Row:
    gram = _measure(name, height, width, "gram")
    exact = _measure(name, height, width, "exact")
    needed, free = MATRICES * 4 * (height * width) ** 2, _available_bytes()
    fits = needed < 0.7 * free
    pp = _measure(name, height, width, "pp") if fits else None
    return {
        "loss": name,
        "height": height,
        "width": width,
        "channels": CHANNELS[name],
        "gram_seconds": gram["seconds"],
        "gram_mb": gram["peak_mb"],
        "gram_own_mb": gram["peak_mb"] - gram["before_mb"],
        "pp_seconds": pp and pp["seconds"],
        "pp_mb": pp and pp["peak_mb"],
        "error": abs(gram["value"] / exact["value"] - 1),
        "gradient_error": pp and _difference(gram["gradient"], pp["gradient"]),
        "note": "" if fits else f"P×P needs about {needed / 2**30:.0f} GiB, {free / 2**30:.0f} are free",
    }


def _difference(one, other):
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) / max(map(abs, other))


def _available_bytes() -> int:
    with open("/proc/meminfo") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def _measure(name: str, height: int, width: int, form: str) -> dict:
    """What `_case` measures, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.losses", name, str(height), str(width), form]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[2:])} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _case(name: str, height: int, width: int, form: str) -> dict:
    import numpy as np
    import tensorflow as tf

    from tfsegkd import losses

    random = np.random.default_rng(0)
    teacher = random.standard_normal((1, height, width, CHANNELS[name]), "float32")
    student = teacher + np.float32(0.1) * random.standard_normal(teacher.shape, "float32")
    if form == "exact":
        return {"value": _exact(name, teacher, student)}
    teacher, student = tf.constant(teacher), tf.constant(student)
    step = _gram_step(losses.get(name)) if form == "gram" else _pp_step(name)
    before = _peak_mb()
    value, gradient = step(teacher, student)
    seconds = []
    while len(seconds) < 3 or (sum(seconds) < 2 and len(seconds) < 50):
        start = time.perf_counter()
        value, gradient = step(teacher, student)
        value.numpy()
        seconds.append(time.perf_counter() - start)
    picked = np.linspace(0, student.shape.num_elements() - 1, 1000).astype(int)
    return {
        "value": float(value),
        "gradient": gradient.numpy().ravel()[picked].tolist(),
        "seconds": statistics.median(seconds),
        "before_mb": before,
        "peak_mb": _peak_mb(),
    }


def _gram_step(loss):
    import tensorflow as tf

    @tf.function
    def step(teacher, student):
        with tf.GradientTape() as tape:
            tape.watch(student)
            value = loss(teacher, student)[0]
        return value, tape.gradient(value, student)

    return step


def _pp_step(name: str):
    """The form of the papers: similarity matrices of all pairs, in float32, gradients by the tape.

    csc takes one shift after the other, so that one pair of matrices is held at a time.
    """
    import tensorflow as tf

    def lifted(features, shift):
        rows = tf.reshape(tf.math.l2_normalize(features[0], -1), [-1, features.shape[-1]])
        return rows if shift is None else rows * tf.roll(rows, shift, -1)

    @tf.function
    def one(teacher, student, shift):
        with tf.GradientTape() as tape:
            tape.watch(student)
            rows_t, rows_s = lifted(teacher, shift), lifted(student, shift)
            gap = tf.matmul(rows_t, rows_t, transpose_b=True) - tf.matmul(rows_s, rows_s, transpose_b=True)
            value = tf.reduce_mean(tf.square(gap))
        return value, tape.gradient(value, student)

    def step(teacher, student):
        if name == "pairwise":
            return one(teacher, student, None)
        parts = [one(teacher, student, tf.constant(shift)) for shift in range(CHANNELS[name])]
        return tuple(sum(part) / CHANNELS[name] for part in zip(*parts, strict=True))

    return step


def _exact(name: str, teacher, student) -> float:
    """The P×P form in float64, a block of rows at a time."""
    import numpy as np

    sides = [side.reshape(-1, side.shape[-1]).astype("float64") for side in (teacher, student)]
    sides = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides]
    shifts = [None] if name == "pairwise" else range(CHANNELS[name])
    total = 0.0
    for shift in shifts:
        rows = [side if shift is None else side * np.roll(side, shift, 1) for side in sides]
        for start in range(0, len(rows[0]), 512):
            gap = rows[0][start : start + 512] @ rows[0].T - rows[1][start : start + 512] @ rows[1].T
            total += np.square(gap, out=gap).sum()
    return total / (len(shifts) * len(sides[0]) ** 2)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    case = sys.argv[1:]
    print(json.dumps(_case(case[0], int(case[1]), int(case[2]), case[3])))
