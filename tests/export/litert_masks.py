"""Whether both interfaces of LiteRT reproduce the golden mask of a bundle, in any environment."""

import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

SCRIPT = Path(__file__).with_name("litert_segment.py")
# The least share of the golden mask's pixels: its own file, another way in and out, halves of floats.
FILES = {
    "model_int8.tflite": 0.98,
    "model_float_io.tflite": 0.98,
    "model_labels.tflite": 0.98,
    "model_stride2.tflite": 0.9,
    "model_float16.tflite": 0.9,
}


def litert_masks(python, bundle, scratch):
    """Runs every file of a bundle in `python` and compares what it says with the golden mask."""
    image, golden = (np.asarray(Image.open(bundle / f"golden_{name}.png")) for name in ("input", "mask"))
    np.save(scratch / "image.npy", image)
    models = [bundle / name for name in FILES]
    command = [python, SCRIPT, scratch / "image.npy", scratch / "answer.npz", *models]
    child = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    assert len(np.unique(golden)) >= 3  # a mask of one class would prove little
    with np.load(scratch / "answer.npz") as answer:
        for number, (name, least) in enumerate(FILES.items()):
            for interface in ("interpreter", "compiled"):
                given = answer[f"{interface}_{number}"][0]
                mask = given if given.ndim == 2 else given.argmax(-1)
                if mask.shape != golden.shape:
                    mask = np.kron(mask, np.ones((2, 2), mask.dtype))
                agreement = (mask == golden).mean()
                assert agreement >= least, (name, interface, agreement)
