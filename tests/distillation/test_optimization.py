"""Steps of the optimizer: accumulated, in mixed precision, compiled by XLA, and the critic's own."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_networks import CLASSES, SHAPE, batch, network, same

from tfsegkd import losses
from tfsegkd._keras import keras
from tfsegkd.distillation import Distiller, Term, parse_terms
from tfsegkd.distillation.optimization import gradients_of

SPECS = ["pixelwise(temperature=2)*0.5", "hint@stage:stage*0.25"]
layers = keras.layers


def plain_student(seed=2):
    """Without BatchNorm, whose statistics would tell small batches from large ones."""
    keras.utils.set_random_seed(seed)
    images = keras.Input(SHAPE)
    x = layers.Rescaling(1 / 255)(images)
    x = layers.Conv2D(5, 3, strides=2, padding="same", activation="relu", name="stage")(x)
    x = layers.Conv2D(CLASSES, 1, kernel_regularizer=keras.regularizers.L2(0.01), name="head")(x)
    return keras.Model(images, layers.UpSampling2D(2, interpolation="bilinear")(x), name="student")


def made(student, optimizer, specs=SPECS, eager=True, **options):
    keras.utils.set_random_seed(4)
    distiller = Distiller(network("teacher", 9, seed=1), student, parse_terms(specs))
    distiller._initialized = True  # else adapters start from the first batch, which is small or large
    distiller.compile(optimizer, run_eagerly=eager, **options)
    return distiller


def close(ones, others, rtol=1e-4, atol=1e-5):
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)


# Gradient accumulation.


def decaying():
    return keras.optimizers.schedules.ExponentialDecay(0.05, 1, 0.5)


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(decaying(), momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(decaying()),
    "adamw": lambda: keras.optimizers.AdamW(decaying(), weight_decay=0.1, clipnorm=0.5),
    "legacy": lambda: keras.optimizers.legacy.SGD(0.05, momentum=0.9),
}


@pytest.mark.parametrize(
    ("name", "eager"),
    [
        ("sgd", True),
        ("adamw", False),
        *(pytest.param(name, False, marks=pytest.mark.slow) for name in ("sgd", "adam", "legacy")),
    ],
)
def test_small_batches_step_as_one_large_batch(name, eager):
    images, masks = batch(12)
    masks[:] = np.roll(masks, 1, axis=0)  # void images among the others
    runs = []
    for size, steps in ((6, 1), (2, 3)):
        student = plain_student()
        distiller = made(student, OPTIMIZERS[name](), eager=eager, accumulate_steps=steps)
        before = distiller.get_weights()
        data = tf.data.Dataset.from_tensor_slices((images, masks)).batch(size)
        distiller.fit(data, epochs=2, verbose=0)
        runs.append(distiller)
        assert not same(before[:2], distiller.get_weights()[:2])
    close(*([w.numpy() for w in run.trainable_variables] for run in runs))
    assert [int(run.optimizer.iterations) for run in runs] == [4, 4]
    assert [int(run._step) for run in runs] == [4, 4]


def test_nothing_moves_until_the_last_batch_of_a_step():
    student = plain_student()
    distiller = made(student, "adamw", accumulate_steps=3)
    before = student.get_weights()
    for moved in (False, False, True):
        distiller.train_on_batch(*batch())
        assert same(before, student.get_weights()) != moved
    assert int(distiller.optimizer.iterations) == 1


def test_the_schedule_of_a_term_counts_steps_of_the_optimizer():
    distiller = made(plain_student(), "sgd", ["pixelwise*stop(step=1)"], accumulate_steps=2)
    logs = [distiller.train_on_batch(*batch(), return_dict=True)["pixelwise"] for _ in range(3)]
    assert [value > 0 for value in logs] == [True, True, False]


def test_a_half_done_step_is_resumed(tmp_path):
    def start(seed):
        distiller = made(plain_student(seed), keras.optimizers.Adam(0.01), accumulate_steps=2)
        distiller.optimizer.build(distiller.trainable_variables)
        return distiller, tf.train.Checkpoint(model=distiller, optimizer=distiller.optimizer)

    first, checkpoint = start(2)
    for seed in range(3):
        first.train_on_batch(*batch(2, seed))
    path = checkpoint.save(str(tmp_path / "progress"))
    second, checkpoint = start(3)
    checkpoint.restore(path).assert_existing_objects_matched()
    for distiller in (first, second):
        for seed in (3, 4):
            distiller.train_on_batch(*batch(2, seed))
    close(first.get_weights(), second.get_weights())
    assert int(second.optimizer.iterations) == 2


@pytest.mark.parametrize("steps", [0, -1, 1.5, True])
def test_accumulation_takes_whole_numbers(steps):
    with pytest.raises(ValueError, match="accumulate_steps must be a whole number"):
        made(plain_student(), "sgd", accumulate_steps=steps)


# Mixed precision.


@pytest.fixture
def policy(request):
    keras.mixed_precision.set_global_policy(request.param)
    yield request.param
    keras.mixed_precision.set_global_policy("float32")


def one_step(build, specs=SPECS, **options):
    distiller = made(build(), keras.optimizers.SGD(0.05), specs, eager=False, **options)
    before = [weight.numpy() for weight in distiller.trainable_variables]
    logs = distiller.train_on_batch(*batch(4), return_dict=True)
    after = [weight.numpy() for weight in distiller.trainable_variables]
    return distiller, logs, [new - old for old, new in zip(before, after, strict=True)]


@pytest.mark.parametrize(
    ("policy", "steps"),
    [
        ("mixed_float16", 2),
        ("mixed_bfloat16", 1),
        pytest.param("mixed_float16", 1, marks=pytest.mark.slow),
        pytest.param("mixed_bfloat16", 2, marks=pytest.mark.slow),
    ],
    indirect=["policy"],
)
def test_a_step_in_mixed_precision_is_the_step_in_float32(policy, steps):
    def run():
        distiller, logs, moved = one_step(plain_student, accumulate_steps=steps)
        if steps == 2:
            distiller.train_on_batch(*batch(4))
            moved = [weight.numpy() for weight in distiller.trainable_variables]
        return distiller, logs, moved

    mixed, logs, moved = run()
    keras.mixed_precision.set_global_policy("float32")
    _, logs_32, moved_32 = run()
    assert mixed.student.get_layer("head").output.dtype.name == policy.split("_")[1]
    scaled = isinstance(mixed.optimizer, keras.mixed_precision.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")
    assert all(weight.dtype == "float32" for weight in moved), "the weights themselves stay float32"
    rough = {"mixed_float16": 0.01, "mixed_bfloat16": 0.06}[policy]
    for name, value in logs_32.items():
        assert logs[name] == pytest.approx(value, rel=rough)
    for one, other in zip(moved, moved_32, strict=True):
        np.testing.assert_allclose(one, other, rtol=rough, atol=rough * np.abs(other).max())


@pytest.mark.parametrize("policy", ["mixed_float16"], indirect=True)
def test_a_student_in_half_precision_is_known_by_its_layers(policy):
    student = plain_student()
    keras.mixed_precision.set_global_policy("float32")
    distiller = made(student, "sgd")
    assert isinstance(distiller.optimizer, keras.mixed_precision.LossScaleOptimizer)
    np.testing.assert_array_equal(distiller(batch()[0]), student(batch()[0]))


def test_a_scaled_loss_saves_gradients_from_underflow():
    weight = tf.Variable(1.0)

    def gradient(optimizer):
        with tf.GradientTape() as tape:
            # The gradient is 1e-8, and the smallest number of half precision 6e-8.
            loss = tf.cast(tf.cast(weight, tf.float16) * tf.constant(1e-3, tf.float16), tf.float32) * 1e-5
        return gradients_of(loss, [weight], tape, optimizer)[0].numpy()

    assert gradient(keras.optimizers.SGD()) == 0
    scaling = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD(), initial_scale=2.0**15)
    assert gradient(scaling) == pytest.approx(1e-8, rel=1e-2)


@pytest.mark.parametrize("policy", ["mixed_float16"], indirect=True)
def test_a_step_with_an_overflow_is_left_out(policy):
    student = plain_student()
    scaling = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=2.0**40)
    distiller = made(student, scaling, accumulate_steps=2)
    before = student.get_weights()
    for _ in range(2):
        distiller.train_on_batch(*batch())
    assert same(before, student.get_weights())
    assert float(scaling.loss_scale) == 2.0**39
    assert not any(np.any(total) for total in distiller._accumulator.sums), "the next step begins anew"


# XLA.


@pytest.mark.slow
@pytest.mark.parametrize("specs", [SPECS, ["channel_wise", "csc", "dkd"]])
def test_a_compiled_step_is_the_same_step(specs):
    _, logs, moved = one_step(plain_student, specs)
    _, logs_jit, moved_jit = one_step(plain_student, specs, jit_compile=True)
    assert logs_jit == pytest.approx(logs, rel=1e-4)
    close(moved, moved_jit, rtol=1e-3)


@pytest.mark.slow
def test_accumulation_can_be_compiled():
    runs = []
    for jit in (False, True):
        distiller = made(plain_student(), "adam", eager=False, accumulate_steps=2, jit_compile=jit)
        for seed in range(4):
            distiller.train_on_batch(*batch(2, seed))
        runs.append(distiller.student.get_weights())
    close(*runs, rtol=1e-3, atol=1e-4)


def test_what_xla_cannot_compile_is_refused():
    terms = ["pixelwise", f"cirkd(num_classes={CLASSES})"]
    with pytest.raises(ValueError, match=r"XLA cannot compile the terms \['cirkd'\]"):
        made(plain_student(), "sgd", terms, eager=False, jit_compile=True)
    made(plain_student(), "sgd", ["cirkd"], eager=False, jit_compile=True)
    with pytest.raises(ValueError, match=r"XLA cannot compile the terms \['hint_stage'\].*schedule"):
        terms = ["pixelwise", "hint@stage:stage*stop(step=2)"]
        made(plain_student(), "sgd", terms, eager=False, jit_compile=True)


# The critic.

HOLISTIC = ["holistic(width=2)*0.1"]


def critic_of(distiller):
    return distiller.terms[0].loss.critic


@pytest.mark.parametrize("eager", [True, False])
def test_the_critic_learns_by_its_own_optimizer(eager):
    distiller = made(plain_student(), keras.optimizers.SGD(0.0), HOLISTIC, eager)
    critic = critic_of(distiller)
    student = distiller.student.get_weights()
    before = [weight.numpy() for weight in critic.trainable_weights]
    logs = distiller.train_on_batch(*batch(), return_dict=True)
    assert set(logs) == {"loss", "task_loss", "holistic", "holistic_critic"}
    assert logs["loss"] == pytest.approx(logs["task_loss"] + logs["holistic"]), "without the critic's"
    after = [weight.numpy() for weight in critic.trainable_weights]
    # The attention's scale begins at 0, and with it the gradients of what it scales.
    assert sum(not np.array_equal(*pair) for pair in zip(before, after, strict=True)) >= 9
    # Adam's first step is the learning rate, whatever the gradient.
    assert max(np.abs(new - old).max() for old, new in zip(before, after, strict=True)) < 1.1e-4
    assert same(student, distiller.student.get_weights()), "that learning rate was 0"
    ours = {weight.ref() for weight in distiller.trainable_variables}
    assert not ours & {weight.ref() for weight in critic.trainable_weights}


def test_the_critic_takes_the_step_of_its_loss():
    images, masks = batch()
    distiller = made(
        plain_student(), keras.optimizers.SGD(0.0), HOLISTIC, critic_optimizer=keras.optimizers.SGD(0.5)
    )
    loss, critic = distiller.terms[0].loss, critic_of(distiller)
    teacher, student = distiller.teacher(images), distiller.student(images)
    valid = (masks != 255).astype("float32")
    tf.random.set_seed(9)
    start = loss.get_weights()
    with tf.GradientTape() as tape:
        want = loss.critic_loss(teacher, student, valid=valid, images=images)
    gradients = tape.gradient(want, critic.trainable_variables)
    loss.set_weights(start)
    before = [weight.numpy() for weight in critic.trainable_variables]
    tf.random.set_seed(9)
    logs = distiller.train_on_batch(images, masks, return_dict=True)
    assert logs["holistic_critic"] == pytest.approx(float(want), rel=1e-4)
    for weight, old, gradient in zip(critic.trainable_variables, before, gradients, strict=True):
        np.testing.assert_allclose(weight, old - 0.5 * gradient, rtol=1e-3, atol=1e-4, err_msg=weight.name)


@pytest.mark.slow
def test_a_trained_critic_tells_them_apart():
    distiller = made(
        plain_student(),
        keras.optimizers.SGD(0.0),
        HOLISTIC,
        False,
        critic_optimizer=keras.optimizers.Adam(1e-2),
    )
    logs = [distiller.train_on_batch(*batch(), return_dict=True)["holistic_critic"] for _ in range(20)]
    assert np.mean(logs[-5:]) < np.mean(logs[:5])


def test_the_critic_s_training_is_resumed(tmp_path):
    def start(seed):
        distiller = made(plain_student(seed), keras.optimizers.SGD(0.01), HOLISTIC)
        return distiller, tf.train.Checkpoint(model=distiller)

    first, checkpoint = start(2)
    for seed in range(2):
        first.train_on_batch(*batch(2, seed))
    path = checkpoint.save(str(tmp_path / "progress"))
    second, checkpoint = start(3)
    checkpoint.restore(path).assert_existing_objects_matched()
    close(first.critic_optimizer.variables, second.critic_optimizer.variables)
    assert int(second.critic_optimizer.iterations) == 2
    for distiller in (first, second):
        tf.random.set_seed(9)
        distiller.train_on_batch(*batch(2, 3))
    close(first.get_weights(), second.get_weights())


@pytest.mark.parametrize("policy", ["mixed_float16"], indirect=True)
def test_a_critic_beside_a_student_in_half_precision(policy):
    distiller = made(plain_student(), "sgd", HOLISTIC, accumulate_steps=2)
    before = [weight.numpy() for weight in critic_of(distiller).trainable_weights]
    logs = distiller.train_on_batch(*batch(), return_dict=True)
    assert np.isfinite(list(logs.values())).all()
    assert not same(before, [weight.numpy() for weight in critic_of(distiller).trainable_weights])


def test_a_batch_of_void_leaves_the_critic_a_number():
    images, masks = batch()
    distiller = made(plain_student(), "sgd", HOLISTIC)
    logs = distiller.train_on_batch(images, np.full_like(masks, 255), return_dict=True)
    assert np.isfinite(list(logs.values())).all()
    assert all(np.isfinite(weight).all() for weight in distiller.get_weights())


def test_an_optimizer_without_a_critic_is_refused():
    with pytest.raises(ValueError, match="no term has a critic"):
        made(plain_student(), "sgd", critic_optimizer="adam")


def test_two_critics():
    terms = [
        Term(losses.HolisticLoss(width=2, name="one"), 0.1),
        Term(losses.HolisticLoss(width=2, name="two"), 0.1, at=("head", "head")),
    ]
    distiller = Distiller(network("teacher"), plain_student(), terms)
    distiller.compile("sgd", run_eagerly=True)
    before = [[weight.numpy() for weight in term.loss.critic.weights] for term in terms]
    logs = distiller.train_on_batch(*batch(), return_dict=True)
    assert {"one_critic", "two_head_critic"} <= set(logs)
    for term, old in zip(terms, before, strict=True):
        assert not same(old, [weight.numpy() for weight in term.loss.critic.weights])
