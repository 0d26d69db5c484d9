"""Weights set to zero: which, how many, and that they stay so."""

import gzip

import numpy as np
import pytest
from channel_oracle import shake
from test_prune_channels import network, plain

from tfsegkd._keras import keras, tfmot
from tfsegkd.pruning import KeepZeros, UpdatePruningStep, sparsify, sparsity_report, strip
from tfsegkd.quantization import quantize
from tfsegkd.runtime import Network, convert

layers = keras.layers
AT_ONCE = "constant_sparsity(target_sparsity=0.75, begin_step=1, frequency=1)"
IMAGES = np.random.default_rng(0).uniform(0, 255, (4, 4, 4, 4)).astype(np.float32)
MASKS = np.random.default_rng(1).integers(0, 8, (4, 2, 2))


def mixed():
    """One layer of each kind that TF-MOT treats in its own way."""
    inputs = keras.Input((4, 4, 4), name="pixels")
    x = layers.Conv2D(8, 3, padding="same", name="conv")(inputs)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.SeparableConv2D(6, 3, strides=2, padding="same", name="separable")(x)
    x = layers.Conv2DTranspose(8, 2, strides=2, name="transposed")(x)
    x = layers.GroupNormalization(2, name="norm")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    return shake(keras.Model(inputs, layers.Dense(8, name="logits")(x), name="mixed"))


def trained(model, epochs=2, callbacks=(), rate=0.0, images=IMAGES, masks=MASKS):
    """Fits without changing weights by more than the callbacks do, unless a rate is given."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate), loss, run_eagerly=True)
    model.fit(images, masks, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return model


def kernels(model):
    return {weight.name.split(":")[0]: weight.numpy() for weight in model.weights if "kernel" in weight.name}


def test_the_smallest_weights_of_each_kernel_become_zero():
    model = mixed()
    sparse = strip(trained(sparsify(model, AT_ONCE), callbacks=[UpdatePruningStep()]))
    assert [layer.name for layer in sparse.layers] == [layer.name for layer in model.layers]
    dense = {"depthwise/depthwise_kernel", "separable/depthwise_kernel"}
    for name, before in kernels(model).items():
        expected = before.copy()
        if name not in dense:
            order = np.argsort(np.abs(before).ravel())
            expected.ravel()[order[: before.size - round(before.size / 4)]] = 0
        np.testing.assert_array_equal(kernels(sparse)[name], expected, err_msg=name)


def test_two_of_four_along_the_input_channels_become_zero():
    model = mixed()
    sparse = strip(trained(sparsify(model, "2:4"), callbacks=[UpdatePruningStep()]))
    for name, after in kernels(sparse).items():
        if name in ("transposed/kernel", "depthwise/depthwise_kernel", "separable/depthwise_kernel"):
            np.testing.assert_array_equal(after, kernels(model)[name], err_msg=name)
            continue
        before = kernels(model)[name]
        rows = np.moveaxis(after, -2, -1).reshape(-1, 4), np.moveaxis(before, -2, -1).reshape(-1, 4)
        for one, other in zip(*rows, strict=True):
            np.testing.assert_array_equal(one == 0, np.argsort(np.argsort(np.abs(other))) < 2)
    dense = sparsity_report(sparsify(model, "2:4")).dense
    assert {*dense} == {"transposed", "depthwise"} and "along the output channels" in dense["transposed"]
    assert "its 3 input channels" in sparsity_report(sparsify(plain(), "2:4")).dense["first_conv"]


def test_a_schedule_of_tfmot_is_followed():
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, 0.5, begin_step=0, end_step=4, frequency=1)
    model = sparsify(mixed(), schedule)
    shares = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: shares.append(sparsity_report(model).layers["conv"])
    )
    trained(model, 5, [UpdatePruningStep(), note])
    expected = [0.5 - 0.5 * (1 - min(step, 4) / 4) ** 3 for step in (1, 2, 3, 4, 5)]
    np.testing.assert_allclose(shares, expected, atol=0.01)


def test_the_report_says_what_stays_dense_and_what_zeros_are_worth(tmp_path):
    sparse = strip(trained(sparsify(mixed(), AT_ONCE), callbacks=[UpdatePruningStep()]))
    report = sparsity_report(sparse)
    assert {*report.dense} == {"depthwise"} and "leaves depthwise kernels alone" in report.dense["depthwise"]
    found = np.concatenate([kernel.ravel() for kernel in kernels(sparse).values()])
    assert report.sparsity == pytest.approx(np.mean(found == 0))
    assert report.layers["conv"] == pytest.approx(0.75, abs=0.01) and report.layers["depthwise"] == 0
    assert report.zipped_bytes < 0.6 * report.file_bytes
    assert report.file_bytes == 4 * found.size
    assert "int8 latency does not change" in str(report) and "prune_channels" in str(report)
    content = b"a" * 1000
    (tmp_path / "network.tflite").write_bytes(content)
    told = sparsity_report(sparse, tmp_path / "network.tflite")
    assert (told.file_bytes, told.zipped_bytes) == (1000, len(gzip.compress(content)))
    with pytest.raises(FileNotFoundError, match=r"none\.tflite"):
        sparsity_report(sparse, tmp_path / "none.tflite")


def test_zeros_stay_zeros_in_training():
    sparse = strip(trained(sparsify(mixed(), AT_ONCE), callbacks=[UpdatePruningStep()]))
    before = kernels(sparse)
    trained(sparse, callbacks=[KeepZeros()], rate=0.01)
    for name, after in kernels(sparse).items():
        np.testing.assert_array_equal(after == 0, before[name] == 0, err_msg=name)
        assert (after != before[name]).any()
    trained(sparse, callbacks=[], rate=0.01)
    assert sparsity_report(sparse).sparsity < 0.1, "without the callback they are gone"


@pytest.mark.slow
def test_zeros_survive_quantization_aware_training_and_the_file():
    images = np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3)).astype(np.float32)
    masks = np.random.default_rng(1).integers(0, 3, (4, 8, 8))
    fit = {"images": images, "masks": masks}
    sparse = strip(trained(sparsify(plain(), AT_ONCE), callbacks=[UpdatePruningStep()], **fit))
    quantized = trained(quantize(sparse, calibration=[images]), callbacks=[KeepZeros()], rate=0.01, **fit)
    found = {weight.name: weight.numpy() for weight in quantized.trainable_weights if "kernel" in weight.name}
    assert len(found) == 3
    for name, kernel in found.items():
        assert np.mean(kernel == 0) == pytest.approx(0.75, abs=0.02), name
    interpreter = Network(convert(quantized))._interpreter
    zeros = {}
    for detail in interpreter.get_tensor_details():
        if len(detail["shape"]) == 4 and detail["dtype"] == np.int8 and detail["shape"][0] in (3, 12):
            try:
                zeros[detail["name"]] = np.mean(interpreter.get_tensor(detail["index"]) == 0)
            except ValueError:
                continue  # an activation
    assert len(zeros) >= 3 and min(zeros.values()) >= 0.7


def test_what_cannot_be_thinned_out_is_refused():
    with pytest.raises(ValueError, match=r"'constant_sparsity\(.*' cannot be used: .*\[0,1\).*below 1\.$"):
        sparsify(mixed(), "constant_sparsity(target_sparsity=1, begin_step=1)")
    with pytest.raises(ValueError, match=r"Unknown sparsity schedule 'polynomial'.*polynomial_decay"):
        sparsify(mixed(), "polynomial")
    with pytest.raises(ValueError, match=r"Wrong arguments.*target_sparsity"):
        sparsify(mixed(), "constant_sparsity(sparsity=0.5)")
    with pytest.raises(ValueError, match="must be a PruningSchedule of TF-MOT"):
        sparsify(mixed(), 0.5)
    with pytest.raises(ValueError, match="Prune the float network first"):
        sparsify(quantize(plain()), AT_ONCE)
    with pytest.raises(ValueError, match="thinned out already"):
        sparsify(sparsify(mixed(), AT_ONCE), AT_ONCE)
    inputs = keras.Input((4, 4, 4))
    only = keras.Model(inputs, layers.DepthwiseConv2D(3, name="dw")(inputs), name="only")
    with pytest.raises(ValueError, match=r"'only' has no layer whose.*'dw' \(DepthwiseConv2D\)"):
        sparsify(only, AT_ONCE)
    with pytest.raises(TypeError, match="functional"):
        sparsify(keras.Sequential(), AT_ONCE)


def test_what_has_no_zeros_cannot_be_stripped():
    with pytest.raises(ValueError, match="nothing to strip"):
        strip(mixed())
    late = sparsify(mixed(), "constant_sparsity(target_sparsity=0.5, begin_step=0)")
    with pytest.raises(ValueError, match=r"has not lost a weight yet.*frequency"):
        strip(trained(late, callbacks=[UpdatePruningStep()]))


def test_the_model_itself_is_left_alone():
    model = network(width=4)
    before = model.get_weights()
    calls = [len(layer.inbound_nodes) for layer in model.layers]
    sparsify(model, AT_ONCE)
    assert calls == [len(layer.inbound_nodes) for layer in model.layers]
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
