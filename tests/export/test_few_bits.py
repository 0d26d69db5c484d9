"""Networks with learned steps, and with kernels of 4 bits, as files."""

import numpy as np
import pytest

from tfsegkd import export, runtime
from tfsegkd._keras import keras
from tfsegkd.quantization import quantize


def learned(float_model, weight_bits, images):
    """Taught to be the float network again."""
    images = images.astype(np.float32)
    model = quantize(float_model, weight_bits, quantizer="lsq", calibration=[images])
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    model.fit(images, float_model(images), epochs=20, verbose=0)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("weight_bits", [8, 4])
def test_learned_steps_come_through(weight_bits, float_model, exported, images, tmp_path):
    model = learned(float_model, weight_bits, images)
    report = export.export_tflite(model, tmp_path / "learned.tflite")
    assert report.float_ops == []
    found = export.verify(report.path, model, images)
    assert found.max_difference_steps <= 2.01
    from_file, from_keras = runtime.Network(report.path).predict(images), model.predict(images, verbose=0)
    best = np.sort(from_keras, axis=-1)[..., -2:]
    is_decided = best[..., 1] - best[..., 0] > 4 * runtime.Network(report.path).output_quantization[0]
    assert (from_file.argmax(-1) == from_keras.argmax(-1))[is_decided].all()
    assert is_decided.mean() > 0.7 and found.int8_agreement > 0.97
    # The first and the last of the four kernels keep 8 bits.
    if weight_bits == 4:
        assert report.note.startswith("2 kernels have 4 bits: size, not speed.")
        kernels = 3 * 3 * 8 * 8 * 2
        assert exported[1].file_bytes - report.file_bytes >= kernels / 2
        assert report.delegate_partitions > 1
    else:
        assert report.note == "" and report.delegate_partitions == 1
