"""The exported file in MediaPipe, in an environment of its own.

MediaPipe needs absl-py 2 and TF-MOT absl-py 1, so the two cannot share one. Asked for by
`pytest -m mediapipe`; TFSEGKD_MEDIAPIPE_VENV names a directory in which the environment is kept.
"""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfsegkd.runtime import Network

REQUIREMENT = "mediapipe==1.2.2"
SYSTEM_LIBRARIES = ("libEGL.so.1", "libGLESv2.so.2")
SCRIPT = Path(__file__).with_name("mediapipe_segment.py")

pytestmark = pytest.mark.mediapipe


@pytest.fixture(scope="module")
def mediapipe_python(tmp_path_factory):
    """The Python of an environment with MediaPipe, built if there is none."""
    for library in SYSTEM_LIBRARIES if sys.platform == "linux" else ():
        try:
            ctypes.CDLL(library)
        except OSError:
            pytest.skip(f"MediaPipe needs {library}: apt-get install -y libgl1 libegl1 libgles2")
    kept = os.environ.get("TFSEGKD_MEDIAPIPE_VENV")
    directory = Path(kept) if kept else tmp_path_factory.mktemp("mediapipe") / "venv"
    python = directory / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    # Does nothing but look when the package is there already.
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", REQUIREMENT], check=True)
    return python


@pytest.mark.parametrize("variant", ["exported", "exported_float_io"])
def test_image_segmenter_sees_what_we_see(mediapipe_python, variant, info, images, tmp_path, request):
    path = request.getfixturevalue(variant)[0]
    np.save(tmp_path / "image.npy", images[0])
    command = [mediapipe_python, SCRIPT, path, tmp_path / "image.npy", tmp_path / "answer.npz"]
    child = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    with np.load(tmp_path / "answer.npz") as answer:
        labels, category, confidences = answer["labels"], answer["category"], answer["confidences"]

    logits = Network(path).predict(images[:1])[0]
    ours = logits.argmax(-1)
    assert len(np.unique(ours)) >= 3  # an image of one class would prove little
    assert tuple(labels) == info.class_names
    assert category.shape == ours.shape
    assert (category == ours).mean() >= 0.98
    # The metadata says that the output is logits; had MediaPipe not read it, these would be no softmax.
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    np.testing.assert_allclose(confidences, exponentials / exponentials.sum(-1, keepdims=True), atol=1e-3)
