"""What a file is said to contain, checked on files that were made to contain it."""

import pytest

from tfsegkd._keras import keras
from tfsegkd.runtime import profile


def test_int8_file_computes_nothing_in_float_and_is_one_piece(files):
    report = profile(files["int8"])
    assert report.float_ops == []
    assert report.delegate_partitions == 1
    # Counted by hand: three convolutions and the logits; one upsampling each side of the logits.
    assert report.ops["CONV_2D"] == 4
    assert report.ops["RESIZE_BILINEAR"] == 2
    assert report.ops["CONCATENATION"] == 1


def test_conversions_at_the_border_of_a_float_io_file_are_not_compute(files):
    report = profile(files["float_io"])
    assert report.ops["DEQUANTIZE"] == 1
    assert report.float_ops == []
    assert report.outside_delegate == []


def test_every_op_of_a_float_file_is_float(files):
    report = profile(files["float"])
    assert len(report.float_ops) == sum(report.ops.values())
    assert any(name.startswith("CONV_2D") and "conv1" in name for name in report.float_ops)


def test_pool_and_lone_relu_split_the_network(network_with):
    layers = keras.layers
    content = network_with(
        layers.AveragePooling2D(2, name="pool"),
        layers.Conv2D(8, 1, name="between"),
        layers.UpSampling2D(2, interpolation="bilinear"),
        layers.ReLU(name="lone"),
    )
    report = profile(content)
    assert report.delegate_partitions == 3
    assert sorted(name.split()[0] for name in report.outside_delegate) == ["AVERAGE_POOL_2D", "RELU"]
    assert any("pool" in name for name in report.outside_delegate)
    assert report.float_ops == []


def test_layers_left_in_float_are_named(network_with):
    # TF-MOT leaves a transposed convolution with batch normalization in float, and says nothing.
    layers = keras.layers
    transposed = layers.Conv2DTranspose(8, 3, strides=2, padding="same", name="deconv")
    report = profile(network_with(transposed, layers.BatchNormalization(), layers.ReLU(6.0)))
    assert any(name.startswith("TRANSPOSE_CONV") and "deconv" in name for name in report.float_ops)
    assert not any("QUANTIZE" in name for name in report.float_ops)


def test_the_peak_is_what_an_op_reads_and_writes_and_what_waits(files):
    # Counted by hand: where both branches, 16×24×8 each, are joined. All else needs less at one time: the
    # pixels in two formats 2·32·48·3, the logits and the enlarged ones (16·24 + 32·48)·5.
    assert profile(files["int8"]).peak_bytes == 2 * (16 * 24 * 8) + 16 * 24 * 16
    # Floats take four bytes, and nothing is translated.
    assert profile(files["float"]).peak_bytes == 4 * (2 * (16 * 24 * 8) + 16 * 24 * 16)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.tflite"):
        profile(tmp_path / "none.tflite")
