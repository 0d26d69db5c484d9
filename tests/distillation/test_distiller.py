"""The training step, checked against NumPy, and what of the Distiller is the student's."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_networks import CLASSES, HEIGHT, IGNORE, SHAPE, WIDTH, Table, batch, network, same, statistics

from tfsegkd import losses
from tfsegkd._keras import keras
from tfsegkd.distillation import Distiller, Term, parse_terms
from tfsegkd.distillation.teachers import KerasTeacher, Teacher
from tfsegkd.metrics import MeanIoU
from tfsegkd.quantization import quantize


def both_terms():
    """One on the logits and one on features of one shape, as they come."""
    return [
        Term("pixelwise(temperature=2)", 0.5),
        Term("hint(normalize=False)", 0.25, ("stage", "stage"), adapter=None),
    ]


def ready(distiller, optimizer=None, eager=True, metrics=None):
    distiller.compile(optimizer or keras.optimizers.SGD(0.0), metrics=metrics, run_eagerly=eager)
    return distiller


def pair():
    return network("teacher", 6, seed=1), network("student", 6, seed=2)


# What the losses must be, pixel by pixel.


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def per_image(function, masks):
    """The mean of `function(n, y, x)` over the valid pixels of each image; 0 without any."""
    found = []
    for n, mask in enumerate(masks):
        values = [function(n, y, x) for y, x in np.argwhere(mask != IGNORE)]
        found.append(np.mean(values) if values else 0.0)
    return np.array(found)


def cross_entropy(logits, masks):
    scores = log_softmax(logits.astype("float64"))
    return per_image(lambda n, y, x: -scores[n, y, x, masks[n, y, x]], masks)


def divergence(teacher, student, masks, temperature):
    t, s = (log_softmax(side.astype("float64") / temperature) for side in (teacher, student))
    return temperature**2 * per_image(lambda n, y, x: np.sum(np.exp(t[n, y, x]) * (t - s)[n, y, x]), masks)


def squared_distance(teacher, student, masks):
    found = []
    for n, mask in enumerate(masks):
        values = []
        for y in range(HEIGHT // 2):
            for x in range(WIDTH // 2):
                if (mask[2 * y : 2 * y + 2, 2 * x : 2 * x + 2] != IGNORE).sum() >= 2:
                    values.append(np.mean((teacher[n, y, x] - student[n, y, x]) ** 2))
        found.append(np.mean(values) if values else 0.0)
    return np.array(found)


def expected_parts(teacher, student, images, masks):
    """The three losses of each image, the student in training mode, as one step sees it."""

    def both(model, training):
        outputs = keras.Model(model.inputs, [model.get_layer("stage").output, model.output])
        return [part.numpy() for part in outputs(images, training=training)]

    (stage_t, logits_t), (stage_s, logits_s) = both(teacher, False), both(student, True)
    return {
        "task_loss": cross_entropy(logits_s, masks),
        "pixelwise": 0.5 * divergence(logits_t, logits_s, masks, 2),
        "hint_stage": 0.25 * squared_distance(stage_t, stage_s, masks),
    }


@pytest.mark.parametrize("task_weight", [1.0, 0.0])
@pytest.mark.parametrize("sample_weight", [None, [2.0, 0.5, 1.0], [0.0, 1.0, 3.0]])
def test_the_loss_is_the_weighted_sum(task_weight, sample_weight):
    teacher, student = pair()
    images, masks = batch()
    distiller = ready(Distiller(teacher, student, both_terms(), task_weight))
    weights = np.ones(len(images)) if sample_weight is None else np.array(sample_weight)
    parts = expected_parts(teacher, student, images, masks)
    want = {name: np.sum(weights * values) / len(images) for name, values in parts.items()}
    want["task_loss"] *= task_weight
    got = distiller.train_on_batch(
        images, masks, sample_weight=sample_weight and np.array(sample_weight, "float32"), return_dict=True
    )
    assert min(want["pixelwise"], want["hint_stage"]) > 0.01, "the case must be able to tell terms apart"
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(got["loss"], sum(want.values()), rtol=1e-4)


def test_regularization_is_part_of_the_task_loss():
    images, masks = batch()
    plain, decayed = (network("student", seed=2) for _ in range(2))
    kernel = decayed.get_layer("conv").kernel
    decayed.add_loss(lambda: 0.1 * tf.reduce_sum(kernel**2))
    values = [
        ready(Distiller(None, student)).train_on_batch(images, masks, return_dict=True)["loss"]
        for student in (plain, decayed)
    ]
    np.testing.assert_allclose(values[1] - values[0], 0.1 * np.sum(kernel.numpy() ** 2), rtol=1e-4)
    # It is not the task's: it stays when only the teacher is learnt from.
    alone = ready(Distiller(None, decayed, task_weight=0.0)).train_on_batch(images, masks, return_dict=True)
    np.testing.assert_allclose(alone["loss"], values[1] - values[0], rtol=1e-4)


# One forward pass each.


def test_a_step_runs_teacher_and_student_once():
    shown, made = [], []
    teacher, student = network("teacher", 6, calls=shown), network("student", 5, calls=made)
    terms = ["pixelwise", "pairwise", "hint@stage:stage", "attention@stage:stage", "csc@conv:conv"]
    distiller = ready(Distiller(teacher, student, parse_terms(terms)), "sgd", eager=False)
    images, masks = batch(4)
    distiller.fit(images, masks, batch_size=2, epochs=2, verbose=0)
    # 2 batches for the start of adapters, then 2 epochs of 2 steps: the teacher infers, the student trains.
    assert shown == [False] * 6
    assert made == [True] * 6
    distiller.evaluate(images, masks, batch_size=2, verbose=0)
    distiller.predict(images, batch_size=4, verbose=0)
    assert shown == [False] * 6, "neither evaluate nor predict needs the teacher"
    assert made == [True] * 6 + [False] * 3


def test_fit_trains_the_student_and_leaves_the_teacher():
    teacher, student = pair()
    before_t, before_s = teacher.get_weights(), student.get_weights()
    running = statistics(student)
    distiller = ready(Distiller(teacher, student, both_terms()), "adam", eager=False)
    images, masks = batch(4)
    distiller.fit(images, masks, batch_size=2, epochs=2, verbose=0)
    assert same(teacher.get_weights(), before_t), "BatchNorm statistics included"
    for name, old, new in zip(
        [weight.name for weight in student.weights], before_s, student.get_weights(), strict=True
    ):
        assert not np.array_equal(old, new), f"{name} has not been trained"
    trained = statistics(student)
    assert not same(running, trained)

    # evaluate() measures; it neither moves BatchNorm nor asks the teacher.
    result = distiller.evaluate(images, masks, batch_size=4, verbose=0, return_dict=True)
    assert same(statistics(student), trained)
    assert set(result) == {"loss", "task_loss"}
    want = np.mean(cross_entropy(student.predict(images, verbose=0), masks))
    np.testing.assert_allclose([result["loss"], result["task_loss"]], want, rtol=1e-4)


def test_validation_is_logged_beside_training():
    distiller = ready(Distiller(*pair(), both_terms()), "sgd", metrics=[MeanIoU(CLASSES)])
    images, masks = batch(2)
    history = distiller.fit(images, masks, validation_data=(images, masks), verbose=0).history
    assert set(history) == {
        *("loss", "task_loss", "pixelwise", "hint_stage", "mean_iou"),
        *("val_loss", "val_task_loss", "val_mean_iou"),
    }


# Void.


def test_what_the_teacher_says_of_void_pixels_changes_nothing():
    images, masks = batch()
    masks[:] = masks[0]
    values = np.random.default_rng(0).normal(size=(HEIGHT, WIDTH, CLASSES)).astype("float32")
    results = []
    for junk in (None, 1e4, np.inf, np.nan):
        table = values.copy()
        if junk is not None:
            table[masks[0] == IGNORE] = junk
        inputs = keras.Input(SHAPE)
        teacher = keras.Model(inputs, Table(table)(inputs))
        student = network("student", seed=2)
        terms = parse_terms(["pixelwise", "channel_wise", "dist"])
        distiller = ready(Distiller(teacher, student, terms), keras.optimizers.SGD(0.1))
        logs = distiller.train_on_batch(images, masks, return_dict=True)
        results.append([*(logs[name] for name in sorted(logs)), *student.get_weights()])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_void_may_have_another_number():
    images, masks = batch()
    logs = []
    for ignore_label in (255, 4, -1):
        renumbered = np.where(masks == IGNORE, ignore_label, masks)
        distiller = ready(Distiller(*pair(), both_terms(), ignore_label=ignore_label))
        logs.append(distiller.train_on_batch(images, renumbered, return_dict=True))
    assert logs[0] == pytest.approx(logs[1]) and logs[0] == pytest.approx(logs[2])


def test_a_batch_of_void_trains_nothing_and_is_no_nan():
    images, masks = batch()
    distiller = ready(Distiller(*pair(), both_terms()), keras.optimizers.SGD(1.0))
    kernels = [weight.numpy() for weight in distiller.student.trainable_weights]
    logs = distiller.train_on_batch(images, np.full_like(masks, IGNORE), return_dict=True)
    assert set(logs.values()) == {0.0}
    assert same(kernels, [weight.numpy() for weight in distiller.student.trainable_weights])


# Unlabelled pixels, recorded teachers.


def test_the_teacher_speaks_of_unlabelled_pixels_and_the_labels_do_not():
    teacher, student = pair()
    images, masks = batch()
    random = np.random.default_rng(1).random(masks.shape)
    masks[(random < 0.3) & (masks != IGNORE)] = -1
    # As the teacher sees them, unlabelled pixels are pixels like others; for the task they are void.
    taught = expected_parts(teacher, student, images, np.where(masks == -1, 0, masks))
    task = expected_parts(teacher, student, images, np.where(masks == -1, IGNORE, masks))
    distiller = ready(Distiller(teacher, student, both_terms()), metrics=[MeanIoU(CLASSES)])
    logs = distiller.train_on_batch(images, masks, return_dict=True)
    for name, values in {**taught, "task_loss": task["task_loss"]}.items():
        np.testing.assert_allclose(logs[name], values.mean(), rtol=1e-4, err_msg=name)
    assert np.isfinite(logs["mean_iou"])
    result = distiller.test_on_batch(images, masks, return_dict=True)
    assert np.isfinite(result["mean_iou"])


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_masks_may_be_any_integers(dtype):
    images, masks = batch()
    logs = [
        ready(Distiller(*pair(), both_terms())).train_on_batch(images, each, return_dict=True)
        for each in (masks, masks.astype(dtype))
    ]
    assert logs[0] == pytest.approx(logs[1])


@pytest.mark.parametrize("name", losses.names())
def test_every_loss_takes_frames_without_labels(name):
    spec = {"holistic": "holistic(width=2)", "cirkd": f"cirkd(num_classes={CLASSES})"}.get(name, name)
    distiller = ready(Distiller(*pair(), parse_terms([spec])), keras.optimizers.SGD(0.1))
    images, masks = batch()
    for unlabelled in (np.full_like(masks, -1), np.where(masks == 1, -1, masks)):
        logs = distiller.train_on_batch(images, unlabelled, return_dict=True)
        assert np.isfinite(list(logs.values())).all()
        assert all(np.isfinite(weight).all() for weight in distiller.get_weights())


class Recorded(Teacher):
    """The Keras teacher's outputs, given beforehand."""

    recorded = True

    def __init__(self, model):
        self.of = KerasTeacher(model)
        self.name, self.size = self.of.name, self.of.size

    def shapes(self, names, image_shape):
        return self.of.shapes(names, image_shape)

    def feature_extractor(self, names):
        raise AssertionError("a recorded teacher is not asked")

    def show(self, images):
        return self.of.feature_extractor(["logits", "stage", "conv"])(images)


def test_a_recorded_teacher_teaches_as_the_teacher_does():
    images, masks = batch(4)
    teacher, _ = pair()
    recorded = Recorded(teacher)
    shown = recorded.show(images)
    assert {"logits", "stage", "conv"} == set(shown), "more layers than the terms need"
    batches = [({"images": images, "teacher": shown}, masks), (images, masks)]
    results = []
    for source, given in zip((recorded, teacher), batches, strict=True):
        student = network("student", 6, seed=2)
        distiller = ready(Distiller(source, student, both_terms()), keras.optimizers.SGD(0.1), False)
        data = tf.data.Dataset.from_tensor_slices(given).batch(2)
        history = distiller.fit(data, epochs=2, verbose=0).history
        results.append([*history.values(), *student.get_weights()])
        distiller.evaluate(data, verbose=0)
        assert distiller.teacher is source
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_batches_must_fit_the_kind_of_teacher():
    images, masks = batch()
    teacher, student = pair()
    recorded = Recorded(teacher)
    shown = recorded.show(images)
    distiller = ready(Distiller(recorded, student, both_terms()))
    with pytest.raises(ValueError, match=r"\['logits', 'stage'\].*images alone"):
        distiller.train_on_batch(images, masks)
    with pytest.raises(ValueError, match=r"\['stage'\].*Received \['logits'\]"):
        distiller.train_on_batch({"images": images, "teacher": {"logits": shown["logits"]}}, masks)
    distiller = ready(Distiller(teacher, student, both_terms()))
    with pytest.raises(ValueError, match=r"TeacherCache"):
        distiller.train_on_batch({"images": images, "teacher": shown}, masks)


# What is the student's.


def test_predict_save_and_summary_are_the_student_s(tmp_path, capsys):
    teacher, student = network("teacher", 9), network("student", 5)
    distiller = ready(Distiller(teacher, student, parse_terms(["pixelwise", "hint@stage:stage"])), "adam")
    images, masks = batch()
    distiller.fit(images, masks, verbose=0)
    want = student.predict(images, verbose=0)
    np.testing.assert_allclose(distiller.predict(images, verbose=0), want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(distiller(images), want, rtol=1e-5, atol=1e-6)
    for name in ("student.keras", "student.h5"):
        distiller.save(tmp_path / name)
        loaded = keras.models.load_model(tmp_path / name)
        assert type(loaded) is type(student) and loaded.count_params() == student.count_params()
        np.testing.assert_allclose(loaded.predict(images, verbose=0), want, rtol=1e-5, atol=1e-6)
    distiller.summary()
    printed = capsys.readouterr().out
    assert '"student"' in printed and "adapter" not in printed and "teacher" not in printed


def test_adapters_are_trained_but_not_the_student_s():
    teacher, student = network("teacher", 9), network("student", 5)
    names = [weight.name for weight in student.weights]
    distiller = ready(Distiller(teacher, student, parse_terms(["hint@stage:stage"]), task_weight=0), "sgd")
    ours = {weight.ref() for weight in student.trainable_variables}
    kernel, bias = (weight for weight in distiller.trainable_variables if weight.ref() not in ours)
    assert kernel.shape == (1, 1, 5, 9) and bias.shape == (9,)
    before = kernel.numpy()
    distiller.train_on_batch(*batch())
    assert not np.array_equal(before, kernel.numpy())
    assert [weight.name for weight in student.weights] == names
    refs = {weight.ref() for weight in teacher.weights}
    assert not refs & {weight.ref() for weight in distiller.weights}


# Terms.


def test_without_terms_the_logits_are_distilled():
    teacher, student = pair()
    (term,) = Distiller(teacher, student).terms
    assert isinstance(term.loss, losses.PixelwiseLoss) and term.weight == 1 and term.at is None
    assert Distiller(teacher, student, terms=[]).terms == ()


def test_without_a_teacher_the_student_trains_alone():
    student = network("student")
    distiller = ready(Distiller(teacher=None, student=student), "sgd")
    assert distiller.teacher is None
    images, masks = batch()
    logs = distiller.train_on_batch(images, masks, return_dict=True)
    assert set(logs) == {"loss", "task_loss"}
    with pytest.raises(ValueError, match="need a teacher"):
        Distiller(None, student, [Term("pixelwise")])


@pytest.mark.parametrize("student", [None, "student.keras", lambda images: images])
def test_a_student_must_be_a_model(student):
    with pytest.raises(TypeError, match=r"student.*functional tf_keras model"):
        Distiller(None, student)


def test_a_student_must_be_functional():
    class Own(keras.Model):
        def call(self, images):
            return images

    with pytest.raises(TypeError, match="functional"):
        Distiller(None, Own())


@pytest.mark.parametrize(
    ("spec", "role"), [("hint@nowhere:stage", "teacher"), ("hint@stage:stge", "student")]
)
def test_an_unknown_layer_shows_the_choices(spec, role):
    with pytest.raises(ValueError, match=rf"not found in {role} '{role}'. Expected one of.*logits.*terms="):
        Distiller(*pair(), parse_terms([spec]))


def test_a_misspelt_layer_is_guessed():
    with pytest.raises(ValueError, match=r"such as .*'stage'"):
        Distiller(*pair(), parse_terms(["hint@stage:stge"]))


def test_networks_of_different_classes_or_sizes_are_refused():
    with pytest.raises(ValueError, match="teacher's logits have 7 classes, the student's 4"):
        Distiller(network("teacher", classes=7), network("student"))
    with pytest.raises(ValueError, match=r"takes images of \(32, 24, 3\).*\(16, 24, 3\).*at_size"):
        Distiller(network("teacher", shape=(32, 24, 3)), network("student"))
    # Features join networks of different classes.
    Distiller(network("teacher", classes=7), network("student"), parse_terms(["hint@stage:stage"]))


def test_two_terms_of_one_name_are_refused():
    terms = [Term(losses.PixelwiseLoss(temperature, name="soft")) for temperature in (1, 4)]
    with pytest.raises(ValueError, match=r"\['soft'\]"):
        Distiller(*pair(), terms)


@pytest.mark.parametrize("name", losses.names())
def test_every_loss_can_be_a_term(name):
    spec = {"holistic": "holistic(width=2)", "cirkd": f"cirkd(num_classes={CLASSES})"}.get(name, name)
    teacher, student = network("teacher", 9), network("student", 5)
    (term,) = parse_terms([f"{spec}*0.5"])
    distiller = ready(Distiller(teacher, student, [term], task_weight=0.0), keras.optimizers.SGD(0.1))
    before = [weight.numpy() for weight in student.trainable_weights]
    # Two steps: a queue has something to show from the second on.
    for seed in (0, 1):
        logs = distiller.train_on_batch(*batch(seed=seed), return_dict=True)
        critics = {"holistic_critic"} if name == "holistic" else set()
        assert set(logs) == {"loss", "task_loss", name, *critics} and np.isfinite(list(logs.values())).all()
        assert logs["task_loss"] == 0 and logs[name] != 0 and logs["loss"] == pytest.approx(logs[name])
    after = [weight.numpy() for weight in student.trainable_weights]
    assert not any(np.array_equal(*weights) for weights in zip(before, after, strict=True))
    assert all(np.isfinite(weight).all() for weight in after)


@pytest.mark.parametrize("name", ["attention", "csc", "hint", "ifvd", "mgd", "pairwise", "cirkd"])
def test_losses_on_features_of_other_width_and_size(name):
    inputs = keras.Input(SHAPE)
    x = keras.layers.Conv2D(5, 3, strides=4, padding="same", name="deep")(inputs)
    x = keras.layers.Conv2D(CLASSES, 1)(x)
    student = keras.Model(inputs, keras.layers.UpSampling2D(4)(x), name="student")
    terms = parse_terms([f"{name}@stage:deep"])
    distiller = ready(Distiller(network("teacher", 9), student, terms, 0.0), keras.optimizers.SGD(0.1))
    before = student.get_layer("deep").kernel.numpy()
    logs = distiller.train_on_batch(*batch(), return_dict=True)
    assert logs[f"{name}_deep"] > 0
    assert not np.array_equal(before, student.get_layer("deep").kernel.numpy())


def test_what_a_loss_owns_is_trained():
    (term,) = parse_terms(["mgd@stage:stage"])
    distiller = ready(Distiller(*pair(), [term]), "sgd")
    assert len(term.loss.trainable_weights) == 4
    before = [weight.numpy() for weight in term.loss.trainable_weights]
    distiller.train_on_batch(*batch())
    assert not same(before, [weight.numpy() for weight in term.loss.trainable_weights])


# Quantization, checkpoints.


def test_a_quantized_student_learns_from_the_same_layers():
    teacher, student = pair()
    images, masks = batch()
    quantized = quantize(student, calibration=[images])
    distiller = ready(Distiller(teacher, quantized, both_terms()), keras.optimizers.SGD(0.01))
    layer = quantized.get_layer("quant_stage")
    features = keras.Model(quantized.inputs, layer.output)
    before = [weight.numpy() for weight in quantized.trainable_weights]
    want = squared_distance(
        keras.Model(teacher.inputs, teacher.get_layer("stage").output)(images).numpy(),
        features(images, training=True).numpy(),
        masks,
    )
    logs = distiller.train_on_batch(images, masks, return_dict=True)
    # A moving range follows each pass in training mode, so the two passes differ a little.
    assert logs["hint_stage"] == pytest.approx(0.25 * want.mean(), rel=0.02)
    after = [weight.numpy() for weight in quantized.trainable_weights]
    assert not any(np.array_equal(*weights) for weights in zip(before, after, strict=True))


def checkpointed(specs, seed):
    distiller = Distiller(network("teacher", 9, seed=1), network("student", 5, seed=seed), parse_terms(specs))
    ready(distiller, keras.optimizers.AdamW(0.01))
    distiller.optimizer.build(distiller.trainable_variables)
    return distiller, tf.train.Checkpoint(model=distiller, optimizer=distiller.optimizer)


def test_training_goes_on_identically_from_a_checkpoint(tmp_path):
    specs = ["pixelwise(temperature=2)*0.5", "hint@stage:stage"]
    first, checkpoint = checkpointed(specs, seed=2)
    for seed in (0, 1):
        first.train_on_batch(*batch(2, seed))
    path = checkpoint.save(str(tmp_path / "progress"))
    second, checkpoint = checkpointed(specs, seed=3)
    assert not same(first.student.get_weights(), second.student.get_weights())
    checkpoint.restore(path).assert_existing_objects_matched()
    for distiller in (first, second):
        for seed in (2, 3):
            distiller.train_on_batch(*batch(2, seed))
    trained = len(first.trainable_variables)
    assert trained == len(first.student.trainable_variables) + 2, "the adapter's kernel and bias"
    for one, other in zip(first.weights, second.weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6, err_msg=one.name)


def test_a_checkpoint_holds_what_losses_remember(tmp_path):
    specs = [f"cirkd(num_classes={CLASSES})", "mgd@stage:stage"]
    first, checkpoint = checkpointed(specs, seed=2)
    first.train_on_batch(*batch())
    queue = first.terms[0].loss.pixels
    assert any(np.any(weight) for weight in queue.get_weights())
    path = checkpoint.save(str(tmp_path / "progress"))
    second, checkpoint = checkpointed(specs, seed=3)
    checkpoint.restore(path).assert_existing_objects_matched()
    assert same(queue.get_weights(), second.terms[0].loss.pixels.get_weights())
    assert same([weight.numpy() for weight in first.weights], [weight.numpy() for weight in second.weights])
