"""Pruned networks: exact, as small as asked for, and as good as any other Keras model."""

import numpy as np
import pytest
from channel_oracle import shake, zeroed

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.graph import cost
from tfsegkd.pruning import PruningReport, prune_channels
from tfsegkd.pruning.batches import mixed
from tfsegkd.pruning.recalibration import recalibrate
from tfsegkd.quantization import quantize

layers = keras.layers
PLAIN = {"compensate": False, "recalibrate": False}


def network(seed=0, width=16):
    """Two stages, a shortcut, a gate and a skip, on 8×8 images of three classes."""
    inputs = keras.Input((8, 8, 3), name="pixels")

    def conv(x, filters, name, kernel=3):
        x = layers.Conv2D(filters, kernel, padding="same", use_bias=False, name=f"{name}_conv")(x)
        return layers.ReLU(6.0, name=name)(layers.BatchNormalization(name=f"{name}_bn")(x))

    fine = conv(inputs, width, "fine")
    x = layers.MaxPooling2D(name="pool")(fine)
    x = conv(x, 2 * width, "coarse")
    x = layers.Add(name="sum")([x, conv(x, 2 * width, "residual")])
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)
    gate = layers.Conv2D(2 * width, 1, activation="sigmoid", name="gate")(gate)
    x = layers.Multiply(name="gated")([x, gate])
    x = layers.Conv2DTranspose(width, 2, strides=2, name="up")(x)
    x = conv(layers.Concatenate(name="join")([fine, x]), width, "decoder")
    return shake(keras.Model(inputs, layers.Conv2D(3, 1, name="logits")(x), name="small"), seed)


def plain():
    """A network that TF-MOT can quantize."""
    inputs = x = keras.Input((8, 8, 3), name="pixels")
    for name in ("first", "second"):
        x = layers.Conv2D(12, 3, padding="same", name=f"{name}_conv")(x)
        x = layers.ReLU(6.0, name=name)(layers.BatchNormalization(name=f"{name}_bn")(x))
    return shake(keras.Model(inputs, layers.Conv2D(3, 1, name="logits")(x), name="plain"))


def batches(count=3, shape=(8, 8), classes=3, seed=0):
    random = np.random.default_rng(seed)
    for _ in range(count):
        images = random.uniform(-1, 2, (4, *shape, 3)).astype(np.float32)
        masks = random.integers(0, classes, (4, *shape))
        masks[random.random(masks.shape) < 0.2] = 255
        yield images, masks.astype(np.uint8)


def images(model, seed=5):
    return np.random.default_rng(seed).uniform(-1, 2, (2, *model.input_shape[1:])).astype(np.float32)


def check_exact(model, pruned, report):
    x = images(model)
    expected = zeroed(model, report.kept)(x).numpy()
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(pruned(x) / scale, expected / scale, atol=1e-5)
    assert report.before == cost(model) and report.after == cost(pruned)


@pytest.mark.parametrize(
    ("importance", "scope"),
    [
        *[("l1", scope) for scope in ("local", "global", "isomorphic")],
        *[(name, "global") for name in ("l2", "bn_scale", "fpgm", "lamp", "random")],
        *[(name, "global") for name in ("taylor", "hessian", "class_balanced_taylor")],
    ],
)
def test_the_target_is_met_exactly_and_narrowly(importance, scope):
    model = network()
    weights = model.get_weights()
    pruned, report = prune_channels(
        model, "macs:0.5", importance, scope, round_to=2, data=list(batches()), **PLAIN
    )
    check_exact(model, pruned, report)
    assert report.changed and isinstance(report, PruningReport)
    assert 0.42 < report.after.macs / report.before.macs <= 0.5
    sizes = {layer.name: layer.filters for layer in pruned.layers if hasattr(layer, "filters")}
    assert sizes.pop("logits") == 3
    assert all(size % 2 == 0 for size in sizes.values())
    assert sizes["coarse_conv"] == sizes["residual_conv"] == sizes["gate"]
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    ["unet(width=16)", "mobile_unet", "deeplab_v3_plus(weights=None, filters=32)"],
)
def test_the_networks_of_the_zoo(spec):
    model = shake(models.build(spec, 4, (32, 32, 3)))
    pruned, report = prune_channels(model, "macs:0.5", "l1", **PLAIN)
    check_exact(model, pruned, report)
    assert 0.4 < report.after.macs / report.before.macs <= 0.5
    for layer in pruned.layers:
        if type(layer) is layers.Conv2D and layer.name != "classifier":
            assert layer.filters % 8 == 0 or layer.filters == model.get_layer(layer.name).filters


def test_parameters_can_be_the_target():
    model = network()
    pruned, report = prune_channels(model, "params:0.3", "l1", round_to=1)
    assert 0.28 < cost(pruned).parameters / cost(model).parameters <= 0.3
    assert report.after.parameters == pruned.count_params()


@pytest.mark.parametrize("kind", ["macs", "params", "latency"])
def test_all_of_it_is_the_identity(kind):
    model = network()
    model.get_layer("fine_conv").trainable = False
    same, report = prune_channels(model, f"{kind}:1.0")
    assert not report.changed and same is not model
    assert report.before == report.after == cost(model)
    assert report.kept["fine_conv"] == tuple(range(16))
    assert not same.get_layer("fine_conv").trainable
    np.testing.assert_array_equal(same(images(model)), model(images(model)))


def test_local_takes_the_same_share_of_every_layer():
    pruned, _ = prune_channels(network(), "params:0.4", "l1", "local", round_to=1)
    shares = [
        layer.filters / network_layer.filters
        for layer, network_layer in zip(pruned.layers, network().layers, strict=True)
        if hasattr(layer, "filters") and layer.name != "logits"
    ]
    assert max(shares) - min(shares) < 0.13


def test_the_weakest_filters_go():
    model = network()
    conv = model.get_layer("decoder_conv")
    kernel = conv.get_weights()[0]
    kernel[..., [1, 4, 6]] *= 1e-3
    conv.set_weights([kernel])
    for importance in ("l1", "l2", "lamp"):
        # The three are 9.62 % of the MACs.
        _, report = prune_channels(model, "macs:0.904", importance, round_to=1)
        assert report.kept["decoder"] == (0, 2, 3, 5, *range(7, 16))


def test_it_trains_saves_loads_and_quantizes(tmp_path):
    model = plain()
    data = [(100 * np.abs(x), y) for x, y in batches(2)]
    pruned, report = prune_channels(model, "macs:0.6", "taylor", round_to=2, data=data)
    assert report.compensated and report.recalibrated == 2
    pruned.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255))
    before = pruned.get_weights()
    pruned.fit(*data[0], verbose=0)
    moved = [(a != b).any() for a, b in zip(before, pruned.get_weights(), strict=True)]
    assert np.mean(moved) > 0.9
    pruned.save(tmp_path / "pruned.keras")
    loaded = models.load(tmp_path / "pruned.keras")
    np.testing.assert_array_equal(loaded(data[0][0]), pruned(data[0][0]))
    assert quantize(loaded).output_shape == model.output_shape
    # What is pruned can be pruned again, from what is left of it.
    again, second = prune_channels(loaded, "macs:0.5", "l1", round_to=1)
    assert second.before == report.after and cost(again).macs <= 0.3 * cost(model).macs


@pytest.mark.parametrize("data", [None, "measured"])
def test_constant_channels_are_compensated_exactly(data):
    """Channels whose γ is 0 are worth their β; 1×1 convolutions read them with and without a bias."""
    inputs = keras.Input((8, 8, 3), name="pixels")
    x = layers.Conv2D(8, 3, name="first")(inputs)
    x = layers.ReLU(name="on")(layers.BatchNormalization(name="norm")(x))
    a = layers.Conv2D(6, 1, use_bias=False, name="a")(x)
    a = layers.BatchNormalization(name="a_norm")(a)
    b = layers.Conv2D(6, 1, name="b")(x)
    c = layers.Conv2D(6, 1, use_bias=False, name="c")(layers.MaxPooling2D(name="pool")(x))
    c = layers.UpSampling2D(name="larger")(layers.ReLU(name="c_on")(c))
    x = layers.Concatenate(name="join")([a, b, c])
    model = shake(keras.Model(inputs, layers.Conv2D(3, 1, name="logits")(x)))
    norm = model.get_layer("norm")
    gamma, beta, *rest = norm.get_weights()
    dead = [0, 2, 5]
    gamma[dead], beta[dead] = 0, [0.7, -0.4, 1.3]
    norm.set_weights([gamma, beta, *rest])
    for layer in ("a", "b", "c"):  # only the first layer has weak filters
        kernel, *bias = model.get_layer(layer).get_weights()
        model.get_layer(layer).set_weights([1 + np.abs(kernel), *bias])
    first = model.get_layer("first")
    kernel, bias = first.get_weights()
    kernel[..., dead] *= 1e-4
    first.set_weights([kernel, bias])
    options = {"data": list(batches()) if data else None, "recalibrate": False}
    pruned, report = prune_channels(model, "macs:0.74", "l1", round_to=1, **options)
    assert report.kept["first"] == (1, 3, 4, 6, 7)
    assert all(len(report.kept[name]) == 6 for name in "abc")
    x = images(model)
    np.testing.assert_allclose(pruned(x), model(x), atol=2e-5)
    plain, _ = prune_channels(model, "macs:0.74", "l1", round_to=1, **{**options, "compensate": False})
    assert np.abs(plain(x) - model(x)).max() > 0.1


def test_recalibration_gives_the_statistics_of_the_data():
    model, data = network(), list(batches(2))
    pruned, report = prune_channels(model, "macs:0.6", "l1", round_to=1, data=[x for x, _ in data])
    assert report.recalibrated == 4
    conv = keras.Model(pruned.input, pruned.get_layer("fine_conv").output)
    outputs = np.concatenate([conv(x) for x, _ in data])
    norm = pruned.get_layer("fine_bn")
    np.testing.assert_allclose(norm.moving_mean, outputs.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, outputs.var((0, 1, 2)), rtol=2e-2)
    later = pruned.get_layer("decoder_bn").moving_mean.numpy()
    kept = list(report.kept["decoder"])
    assert np.abs(later - model.get_layer("decoder_bn").moving_mean.numpy()[kept]).max() > 1e-2


def test_recalibration_does_not_depend_on_the_order_of_a_video():
    """Dark frames first, then bright ones: statistics as if all had been in one batch."""
    model, random = network(), np.random.default_rng(3)
    frames = [random.uniform(0, 1, (16, *model.input_shape[1:])) * light for light in (0.2, 2.0)]
    video = [frame.astype(np.float32) for scene in frames for frame in (scene[:8], scene[8:])]
    found = {}
    for name, data in (("video", video), ("one", [np.concatenate(video)])):
        pruned, _ = prune_channels(model, "macs:0.6", "l1", round_to=1, compensate=False, data=data)
        found[name] = pruned.get_layer("decoder_bn").moving_variance.numpy()
    assert recalibrate(pruned, video)
    unmixed = pruned.get_layer("decoder_bn").moving_variance.numpy()
    wrong = np.abs(np.log(unmixed / found["one"])).max()
    assert np.abs(np.log(found["video"] / found["one"])).max() < 0.3 * wrong


def test_mixed_batches_hold_the_same_frames():
    data = [(np.arange(n, n + 3)[:, None], 10 * np.arange(n, n + 3)[:, None]) for n in (0, 3, 6)]
    data.append((np.array([[9]]), np.array([[90]])))
    found = mixed(data)
    assert [len(images) for images, _ in found] == [3, 3, 3, 1]
    images, masks = (np.concatenate(part)[:, 0] for part in zip(*found, strict=True))
    assert sorted(images) == list(range(10)) and (masks == 10 * images).all()
    assert all(np.ptp(part) > 2 for part, _ in found[:3]), "no batch is as it was"
    assert mixed([(np.zeros((2, 1)), None)])[0][1] is None


@pytest.mark.parametrize("other", [(np.zeros((2, 5)), np.zeros((2, 4))), (np.zeros((2, 4)), None)])
def test_batches_that_do_not_fit_each_other_are_refused(other):
    with pytest.raises(ValueError, match="Expected one size, and masks with all or none"):
        mixed([(np.zeros((2, 4)), np.zeros((2, 4))), other])


def test_a_seed_makes_random_scores_repeatable():
    kept = [
        prune_channels(network(), "macs:0.5", "random", round_to=1, seed=seed)[1].kept for seed in (1, 1, 2)
    ]
    assert kept[0] == kept[1] != kept[2]


@pytest.mark.slow
def test_half_the_latency():
    model = models.build("unet(width=16)", 3, (96, 96, 3))
    pruned, report = prune_channels(model, "latency:0.5", "l1")
    dense, less = report.latency_ms
    assert 0 < less < dense
    assert cost(pruned).macs < 0.8 * cost(model).macs


def test_the_report_reads_well():
    _, report = prune_channels(network(), "macs:0.5", "l1", round_to=2)
    assert str(report).startswith("pruned to macs:0.5 by l1 (global, multiples of 2)\n  MACs ")
    assert report.frozen == {
        "pixels": ("'pixels' is an input of the network",),
        "logits": ("'logits' is an output of the network",),
    }


def refuse(message, model=None, error=ValueError, **options):
    with pytest.raises(error, match=message):
        prune_channels(network() if model is None else model, **{"importance": "l1", **options})


def test_what_cannot_be_done_is_refused():
    refuse("target must be one of .*Received: 'macs'", target="macs")
    refuse("target must be one of .*Received: 'flops:0.5'", target="flops:0.5")
    refuse("above 0 and up to 1. Received: 'macs:1.5'", target="macs:1.5")
    refuse("importance must be one of .*Received: 'l3'", importance="l3")
    refuse("scope must be one of", scope="galactic")
    refuse("round_to must be a whole number", round_to=0)
    refuse("functional tf_keras model", model=keras.Sequential(), error=TypeError)
    refuse("can lose 64 at a time", round_to=64)
    refuse("0.[0-9]+ of its MACs are left.*at least 8 channels.*'logits' is an output", target="macs:0.01")


def test_a_network_without_channels_to_remove():
    inputs = keras.Input((8, 8, 3), name="pixels")
    x = layers.Lambda(lambda t: t[..., ::-1], name="swap")(layers.Conv2D(8, 3, name="conv")(inputs))
    model = keras.Model(inputs, layers.Conv2D(3, 1, name="logits")(x), name="stiff")
    refuse(r"'stiff' has no channel that could be removed.*'conv' \('swap' \(Lambda\)", model=model)


def test_of_many_reasons_a_screen_is_said():
    x = inputs = keras.Input((8, 8, 3), name="pixels")
    for number in range(30):
        x = layers.Conv2D(8, 3, padding="same", name=f"conv{number}")(x)
        x = layers.Lambda(lambda t: t[..., ::-1], name=f"swap{number}")(x)
    with pytest.raises(ValueError, match=r"'conv0' .*and \d+ more") as refusal:
        prune_channels(keras.Model(inputs, x), "macs:0.5")
    assert len(str(refusal.value)) < 2000


def test_a_quantized_network():
    refuse("Prune the float network first, then quantize", model=quantize(plain()))


def test_data_that_say_nothing():
    data = list(batches())
    taylor = {"importance": "taylor", "round_to": 2}
    refuse("Received: no batch", **taylor)
    refuse("Received: images alone", data=[x for x, _ in data], **taylor)
    refuse("data is empty", data=[], **taylor)
    refuse("one class only, 1", data=[(x, np.where(y == 255, 255, 1)) for x, y in data], **taylor)
    refuse("no class at all", data=[(x, np.full_like(y, 255)) for x, y in data], **taylor)
    refuse("one for each logit", data=[(x, y[:, :4]) for x, y in data], **taylor)
