"""What a network ends in: softmax, sigmoid, one channel, several outputs; the losses see its logits, once."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_networks import CLASSES, HEIGHT, SHAPE, WIDTH, batch, network

import tfsegkd
from tfsegkd import losses, models
from tfsegkd._keras import keras, keras3
from tfsegkd.distillation import load_teacher
from tfsegkd.distillation.features import feature_extractor

layers = keras.layers


def ending(head, classes=CLASSES, seed=3, k=keras):
    """A network, and the same weights with `head` at its end."""
    keras.utils.set_random_seed(seed)
    keras3.utils.set_random_seed(seed)
    images = k.Input(SHAPE)
    x = k.layers.Rescaling(1 / 127.5, offset=-1)(images)
    x = k.layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    inline = head in ("softmax inside", "sigmoid inside")
    scores = k.layers.Conv2D(classes, 1, kernel_initializer="he_uniform", name="scores")
    if inline:
        linear, x = None, k.layers.Conv2D(classes, 1, activation=head.split()[0], name="scores")(x)
    else:
        linear = scores(x)
        x = {
            "softmax": lambda: k.layers.Softmax()(linear),
            "activation": lambda: k.layers.Activation("softmax")(linear),
            "sigmoid": lambda: k.layers.Activation("sigmoid")(linear),
            "resized": lambda: k.layers.UpSampling2D(2, interpolation="bilinear")(
                k.layers.Softmax()(k.layers.AveragePooling2D(2)(linear))
            ),
            "linear": lambda: linear,
        }[head]()
    return k.Model(images, x, name="net")


def probabilities(model, images):
    """What the network itself says, as probabilities of two or more classes; by NumPy."""
    made = np.asarray(model(images), np.float64)
    if made.shape[-1] == 1:
        return np.concatenate([1 - made, made], -1)
    return made


def softmax(logits):
    shares = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


@pytest.mark.parametrize("k", [keras, keras3], ids=["tf_keras", "keras 3"])
@pytest.mark.parametrize(
    ("head", "classes"),
    [
        ("softmax", 4),
        ("activation", 4),
        ("softmax inside", 4),
        ("resized", 4),
        ("sigmoid", 1),
        ("sigmoid inside", 1),
    ],
)
def test_the_loss_sees_the_confidence_that_a_teacher_has(head, classes, k):
    model, (images, _) = ending(head, classes, k=k), batch()
    shown = load_teacher(model).feature_extractor(["logits"])(tf.constant(images))["logits"]
    assert shown.shape[-1] == max(classes, 2)
    np.testing.assert_allclose(softmax(shown.numpy()), probabilities(model, images), atol=2e-5)


@pytest.mark.parametrize(
    "head", ["softmax", "activation", "softmax inside", "sigmoid", "sigmoid inside", "linear"]
)
def test_a_student_of_any_head_takes_the_step_of_one_that_ends_in_logits(head):
    """As of the network without the activation; with one channel, by the textbook's cross-entropy."""
    binary = "sigmoid" in head or head == "linear"
    model = ending(head, 1 if binary else CLASSES)
    plain = ending("linear", 1 if binary else CLASSES)
    plain.set_weights(model.get_weights())
    images, masks = batch()
    masks = np.where(masks == 255, 255, masks % 2) if binary else masks
    distiller = tfsegkd.Distiller(None, model)
    distiller.compile(keras.optimizers.SGD(0.1))
    for _ in range(2):
        with tf.GradientTape() as tape:
            z = plain(images, training=True)
            if binary:  # the textbook's binary cross-entropy, not ours of two classes
                valid = tf.cast(masks != 255, tf.float32)
                entropy = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(masks == 1, tf.float32), z[..., 0])
            else:
                valid = tf.cast(masks != 255, tf.float32)
                entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(np.where(masks == 255, 0, masks), z)
            counts = tf.reduce_sum(valid, [1, 2])
            loss = tf.reduce_mean(tf.math.divide_no_nan(tf.reduce_sum(valid * entropy, [1, 2]), counts))
        gradients = tape.gradient(loss, plain.trainable_weights)
        keras.optimizers.SGD(0.1).apply_gradients(zip(gradients, plain.trainable_weights, strict=True))
        logs = distiller.train_on_batch(images, masks, return_dict=True)
        assert logs["task_loss"] == pytest.approx(float(loss), rel=1e-4)
    for ours, expected in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize("spec", ["pixelwise", "dkd", "dist", "csc", "ace", "pixelwise(balanced=True)"])
def test_every_loss_of_probabilities_sees_two_classes_in_one_channel(spec):
    loss, random = losses.get(spec), np.random.default_rng(0)
    teacher, student = (random.normal(0, 2, (2, 5, 6, 1)).astype(np.float32) for _ in range(2))
    labels = random.integers(0, 2, (2, 5, 6))
    pairs = [np.concatenate([np.zeros_like(z), z], -1) for z in (teacher, student)]
    one = loss(teacher, student, labels=labels).numpy()
    if spec == "csc":  # of directions of logits, which a common offset turns
        pairs = [np.concatenate([-z / 2, z / 2], -1) for z in (teacher, student)]
    np.testing.assert_allclose(one, loss(*pairs, labels=labels).numpy(), rtol=1e-4)
    with tf.GradientTape() as tape:
        variable = tf.Variable(student)
        value = tf.reduce_sum(loss(teacher, variable, labels=labels))
    assert np.abs(tape.gradient(value, variable).numpy()).max() > 0


@pytest.mark.parametrize("spec", ["dkd(alpha=0)", "dist(gamma=0)"])
def test_a_loss_that_two_classes_leave_nothing_of_is_refused_before_training(spec):
    with pytest.raises(ValueError, match="pixelwise"):
        tfsegkd.Distiller(network("t", classes=2), network("s", classes=2, seed=1), [tfsegkd.Term(spec)])
    tfsegkd.Distiller(network("t"), network("s", seed=1), [tfsegkd.Term(spec)])


def test_two_classes_leave_out_what_has_no_gradient():
    random = np.random.default_rng(0)
    teacher, student = (random.normal(0, 2, (2, 5, 6, 2)).astype(np.float32) for _ in range(2))
    both, pixels = (losses.get(spec)(teacher, student).numpy() for spec in ("dist", "dist(beta=0)"))
    np.testing.assert_allclose(both, pixels)


def test_one_channel_and_a_softmax_says_nothing():
    with pytest.raises(ValueError, match=r"1 everywhere.*sigmoid"):
        tfsegkd.Distiller(None, ending("softmax", 1))


@pytest.mark.parametrize("k", [keras, keras3], ids=["tf_keras", "keras 3"])
def test_functions_are_told_by_their_values(k):
    (images, _), soft, binary = batch(), ending("softmax", k=k), ending("sigmoid", 1, k=k)
    for model in (soft, binary):
        run = load_teacher(lambda x, model=model: model(x, training=False)).feature_extractor(["logits"])
        shown = run(tf.constant(images))["logits"].numpy()
        np.testing.assert_allclose(softmax(shown), probabilities(model, images), atol=2e-5)
    plain = ending("linear", k=k)
    shown = load_teacher(lambda x: plain(x, training=False)).feature_extractor(["logits"])(
        tf.constant(images)
    )["logits"]
    np.testing.assert_allclose(shown, plain(images), atol=1e-6)


def two_outputs(k, as_dict):
    images = k.Input(SHAPE)
    x = k.layers.Conv2D(4, 3, padding="same", activation="relu")(images)
    main = k.layers.Conv2D(CLASSES, 1, name="main")(x)
    aux = k.layers.Conv2D(CLASSES, 1, name="aux")(x)
    return k.Model(images, {"main": main, "aux": aux} if as_dict else [aux, main], name="deep")


@pytest.mark.parametrize("as_dict", [True, False])
@pytest.mark.parametrize("k", [keras, keras3], ids=["tf_keras", "keras 3"])
def test_of_several_outputs_one_is_chosen_by_name(k, as_dict):
    model, (images, _) = two_outputs(k, as_dict), batch()
    assert sorted(models.output_names(model)) == ["aux", "main"]
    with pytest.raises(ValueError, match=r"aux.*output="):
        load_teacher(model)
    with pytest.raises(ValueError, match="aux"):
        tfsegkd.Distiller(None, model)
    with pytest.raises(ValueError, match=r"must be one of.*'man'"):
        load_teacher(model, output="man")
    shown = load_teacher(model, output="main").feature_extractor(["logits"])(tf.constant(images))["logits"]
    made = model(images)
    expected = made["main"] if as_dict else made[1]
    np.testing.assert_allclose(shown, expected, rtol=1e-5)
    adopted, _ = models.adopt(model, output="main")
    np.testing.assert_allclose(adopted(images), expected, rtol=1e-4, atol=1e-4)
    assert "aux" not in [layer.name for layer in adopted.layers]


def test_an_output_in_a_list_or_dictionary_of_one_is_the_output():
    plain, (images, masks) = network("student"), batch()
    for wrapped in ([plain.output], {"logits": plain.output}):
        student = keras.Model(plain.inputs, wrapped, name="student")
        distiller = tfsegkd.Distiller(network("teacher", seed=1), student)
        distiller.compile("adam", metrics=[tfsegkd.metrics.MeanIoU(CLASSES)])
        history = distiller.fit(images, masks, validation_data=(images, masks), verbose=0).history
        assert np.isfinite(history["val_loss"] + history["loss"]).all()


def test_features_stand_beside_the_logits_of_a_softmax():
    plain = network("plain")
    model = keras.Model(plain.inputs, layers.Softmax()(plain.output), name="soft")
    (images, _), extract = batch(), feature_extractor(model, ["logits", "stage"], "student")
    shown = extract(images, training=False)
    assert extract.output_shape["logits"] == (None, HEIGHT, WIDTH, CLASSES)
    np.testing.assert_allclose(shown["logits"], plain(images), atol=1e-5)
    np.testing.assert_allclose(
        shown["stage"], keras.Model(plain.inputs, plain.get_layer("stage").output)(images)
    )


def test_a_one_channel_student_is_distilled_pruned_and_measured():
    teacher, student = ending("sigmoid", 1, seed=1), ending("sigmoid", 1, seed=2, k=keras3)
    images, masks = batch()
    masks = np.full_like(masks, -1)
    before = np.abs(teacher(images).numpy() - np.asarray(student(images))).mean()
    distiller = tfsegkd.Distiller(teacher, student, task_weight=0)
    distiller.compile(keras.optimizers.Adam(3e-2))
    distiller.fit(images, masks, epochs=60, verbose=0)
    # The user's own network has learnt: its weights were written back.
    after = np.abs(teacher(images).numpy() - np.asarray(student(images))).mean()
    assert after < 0.5 * before
    np.testing.assert_allclose(
        softmax(distiller.student(images).numpy()), probabilities(student, images), atol=1e-5
    )
