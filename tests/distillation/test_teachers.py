"""Teachers from anywhere: what they show, against the network run by other means, and what they refuse."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tiny_networks import CLASSES, HEIGHT, SHAPE, WIDTH, network, same, statistics

from tfsegkd import _keras, models
from tfsegkd._keras import keras
from tfsegkd.distillation import Distiller, Teacher, Term, load_teacher

CLASS_MAPS = Path(__file__).parents[2] / "configs" / "class_maps"


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0, 255, (2, *SHAPE)).astype("float32")


@pytest.fixture(scope="module")
def model():
    return network("teacher")


def look(teacher, images, *layer_names, graph=False):
    run = teacher.feature_extractor(layer_names or ["logits"])
    shown = tf.function(run)(tf.constant(images)) if graph else run(tf.constant(images))
    assert set(shown) == set(layer_names or ["logits"])
    shown = {layer_name: tensor.numpy() for layer_name, tensor in shown.items()}
    return shown if layer_names else shown["logits"]


def softmax(logits):
    exponentials = np.exp(np.float64(logits) - np.max(logits, -1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def resize(images, size):
    """Bilinear, half-pixel centres, one position at a time."""
    height, width = images.shape[1:3]

    def axis(length, new):
        at = np.clip((np.arange(new) + 0.5) * length / new - 0.5, 0, length - 1)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, length - 1), at - low

    (top, bottom, down), (left, right, across) = axis(height, size[0]), axis(width, size[1])
    made = np.empty((len(images), *size, images.shape[3]))
    for y in range(size[0]):
        for x in range(size[1]):
            upper = images[:, top[y], left[x]] * (1 - across[x]) + images[:, top[y], right[x]] * across[x]
            lower = (
                images[:, bottom[y], left[x]] * (1 - across[x]) + images[:, bottom[y], right[x]] * across[x]
            )
            made[:, y, x] = upper * (1 - down[y]) + lower * down[y]
    return made


# tf_keras


def test_a_keras_network_and_its_file_teach_the_same(model, images, tmp_path):
    for form in (".keras", ".h5", ""):
        path = tmp_path / f"teacher{form}"
        model.save(path, save_format=None if form else "tf")
        teacher = load_teacher(str(path), trust_model=not form)
        np.testing.assert_array_equal(look(teacher, images), model.predict(images, verbose=0))
        assert teacher.size == (HEIGHT, WIDTH) and not teacher.recorded
        assert teacher.fingerprint() == load_teacher(model).fingerprint()


def test_a_teacher_passes_through(model):
    teacher = load_teacher(model)
    assert isinstance(teacher, Teacher) and load_teacher(teacher) is teacher
    assert load_teacher(teacher, num_classes=CLASSES) is teacher


def test_logits_of_a_coarse_network_come_at_the_size_of_the_images(images):
    inner = network("fine")
    coarse = keras.Model(inner.input, inner.get_layer("head").output)
    expected = resize(coarse.predict(images, verbose=0), (HEIGHT, WIDTH))
    np.testing.assert_allclose(look(load_teacher(coarse), images), expected, atol=1e-4)


def test_the_fingerprint_knows_weights_and_structure_and_no_names():
    def build(name=None, seed=0, strides=2, activation="relu"):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input(SHAPE)
        first = keras.layers.Conv2D(4, 3, padding="same", activation=activation)
        x = keras.layers.MaxPool2D(strides, padding="same")(first(inputs))
        inner = keras.Sequential([keras.layers.Conv2D(4, 1), keras.layers.ReLU()])
        return keras.Model(inputs, keras.layers.Conv2D(3, 1)(inner(x)), name=name)

    def known(**changes):
        return load_teacher(build(**changes)).fingerprint()

    original = known()
    # The automatic names of these layers differ from those above.
    assert known() == known(name="another") == original
    others = [known(seed=1), known(strides=3), known(activation="tanh")]
    assert len({original, *others}) == 4
    model = build()
    model.trainable = False
    assert load_teacher(model).fingerprint() == original
    kernel = model.layers[-1].kernel
    kernel[0, 0, 0, 0].assign(kernel[0, 0, 0, 0] + 1e-6)
    assert load_teacher(model).fingerprint() != original
    assert load_teacher(models.at_size(build(), (8, 8))).fingerprint() != original


@pytest.mark.slow
def test_the_fingerprint_is_the_same_in_another_process(model, tmp_path):
    path = tmp_path / "teacher.keras"
    model.save(path)
    script = (
        "import sys\nfrom tfsegkd.distillation import load_teacher\nfrom tfsegkd._keras import keras\n"
        "keras.layers.Conv2D(1, 1)\nprint(load_teacher(sys.argv[1]).fingerprint())"
    )
    printed = subprocess.check_output([sys.executable, "-c", script, str(path)], text=True)
    assert printed.split()[-1] == load_teacher(model).fingerprint()


# Keras 3


@pytest.fixture(scope="module")
def keras3_model():
    keras3 = _keras.keras3
    keras3.utils.set_random_seed(0)
    layers = keras3.layers
    images = keras3.Input(SHAPE)
    inside = keras3.Input((HEIGHT, WIDTH, 4), name="inside")
    inner = keras3.Model(
        inside, layers.Rescaling(2.0)(layers.Conv2D(5, 3, padding="same", name="deep")(inside)), name="inner"
    )
    x = layers.Conv2D(4, 3, padding="same", name="stem")(layers.Rescaling(1 / 255)(images))
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Dropout(0.5)(inner(x))
    return keras3.Model(images, layers.Conv2D(CLASSES, 1, name="head")(x), name="third")


def test_a_keras_3_network_teaches_in_inference_mode(keras3_model, images):
    before = [weight.copy() for weight in keras3_model.get_weights()]
    expected = np.asarray(keras3_model(images, training=False))
    teacher = load_teacher(keras3_model)
    np.testing.assert_allclose(look(teacher, images), expected, atol=1e-5)
    np.testing.assert_allclose(look(teacher, images, graph=True), expected, atol=1e-5)
    assert same(before, keras3_model.get_weights())


def test_layers_inside_nested_keras_3_networks_are_feature_layers(keras3_model, images):
    keras3 = _keras.keras3
    stem = keras3.Model(keras3_model.input, keras3_model.get_layer("stem").output)(images)
    norm = keras3.Model(keras3_model.input, keras3_model.get_layer("norm").output)(images)
    inner = keras3_model.get_layer("inner")
    deep = keras3.Model(inner.input, inner.get_layer("deep").output)(norm)
    teacher = load_teacher(keras3_model)
    shown = look(teacher, images, "stem", "inner/deep", "inner", graph=True)
    np.testing.assert_allclose(shown["stem"], stem, atol=1e-5)
    np.testing.assert_allclose(shown["inner/deep"], deep, atol=1e-5)
    np.testing.assert_allclose(shown["inner"], 2 * np.asarray(deep), atol=1e-5)
    assert "call" not in vars(keras3_model.get_layer("stem"))
    assert teacher.shapes(["inner/deep", "logits"], SHAPE) == {
        "inner/deep": (HEIGHT, WIDTH, 5),
        "logits": (HEIGHT, WIDTH, CLASSES),
    }
    with pytest.raises(ValueError, match=r"'deeep' not found in teacher 'third'.*'inner/deep'"):
        teacher.feature_extractor(["logits", "deeep"])


def test_a_keras_3_network_of_another_size_is_fed_resized_images(keras3_model):
    images = np.random.default_rng(1).uniform(0, 255, (2, 10, 30, 3)).astype("float32")
    teacher = load_teacher(keras3_model)
    assert teacher.size is None and teacher.input_size == (HEIGHT, WIDTH)
    inside = np.asarray(keras3_model(resize(images, (HEIGHT, WIDTH)).astype("float32"), training=False))
    np.testing.assert_allclose(look(teacher, images), resize(inside, (10, 30)), atol=1e-4)
    with pytest.raises(ValueError, match=r"resizes every image to \(\d+, \d+\).*Leave out scales"):
        load_teacher(keras3_model, scales=(1.0, 2.0))


@pytest.mark.parametrize("form", ["keras", "h5"])
def test_a_file_says_which_keras_it_is_of(keras3_model, model, images, tmp_path, form):
    third, second = tmp_path / f"third.{form}", tmp_path / f"second.{form}"
    keras3_model.save(third)
    model.save(second)
    assert type(load_teacher(second)).__name__ == "KerasTeacher"
    teacher = load_teacher(third)
    assert type(teacher).__name__ == "Keras3Teacher"
    assert teacher.fingerprint() == load_teacher(keras3_model).fingerprint()
    np.testing.assert_allclose(look(teacher, images), keras3_model(images, training=False), atol=1e-5)


def test_a_keras_3_teacher_trains_a_student(keras3_model, images):
    student = network("student", seed=3)
    distiller = Distiller(
        keras3_model, student, [Term("hint", at=("inner/deep", "stage")), Term("pixelwise")]
    )
    distiller.compile("adam")
    masks = np.zeros((2, HEIGHT, WIDTH), "int32")
    first = distiller.fit(images, masks, verbose=0, epochs=8).history
    assert first["hint_stage"][-1] < first["hint_stage"][0]
    assert first["pixelwise"][-1] < first["pixelwise"][0]


# SavedModels


class Module(tf.Module):
    """Logits, and what else a signature may give."""

    def __init__(self, size=(None, None), dtype=tf.float32):
        super().__init__()
        self.kernel = tf.Variable(np.random.default_rng(0).normal(size=(3, CLASSES)), dtype=tf.float32)
        spec = tf.TensorSpec((None, *size, 3), dtype, name="pixels")
        self.one = tf.function(lambda pixels: {"out": self._run(pixels)}, input_signature=[spec])
        self.two = tf.function(
            lambda pixels: {"semantic": self._run(pixels), "edges": pixels}, input_signature=[spec]
        )
        self.labels = tf.function(lambda pixels: tf.argmax(self._run(pixels), -1), input_signature=[spec])

    def _run(self, pixels):
        return tf.einsum("nhwc,ck->nhwk", tf.cast(pixels, tf.float32), self.kernel)


def test_a_saved_model_teaches_by_its_signature(images, tmp_path):
    module = Module()
    tf.saved_model.save(module, str(tmp_path), signatures=module.one)
    teacher = load_teacher(tmp_path, trust_model=True)
    np.testing.assert_allclose(look(teacher, images, graph=True), images @ module.kernel.numpy(), rtol=1e-4)
    assert teacher.size is None and teacher.input_size is None
    assert teacher.fingerprint() == load_teacher(str(tmp_path), trust_model=True).fingerprint()
    module.kernel.assign_add(tf.ones_like(module.kernel))
    other = tmp_path / "other"
    tf.saved_model.save(module, str(other), signatures=module.one)
    assert load_teacher(other, trust_model=True).fingerprint() != teacher.fingerprint()
    with pytest.raises(ValueError, match=r"Layer 'stage' not found in teacher .* one of \['logits'\]"):
        teacher.shapes(["stage"], SHAPE)


def test_a_saved_model_of_fixed_size_and_integers(images, tmp_path):
    module = Module(size=(8, 8), dtype=tf.uint8)
    tf.saved_model.save(module, str(tmp_path), signatures=module.one)
    teacher = load_teacher(tmp_path, trust_model=True)
    inside = np.rint(resize(images, (8, 8))) @ module.kernel.numpy()
    shown = look(teacher, images)
    # Half-way pixels may round either way.
    np.testing.assert_allclose(
        shown, resize(inside, (HEIGHT, WIDTH)), atol=np.abs(module.kernel).max() * 1.01
    )
    assert teacher.input_size == (8, 8)


def test_of_several_outputs_one_is_chosen(images, tmp_path):
    module = Module()
    tf.saved_model.save(module, str(tmp_path), signatures=module.two)
    with pytest.raises(ValueError, match=r"one of the outputs \['edges', 'semantic'\]"):
        load_teacher(tmp_path, trust_model=True)
    teacher = load_teacher(tmp_path, output="semantic", trust_model=True)
    np.testing.assert_allclose(look(teacher, images), images @ module.kernel.numpy(), rtol=1e-4)
    assert teacher.fingerprint() != load_teacher(tmp_path, output="edges", trust_model=True).fingerprint()


def test_a_saved_model_that_gives_labels_is_refused(tmp_path):
    module = Module()
    tf.saved_model.save(module, str(tmp_path), signatures=module.labels)
    with pytest.raises(ValueError, match=r"must output logits \(N, H, W, C\).*int64"):
        load_teacher(tmp_path, trust_model=True).shapes(["logits"], SHAPE)


def test_a_saved_model_is_not_loaded_unless_it_is_trusted(tmp_path):
    module = Module()
    tf.saved_model.save(module, str(tmp_path), signatures=module.one)
    with pytest.raises(ValueError, match=r"can read and write files.*trust_model=True"):
        load_teacher(tmp_path)


# .tflite


def flat(function, size=(20, 12), inputs=tf.float32, quantize=False, dtype=tf.float32):
    """`function` of float images as a .tflite."""
    spec = tf.TensorSpec((1, *size, 3), dtype)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [tf.function(function).get_concrete_function(spec)]
    )
    if quantize:
        random = np.random.default_rng(0)
        batches = [[random.uniform(0, 255, (1, *size, 3)).astype("float32")] for _ in range(4)]
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: batches
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = inputs
        converter.inference_output_type = tf.int64 if quantize == "labels" else inputs
    return converter.convert()


KERNEL = np.random.default_rng(2).normal(size=(1, 1, 3, CLASSES)).astype("float32") / 50


def linear(images):
    return tf.nn.conv2d(images, tf.constant(KERNEL), 1, "SAME")


def labels(images):
    return tf.argmax(linear(images), -1)


def late_labels(images):
    return tf.cast(tf.expand_dims(tf.argmax(linear(images), -1, output_type=tf.int32), -1), tf.float32)


@pytest.mark.parametrize("function", [linear, labels, late_labels])
def test_a_float_tflite_gives_its_logits_whatever_it_puts_out(function, images, tmp_path):
    path = tmp_path / "teacher.tflite"
    path.write_bytes(flat(function))
    teacher = load_teacher(path, num_threads=1)
    expected = resize(resize(images, (20, 12)) @ KERNEL[0, 0], (HEIGHT, WIDTH))
    np.testing.assert_allclose(look(teacher, images), expected, atol=1e-3)
    np.testing.assert_allclose(look(teacher, images, graph=True), expected, atol=1e-3)
    assert teacher.shapes(["logits"], SHAPE) == {"logits": (HEIGHT, WIDTH, CLASSES)}
    batches = tf.data.Dataset.from_tensors(images).repeat(4)
    batches = batches.map(teacher.feature_extractor(["logits"]), num_parallel_calls=4)
    for batch in batches:
        np.testing.assert_allclose(batch["logits"], expected, atol=1e-3)


@pytest.mark.parametrize("dtype", [tf.uint8, tf.int8])
def test_a_quantized_tflite_is_fed_pixels_and_read_in_logits(dtype, tmp_path):
    path = tmp_path / "teacher.tflite"
    path.write_bytes(flat(linear, size=(HEIGHT, WIDTH), inputs=dtype, quantize=True))
    pixels = np.random.default_rng(3).integers(0, 256, (2, *SHAPE)).astype("float32")
    shown = look(load_teacher(path), pixels)
    expected = pixels @ KERNEL[0, 0]
    step = np.ptp(expected) / 255
    assert np.abs(shown - expected).max() < 4 * step
    assert len(np.unique(shown)) > 50


def test_the_scale_of_an_integer_input_does_not_change_the_pixels(tmp_path):
    # Normalised before quantization, so that the input's scale is 1/128 and not 1.
    path = tmp_path / "teacher.tflite"
    spec = tf.TensorSpec((1, *SHAPE), tf.float32)
    function = tf.function(lambda values: tf.nn.conv2d(values, tf.constant(KERNEL), 1, "SAME"))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function(spec)])
    values = np.random.default_rng(0).uniform(-1, 1, (4, 1, *SHAPE)).astype("float32")
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: [[each] for each in values]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    path.write_bytes(converter.convert())
    pixels = np.random.default_rng(3).integers(0, 256, (2, *SHAPE)).astype("float32")
    expected = (pixels - 127.5) / 127.5 @ KERNEL[0, 0]
    assert np.abs(look(load_teacher(path), pixels) - expected).max() < 0.05 * np.ptp(expected)


def test_a_tflite_has_one_layer_and_one_fingerprint_a_content(tmp_path):
    paths = [tmp_path / f"{name}.tflite" for name in "abc"]
    content = flat(linear)
    for path in paths[:2]:
        path.write_bytes(content)
    paths[2].write_bytes(flat(labels))
    prints = [load_teacher(path).fingerprint() for path in paths]
    assert prints[0] == prints[1] != prints[2]
    with pytest.raises(ValueError, match=r"'aspp' not found.*\['logits'\] only"):
        load_teacher(paths[0]).feature_extractor(["logits", "aspp"])
    with pytest.raises(ValueError, match=r"resizes every image to \(\d+, \d+\).*Leave out scales"):
        load_teacher(paths[0], scales=(0.5, 1.0))


def test_a_tflite_that_does_not_segment_is_refused(tmp_path):
    path = tmp_path / "teacher.tflite"
    path.write_bytes(flat(lambda images: tf.reduce_mean(linear(images), (1, 2))))
    with pytest.raises(ValueError, match=r"expected an output of logits .* Received: an output \[1, 4\]"):
        load_teacher(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="cannot load"):
        load_teacher(path)


# Functions


def test_functions_teach_with_or_without_layers(images):
    teacher = load_teacher(lambda pixels: pixels[..., :2] / 255, name="shares")
    np.testing.assert_allclose(look(teacher, images), images[..., :2] / 255, rtol=1e-6)
    teacher = load_teacher(lambda pixels: {"logits": pixels, "deep": pixels[:, ::2]})
    shown = look(teacher, images, "deep", "logits", graph=True)
    np.testing.assert_array_equal(shown["deep"], images[:, ::2])
    with pytest.raises(ValueError, match=r"'wide' not found .* one of \['logits', 'deep'\]"):
        teacher.shapes(["wide"], SHAPE)


def test_a_function_is_known_by_its_name(model):
    def teach(images):
        return images

    assert load_teacher(teach, name="a").fingerprint() == load_teacher(teach, name="a").fingerprint()
    assert load_teacher(teach, name="a").fingerprint() != load_teacher(teach, name="b").fingerprint()
    with pytest.raises(ValueError, match=r"'teach' has no weights.*name="):
        load_teacher(teach).fingerprint()
    with pytest.raises(ValueError, match="is for a function"):
        load_teacher(model, name="a")


@pytest.mark.parametrize(
    "function",
    [
        lambda images: images[..., 0],
        lambda images: tf.argmax(images, -1),
        lambda images: tf.cast(images, tf.int32),
    ],
)
def test_what_is_no_logits_is_refused(function):
    with pytest.raises(ValueError, match=r"must output logits \(N, H, W, C\)"):
        load_teacher(function).shapes(["logits"], SHAPE)


def test_pixels_are_brought_to_the_range_that_a_teacher_wants(images):
    teacher = load_teacher(lambda pixels: pixels, name="as it is")
    mean, deviation = (1.0, 2.0, 3.0), 127.5
    normal = load_teacher(teacher, normalize=(mean, deviation))
    np.testing.assert_allclose(look(normal, images), (images - mean) / deviation, rtol=1e-5, atol=1e-6)
    assert normal.fingerprint() != teacher.fingerprint()
    assert normal.fingerprint() == load_teacher(teacher, normalize=(mean, deviation)).fingerprint()
    for wrong in ((0, 0), ((1, 2), 1), (float("nan"), 1)):
        with pytest.raises(ValueError, match="normalize must be"):
            load_teacher(teacher, normalize=wrong)


# Averages


def test_an_ensemble_shows_the_mean_of_the_probabilities(model, images):
    other = network("other", seed=5)
    ensemble = load_teacher([model, other, lambda pixels: tf.tile(pixels[..., :1], (1, 1, 1, CLASSES)) * 0.1])
    uniform = np.full((2, HEIGHT, WIDTH, CLASSES), 1 / CLASSES)
    mean = (
        softmax(model.predict(images, verbose=0)) + softmax(other.predict(images, verbose=0)) + uniform
    ) / 3
    np.testing.assert_allclose(softmax(look(ensemble, images)), mean, atol=1e-6)
    np.testing.assert_allclose(np.exp(look(ensemble, images)).sum(-1), 1, atol=1e-5)
    assert ensemble.size == (HEIGHT, WIDTH)
    with pytest.raises(ValueError, match=r"Several members .* 'stage'.*\['teacher/stage', 'other/stage'"):
        ensemble.feature_extractor(["stage"])


def test_what_an_ensemble_cannot_join_is_said(model):
    with pytest.raises(ValueError, match=r"\[4, 3\] classes"):
        load_teacher([model, network("few", classes=3)]).shapes(["logits"], SHAPE)
    with pytest.raises(ValueError, match="An ensemble needs teachers"):
        load_teacher([])


def test_the_fingerprint_of_an_average_knows_its_parts(model):
    other = network("other", seed=5)
    ensemble = load_teacher([model, other]).fingerprint()
    assert ensemble == load_teacher([other, model]).fingerprint()
    plain = load_teacher(model).fingerprint()
    views = [
        load_teacher(model, flip=True).fingerprint(),
        load_teacher(model, scales=(1.0, 1.5)).fingerprint(),
        load_teacher(model, flip=True, scales=(1.0, 1.5)).fingerprint(),
    ]
    assert len({plain, ensemble, *views}) == 5


def test_views_are_flipped_and_scaled_back(model, images):
    views = load_teacher(model, flip=True, scales=(0.5, 1.0))
    small = models.at_size(model, (HEIGHT // 2, WIDTH // 2))
    smaller = resize(images, (HEIGHT // 2, WIDTH // 2)).astype("float32")
    mean = np.zeros((2, HEIGHT, WIDTH, CLASSES))
    for mirror in (1, -1):
        mean += softmax(model.predict(images[:, :, ::mirror], verbose=0)[:, :, ::mirror])
        logits = small.predict(smaller[:, :, ::mirror], verbose=0)[:, :, ::mirror]
        mean += softmax(resize(logits, (HEIGHT, WIDTH)))
    shown = look(views, images, "logits", "stage", graph=True)
    np.testing.assert_allclose(softmax(shown["logits"]), mean / 4, atol=1e-4)
    stage = keras.Model(model.input, model.get_layer("stage").output).predict(images, verbose=0)
    np.testing.assert_allclose(shown["stage"], stage, atol=1e-4)
    assert set(look(views, images, "stage", "conv")) == {"stage", "conv"}


def test_views_without_the_image_as_it_is_show_no_features(model, images):
    views = load_teacher(model, flip=False, scales=(0.5,))
    assert look(views, images).shape == (2, HEIGHT, WIDTH, CLASSES)
    with pytest.raises(ValueError, match=r"Add 1\.0 to scales"):
        views.feature_extractor(["logits", "stage"])
    for wrong in ((), (0.0, 1.0), (1.0, 1.0), (float("inf"),)):
        with pytest.raises(ValueError, match=r"scales of teacher .* must be"):
            load_teacher(model, scales=wrong)


def test_each_view_is_one_pass(images):
    calls = []
    counted = network("counted", calls=calls)
    teacher = load_teacher(counted, flip=True)
    run = tf.function(teacher.feature_extractor(["logits", "stage"]))
    calls.clear()
    run(tf.constant(images))
    assert calls == [False, False]
    before = statistics(counted)
    run(tf.constant(images))
    assert same(before, statistics(counted))


def test_through_windows_nothing_is_squeezed_and_overlaps_are_averaged(tmp_path):
    """Two square windows in a wide image; with scales, eight more of half the side."""
    height, width = 8, 14
    images = np.random.default_rng(6).uniform(0, 255, (2, height, width, 3)).astype("float32")
    path = tmp_path / "teacher.tflite"
    path.write_bytes(flat(lambda seen: tf.nn.avg_pool2d(linear(seen), 5, 1, "SAME"), size=(16, 16)))
    teacher = load_teacher(path)

    def through(windows):
        total, passes = np.zeros((2, height, width, CLASSES)), np.zeros((height, width, 1))
        for top, left, side in windows:
            seen = images[:, top : top + side, left : left + side]
            total[:, top : top + side, left : left + side] += softmax(look(teacher, seen))
            passes[top : top + side, left : left + side] += 1
        return total / passes

    large = through([(0, 0, 8), (0, 6, 8)])
    windows = load_teacher(path, windows=True)
    np.testing.assert_allclose(np.exp(look(windows, images, graph=True)), large, atol=1e-5)
    # A half-size window over a twice as large image is the same part of the scene.
    twice = tf.image.resize(images, (16, 28)).numpy()
    zoomed = np.zeros((2, 16, 28, CLASSES))
    passes = np.zeros((16, 28, 1))
    for top in (0, 8):
        for left in (0, 7, 13, 20):
            zoomed[:, top : top + 8, left : left + 8] += softmax(
                look(teacher, twice[:, top : top + 8, left : left + 8])
            )
            passes[top : top + 8, left : left + 8] += 1
    logits = resize(np.log(zoomed / passes), (height, width))
    views = load_teacher(path, windows=True, scales=(1.0, 2.0))
    np.testing.assert_allclose(softmax(look(views, images)), (large + softmax(logits)) / 2, atol=1e-4)
    prints = {each.fingerprint() for each in (teacher, windows, views)}
    assert len(prints) == 3


def test_what_windows_cannot_do_is_said(keras3_model, model):
    with pytest.raises(ValueError, match=r"Leave out `windows`"):
        load_teacher(model, windows=True)
    windows = load_teacher(keras3_model, windows=True)
    with pytest.raises(ValueError, match=r"'stem' not found.*Leave out windows to distil features"):
        windows.feature_extractor(["stem"])
    with pytest.raises(ValueError, match="images of a known size"):
        windows.shapes(["logits"], (None, None, 3))


# Class maps

STUDENT = ("sky", "car", "road")


def mapped(table, images, **options):
    random = np.random.default_rng(4)
    logits = tf.constant(random.normal(size=(2, HEIGHT, WIDTH, 5)) * 3, tf.float32)
    teacher = load_teacher(lambda pixels: logits, table, name="t", class_names=STUDENT, **options)
    return look(teacher, images), logits.numpy(), teacher


@pytest.mark.parametrize("form", ["table", "names", "text", "json"])
def test_classes_are_joined_in_the_students_order(form, images, tmp_path):
    table, options = {"car": [3, 1], "road": 0, "sky": [4]}, {}
    names = ["street", "lorry", "nothing", "car", "heaven"]
    if form == "names":
        table, options = {"car": ["car", 1], "road": "street", "sky": [4]}, {"teacher_classes": names}
    elif form == "text":
        (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
        options = {"teacher_classes": tmp_path / "names.txt"}
        table = tmp_path / "map.txt"
        table.write_text("# a comment\ncar: 3, lorry  # two\n\nroad:0\nsky : heaven\n")
    elif form == "json":
        text = json.dumps(table)
        table = str(tmp_path / "map.json")
        Path(table).write_text(text)
    shown, logits, _ = mapped(table, images, num_classes=3, **options)
    probabilities = softmax(logits)
    joined = np.stack(
        [probabilities[..., 4], probabilities[..., 1] + probabilities[..., 3], probabilities[..., 0]], -1
    )
    # Channel 2 stands for nothing: the others share what it had.
    np.testing.assert_allclose(softmax(shown), joined / joined.sum(-1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"sky": 0, "car": 1}, r"Missing: \['road'\]; unknown: \[\]"),
        ({"sky": 0, "car": 1, "road": []}, r"Missing: \['road'\]"),
        ({"sky": 0, "car": 1, "road": 2, "moon": 3}, r"unknown: \['moon'\]"),
        ({"sky": 0, "car": 1, "road": 5}, "'road' the teacher's class 5. Expected an index from 0 to 4"),
        ({"sky": 0, "car": -1, "road": 2}, "class -1"),
        ({"sky": 0, "car": True, "road": 2}, "class True"),
        ({"sky": 0, "car": 1.0, "road": 2}, r"class 1\.0"),
        ({"sky": 0, "car": [1, 2], "road": 2}, r"channels \[2\] twice"),
        ({"sky": 0, "car": "lorry", "road": 2}, "'lorry' by name. Pass `teacher_classes`"),
    ],
)
def test_a_class_map_that_does_not_fit_is_refused(table, words, images):
    with pytest.raises(ValueError, match=words) as raised:
        mapped(table, images)
    assert "\n" not in str(raised.value)


def test_unknown_names_and_too_few_names_are_refused(images):
    table = {"sky": "a", "car": "b", "road": "f"}
    with pytest.raises(ValueError, match=r"class 'f'\. Expected .* one of \['a', 'b', 'c', 'd', 'e'\]"):
        mapped(table, images, teacher_classes=list("abcde"))
    with pytest.raises(ValueError, match=r"5 channels\. Received: 2 names"):
        mapped(table, images, teacher_classes=["a", "b"])


@pytest.mark.parametrize("line", ["car 1", "car:", "car: 1,", ": 1", "sky: 2"])
def test_a_malformed_line_is_numbered(line, images, tmp_path):
    path = tmp_path / "map.txt"
    path.write_text(f"sky: 0\n{line}\nroad: 3\n")
    with pytest.raises(ValueError, match="Line 2 of"):
        mapped(path, images)
    with pytest.raises(FileNotFoundError, match="No class_map file"):
        mapped(tmp_path / "none.txt", images)
    (tmp_path / "map.json").write_text("[1]")
    with pytest.raises(ValueError, match="must be a JSON object"):
        mapped(tmp_path / "map.json", images)


def test_other_classes_without_a_map_are_refused(model, images):
    with pytest.raises(ValueError, match=r"predicts 4 classes, the student 3.*class_map="):
        load_teacher(model, num_classes=3)
    with pytest.raises(ValueError, match="Pass class_names="):
        load_teacher(model, {"sky": 0})
    one, two = (
        mapped({"sky": 0, "car": 1, "road": 2}, images),
        mapped({"sky": 0, "car": 2, "road": 1}, images),
    )
    assert one[2].fingerprint() != two[2].fingerprint()


def test_features_pass_a_class_map_and_views_untouched(model, images):
    teacher = load_teacher(model, {"a": [0, 3], "b": 1}, class_names=("a", "b"), flip=True)
    shown = look(teacher, images, "logits", "stage")
    np.testing.assert_array_equal(shown["stage"], look(load_teacher(model), images, "stage")["stage"])
    assert shown["logits"].shape[-1] == 2
    assert teacher.size == (HEIGHT, WIDTH)


# What cannot teach


def test_paths_to_nothing_known_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No teacher at .*none\.keras"):
        load_teacher(tmp_path / "none.keras")
    (tmp_path / "teacher.onnx").write_bytes(b"1")
    for path in (tmp_path, tmp_path / "teacher.onnx"):
        with pytest.raises(ValueError, match="Expected a \.keras, \.h5 or \.tflite file"):
            load_teacher(path)
    (tmp_path / "torn.keras").write_bytes(b"PK\x03\x04torn")
    with pytest.raises(ValueError, match="Cannot read"):
        load_teacher(tmp_path / "torn.keras")
    (tmp_path / "saved_model.pb").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="as a SavedModel"):
        load_teacher(tmp_path, trust_model=True)


def test_things_that_cannot_teach_are_refused(model):
    class Subclassed(keras.Model):
        def call(self, images):
            return images

    with pytest.raises(TypeError, match="must be a functional model"):
        load_teacher(Subclassed())
    with pytest.raises(TypeError, match="Received: int"):
        load_teacher(7)
    with pytest.raises(ValueError, match=r"output of teacher .*Received: 'x'"):
        load_teacher(model, output="x")


def test_a_recorded_teacher_is_not_changed():
    class Recorded(Teacher):
        recorded = True

    recorded = Recorded()
    assert load_teacher(recorded) is recorded
    for options in ({"flip": True}, {"windows": True}, {"normalize": (0, 1)}, {"class_map": {"a": 0}}):
        with pytest.raises(ValueError, match="is recorded"):
            load_teacher(recorded, **options)


# Those that nobody here trained

TEACHERS = {
    "deeplab_mobilenet_edgetpu_slim_cityscapes_quant.tflite": 19,
    "deeplabv3_mnv2_dm05_pascal_quant.tflite": 21,
}


def real_teacher(name):
    path = Path(os.environ.get("TFSEGKD_TEACHERS", ""), name)
    if not path.is_file():
        pytest.skip(f"set TFSEGKD_TEACHERS to a directory that holds {name}, of Coral's test data")
    return path


@pytest.mark.parametrize(("name", "classes"), TEACHERS.items())
def test_the_labels_of_coral_models_are_the_argmax_of_what_is_read(name, classes):
    path = real_teacher(name)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 513, 513, 3)).astype(np.uint8)
    pixels[:, 100:300] //= 4
    interpreter = _keras.Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    labels = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    logits = look(load_teacher(path, num_classes=classes), pixels.astype("float32"))
    # Of equal logits the first wins, here as there.
    np.testing.assert_array_equal(logits.argmax(-1), labels)
    assert len(np.unique(labels)) > 1 and np.ptp(logits) > 5


def test_the_class_map_to_camvid_fits_the_labels_of_cityscapes():
    from tfsegkd.data.camvid import INFO

    path = real_teacher("deeplab_mobilenet_edgetpu_slim_cityscapes_quant.tflite")
    teacher = load_teacher(
        path, CLASS_MAPS / "cityscapes_to_camvid.txt", len(INFO.class_names), class_names=INFO.class_names
    )
    assert teacher.shapes(["logits"], (36, 48, 3)) == {"logits": (36, 48, 11)}


def test_the_class_map_to_camvid_uses_every_class_of_cityscapes_once():
    from tfsegkd.data.camvid import INFO
    from tfsegkd.distillation.teachers import read_class_map

    channels = read_class_map(CLASS_MAPS / "cityscapes_to_camvid.txt", INFO.class_names, 19)
    assert sorted(channel for group in channels for channel in group) == list(range(19))
    road, car = INFO.class_names.index("Road"), INFO.class_names.index("Car")
    assert channels[road] == [0] and 13 in channels[car]
