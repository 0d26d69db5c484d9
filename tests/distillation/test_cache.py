"""What a teacher says, from disk: the same as from the teacher, wherever that is possible."""

import itertools
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tiny_networks import CLASSES, HEIGHT, SHAPE, WIDTH, network

import tfsegkd
from tfsegkd.data import NO_AUGMENTATION, Augmentation, DatasetInfo, Source, training_batches
from tfsegkd.distillation import TeacherCache, load_teacher

SIZE = (HEIGHT, WIDTH)
LAYERS = ("logits", "stage")
INFO = DatasetInfo("noise", tuple("abcd"), ((0, 0, 0),) * CLASSES)
FLIPS = Augmentation(1, 1, True, 0, 0, 0, 0)


class Noise(Source):
    """Random frames; `seed` makes other ones of the same names."""

    def __init__(self, count=6, seed=0, size=SIZE):
        super().__init__(INFO, [f"frame_{number}" for number in range(count)])
        self.seed, self.size = seed, size

    def read(self, index):
        random = np.random.default_rng((self.seed, index))
        masks = random.integers(0, CLASSES, self.size, np.uint8)
        return random.integers(0, 256, (*self.size, 3), np.uint8), masks


def cached(directory, model=None, source=None, **options):
    teacher = load_teacher(model or network("teacher", seed=1))
    return TeacherCache(directory, teacher, source or Noise(), SIZE, options.pop("layers", LAYERS), **options)


def pixelwise_linear(seed=0):
    """A teacher whose logits are a linear map of each pixel: it commutes with every change of geometry."""
    images = tfsegkd._keras.keras.Input(SHAPE)
    layer = tfsegkd._keras.keras.layers.Conv2D(CLASSES, 1, name="linear")
    model = tfsegkd._keras.keras.Model(images, layer(images), name="linear")
    layer.set_weights([np.random.default_rng(seed).normal(0, 0.05, (1, 1, 3, CLASSES)), np.zeros(CLASSES)])
    return model


@pytest.mark.parametrize("augmentation", [NO_AUGMENTATION, FLIPS])
def test_unscaled_batches_carry_what_the_teacher_would_say(augmentation, tmp_path):
    model = network("teacher", seed=1)
    cache = cached(tmp_path, model)
    live = load_teacher(model).feature_extractor(LAYERS)
    batches = training_batches(Noise(), SIZE, 2, augmentation=augmentation, maps=cache, seed=3)
    mirrored = 0
    for inputs, _ in itertools.islice(batches, 6):
        said = live(inputs["images"])
        mirrored += not np.array_equal(inputs["images"], inputs["images"][:, :, ::-1])
        for layer_name in LAYERS:
            np.testing.assert_allclose(inputs["teacher"][layer_name], said[layer_name], rtol=2e-3, atol=2e-3)
    assert mirrored


def test_logits_follow_every_geometry(tmp_path):
    model = pixelwise_linear()
    cache = cached(tmp_path, model, layers=("logits",))
    augmentation = Augmentation(0.6, 1.7, True, 0, 0, 0, 0)
    for crop in (SIZE, (8, 10)):
        batches = training_batches(
            Noise(), SIZE, 3, crop_size=crop, augmentation=augmentation, maps=cache, seed=5
        )
        for inputs, masks in itertools.islice(batches, 6):
            said = tf.linalg.matmul(inputs["images"], model.layers[-1].kernel[0, 0])
            # Next to the frame's border images are mixed with grey: a pixel counts if all around it do.
            known = np.pad(masks != 255, ((0, 0), (1, 1), (1, 1)))
            around = [known[:, y : y + crop[0], x : x + crop[1]] for y in range(3) for x in range(3)]
            error = np.abs(inputs["teacher"]["logits"] - said)[np.all(around, 0)]
            assert error.size > 500
            assert error.max() < 0.05


def test_a_distiller_learns_from_the_cache_as_from_the_teacher(tmp_path):
    model = network("teacher", filters=5, seed=1)
    losses = []
    for maps in (None, cached(tmp_path, model)):
        terms = [tfsegkd.Term("pixelwise"), tfsegkd.Term("hint", at=("stage", "stage"))]
        student = network("student", filters=3, seed=2)
        distiller = tfsegkd.Distiller(model if maps is None else maps, student, terms)
        distiller.compile("sgd")
        batches = training_batches(Noise(), SIZE, 2, augmentation=FLIPS, maps=maps)
        losses.append(distiller.fit(batches, steps_per_epoch=3, epochs=2, verbose=0).history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)


def test_a_teacher_of_another_size_sees_the_images_at_its_own(tmp_path):
    fine = network("fine", shape=(2 * HEIGHT, 2 * WIDTH, 3), seed=1)
    source = Noise(size=(2 * HEIGHT, 2 * WIDTH))
    cache = cached(tmp_path, fine, source)
    images = np.stack([source[0][0]]).astype("float32")
    said = load_teacher(fine).feature_extractor(LAYERS)(images)
    read = cache.read(0)
    assert cache.map_shapes == {"logits": (*SIZE, CLASSES), "stage": (HEIGHT, WIDTH, 6)}
    np.testing.assert_allclose(read["stage"], said["stage"][0], rtol=2e-3, atol=2e-3)
    halved = tf.image.resize(said["logits"], SIZE, antialias=True)[0]
    np.testing.assert_allclose(read["logits"], halved, rtol=2e-3, atol=2e-3)


def test_what_is_recorded_is_not_computed_again(tmp_path):
    assert cached(tmp_path, layers=["logits"]).added == 6
    assert cached(tmp_path, layers=["logits"]).added == 0
    # A killed process leaves whole files and lacks others; a further layer lacks them all.
    (tmp_path / "logits" / "000002.npz").unlink()
    assert cached(tmp_path, layers=["logits"]).added == 1
    assert cached(tmp_path).added == 6
    assert not [path for path in tmp_path.rglob("*") if ".tmp" in path.name]


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"model": network("teacher", seed=2)}, "teacher"),
        ({"source": Noise(seed=1)}, "frames"),
        ({"source": Noise(count=5)}, "examples"),
    ],
)
def test_a_cache_of_another_teacher_or_other_images_is_refused(changed, word, tmp_path):
    cached(tmp_path)
    with pytest.raises(ValueError, match=f"recorded with another .*{word}.*Delete it"):
        cached(tmp_path, **changed)


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty", "gone", "foreign"])
def test_a_damaged_file_is_named_and_can_be_made_again(damage, tmp_path):
    cache = cached(tmp_path)
    path = tmp_path / "stage" / "000004.npz"
    before, content = cache.read(4)["stage"], bytearray(path.read_bytes())
    if damage == "torn":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 4] ^= 255
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "gone":
        path.unlink()
    else:
        np.savez(path, plain=np.zeros((2, 2), np.float16), mirrored=np.zeros((2, 2), np.float16))
    with pytest.raises(ValueError, match=r"000004.npz.*damaged.*Delete it and run again"):
        cache.read(4)
    path.unlink(missing_ok=True)
    np.testing.assert_array_equal(cached(tmp_path).read(4)["stage"], before)


def test_a_damaged_manifest_is_refused(tmp_path):
    cached(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps(["nonsense"]))
    with pytest.raises(ValueError, match="recorded with another"):
        cached(tmp_path)


def test_what_float16_cannot_hold_is_refused(tmp_path):
    model = pixelwise_linear()
    model.layers[-1].bias.assign([1e5, 0, 0, 0])
    with pytest.raises(ValueError, match=r"'logits'.*frame_0.*float16"):
        cached(tmp_path, model, layers=["logits"])


def test_a_disk_without_room_is_found_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(OSError, match=r"needs .* MB.*Free space: "):
        cached(tmp_path)
    assert not list(tmp_path.rglob("*.npz"))


def test_layers_that_are_not_recorded_are_named(tmp_path):
    cache = cached(tmp_path, layers=["logits"])
    with pytest.raises(ValueError, match=r"without the layers \['stage'\]"):
        tfsegkd.Distiller(cache, network("student"), [tfsegkd.Term("hint", at=("stage", "stage"))])


def test_the_cache_says_where_it_is_inexact(tmp_path):
    cache = cached(tmp_path)
    assert cache.inexact(NO_AUGMENTATION) == [] and cache.inexact(FLIPS) == []
    assert ["scaling" in reason for reason in cache.inexact(Augmentation(0.5, 2, True, 0, 0, 0, 0))] == [True]
    assert len(cache.inexact(Augmentation())) == 2


def test_outputs_of_other_images_are_refused(tmp_path):
    class Part(Noise):
        def __init__(self, numbers):
            super().__init__(len(numbers))
            self.names = [f"frame_{number}" for number in numbers]

    recorded = cached(tmp_path / "cache")
    training_batches(Part([0, 1, 2]), SIZE, batch_size=2, maps=recorded)  # the first of them
    with pytest.raises(
        ValueError, match="6 were recorded, from 'frame_0' on, and these are 3, from 'frame_2'"
    ):
        training_batches(Part([2, 3, 4]), SIZE, batch_size=2, maps=recorded)
