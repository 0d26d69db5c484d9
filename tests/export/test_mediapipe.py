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

import tfsegkd
from tfsegkd import data, export, models, quantization
from tfsegkd._keras import keras, keras3
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


# A binary network from a folder of masks to the phone.

BINARY_SIZE = (48, 64)


def write_folder(root, split, count, seed):
    """Noise with a brighter patch, which is the object; masks are black and white."""
    random = np.random.default_rng(seed)
    for kind in ("images", "masks"):
        (root / split / kind).mkdir(parents=True)
    for number in range(count):
        pixels = random.integers(0, 120, (*BINARY_SIZE, 3), np.uint8)
        top, left = (int(random.integers(0, side // 2)) for side in BINARY_SIZE)
        mask = np.zeros(BINARY_SIZE, np.uint8)
        mask[top : top + 20, left : left + 28] = 255
        pixels[mask == 255] += 90
        Image.fromarray(pixels).save(root / split / "images" / f"{number:02}.png")
        Image.fromarray(mask).save(root / split / "masks" / f"{number:02}.png")


def one_channel_unet(k, width, name):
    """A U-Net that ends in one channel and a sigmoid, as segmentation_models' example does."""
    layers = k.layers
    x = inputs = k.Input((*BINARY_SIZE, 3), name="pixels")
    x, skips = layers.Rescaling(1 / 255)(x), []
    for stage in range(2):
        x = layers.Conv2D(width << stage, 3, padding="same", activation="relu")(x)
        x = layers.BatchNormalization(momentum=0.8)(x)
        skips.append(x)
        x = layers.MaxPooling2D(2)(x)
    for skip in reversed(skips):
        x = layers.Concatenate()([layers.UpSampling2D(2)(x), skip])
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    return k.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid", name="object")(x), name=name)


def iou(found, truth):
    return (found & truth).sum() / (found | truth).sum()


@pytest.mark.slow
def test_a_binary_network_from_a_folder_to_mediapipe(mediapipe_python, tmp_path):
    (root := tmp_path / "mydata").mkdir()
    (root / "labels.txt").write_text("background\npatch\n")
    write_folder(root, "train", 16, 0)
    write_folder(root, "val", 4, 1)
    sources = [data.load("folder", split, root) for split in ("train", "val")]
    (images, masks), (unseen, truth) = (map(np.stack, zip(*source, strict=True)) for source in sources)
    images, unseen = images.astype(np.float32), unseen.astype(np.float32)
    assert set(np.unique(truth)) == {0, 1}

    keras.utils.set_random_seed(0)
    teacher = one_channel_unet(keras, 12, "teacher")
    teacher.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy")
    teacher.fit(images, masks[..., None], batch_size=4, epochs=12, verbose=0)
    assert iou(teacher.predict(unseen, verbose=0)[..., 0] > 0.5, truth == 1) > 0.8

    # The labels count for nothing: what the student knows, it has from its teacher.
    keras3.utils.set_random_seed(1)
    student = one_channel_unet(keras3, 6, "student")
    distiller = tfsegkd.Distiller(
        teacher,
        student,
        terms=[tfsegkd.Term("pixelwise"), tfsegkd.Term("channel_wise", weight=0.1)],
        task_weight=0.0,
    )
    distiller.compile(keras.optimizers.Adam(1e-2))
    losses = distiller.fit(images, masks, batch_size=4, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert iou(np.asarray(student(unseen))[..., 0] > 0.5, truth == 1) > 0.8

    aware = quantization.quantize(models.adopt(student)[0], calibration=[images])
    report = export.export_tflite(aware, tmp_path / "binary.tflite", metadata=sources[0].info)
    assert report.float_ops == []
    labels, category, confidences = segmented(
        mediapipe_python, tmp_path / "binary.tflite", unseen[0].astype(np.uint8), tmp_path
    )
    assert tuple(labels) == ("background", "patch")
    assert iou(category == 1, truth[0] == 1) > 0.8
    expected = np.asarray(student(unseen[:1]))[0, ..., 0]
    assert np.abs(confidences[..., 1] - expected).mean() < 0.05
