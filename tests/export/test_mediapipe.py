"""The exported file and the bundle in MediaPipe and LiteRT, in an environment of their own.

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
from litert_masks import litert_masks
from PIL import Image

from tfsegkd.runtime import Network

REQUIREMENTS = ("mediapipe==1.2.2", "ai-edge-litert>=2,<3")
SYSTEM_LIBRARIES = ("libEGL.so.1", "libGLESv2.so.2")
SCRIPT = Path(__file__).with_name("mediapipe_segment.py")
# What MediaPipe takes of a bundle; labels in place of logits it would misread.
FILES = ("model_int8.tflite", "model_float_io.tflite", "model_stride2.tflite", "model_float16.tflite")

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
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
    return python


def segmented(python, path, image, scratch):
    """What MediaPipe's ImageSegmenter says of an image: labels, classes and confidences."""
    np.save(scratch / "image.npy", image)
    command = [python, SCRIPT, path, scratch / "image.npy", scratch / "answer.npz"]
    child = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    with np.load(scratch / "answer.npz") as answer:
        return answer["labels"], answer["category"], answer["confidences"]


@pytest.mark.parametrize("variant", ["exported", "exported_float_io"])
def test_image_segmenter_sees_what_we_see(mediapipe_python, variant, info, images, tmp_path, request):
    path = request.getfixturevalue(variant)[0]
    labels, category, confidences = segmented(mediapipe_python, path, images[0], tmp_path)

    logits = Network(path).predict(images[:1])[0]
    ours = logits.argmax(-1)
    assert len(np.unique(ours)) >= 3  # an image of one class would prove little
    assert tuple(labels) == info.class_names
    assert category.shape == ours.shape
    assert (category == ours).mean() >= 0.98
    # The metadata says that the output is logits; had MediaPipe not read it, these would be no softmax.
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    np.testing.assert_allclose(confidences, exponentials / exponentials.sum(-1, keepdims=True), atol=1e-3)


@pytest.mark.parametrize("file", FILES)
def test_image_segmenter_reproduces_the_golden_mask(mediapipe_python, bundle, file, info, tmp_path):
    directory, _ = bundle
    image, golden = (np.asarray(Image.open(directory / f"golden_{name}.png")) for name in ("input", "mask"))
    labels, category, _ = segmented(mediapipe_python, directory / file, image, tmp_path)
    assert tuple(labels) == info.class_names
    if category.shape != golden.shape:
        assert file.startswith("model_stride")
        category = np.kron(category, np.ones((2, 2), category.dtype))
    # Where logits are enlarged after the choice, or computed in floats, pixels at borders differ.
    assert (category == golden).mean() >= (0.98 if file == FILES[0] else 0.9)


def test_litert_reproduces_the_golden_mask_there(mediapipe_python, bundle, tmp_path):
    litert_masks(mediapipe_python, bundle[0], tmp_path)
