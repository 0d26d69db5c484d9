"""The file's predictions, checked with Keras and with LiteRT's own interpreter."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tfsegkd.runtime import Network, network, workers
from tfsegkd.runtime.model_file import pack, unpack


@pytest.mark.parametrize("name", ["int8", "float_io", "float"])
def test_shapes(files, name):
    network = Network(files[name])
    assert network.input_shape == (32, 48, 3)
    assert network.output_shape == (32, 48, 5)
    assert network.num_classes == 5


def test_float_file_predicts_as_keras(files, float_model, images):
    expected = float_model(images.astype(np.float32), training=False).numpy()
    np.testing.assert_allclose(Network(files["float"]).predict(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["int8", "float_io"])
def test_int8_file_predicts_as_quantization_aware_keras(files, aware_model, images, name):
    step = Network(files["int8"]).output_quantization[0]
    expected = aware_model(images.astype(np.float32), training=False).numpy()
    found = Network(files[name]).predict(images)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 4 * step
    assert np.abs(found - expected).mean() <= step


def test_logits_are_the_steps_of_the_file_times_its_scale(files, images):
    interpreter = Interpreter(model_path=str(files["int8"]))
    interpreter.allocate_tensors()
    output = interpreter.get_output_details()[0]
    scale, zero_point = output["quantization"]
    assert zero_point != 0
    expected = []
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        expected.append((interpreter.get_tensor(output["index"])[0].astype(float) - zero_point) * scale)
    np.testing.assert_allclose(Network(files["int8"]).predict(images), expected, rtol=1e-6)


def test_float_and_uint8_pixels_are_the_same_image(files, images):
    network = Network(files["int8"].read_bytes())
    np.testing.assert_array_equal(network.predict(images), network.predict(images.astype(np.float32) + 0.2))


def test_quantizations(files):
    assert Network(files["int8"]).input_quantization == (1.0, 0)
    assert Network(files["float"]).input_quantization is None
    assert Network(files["float_io"]).output_quantization is None


def test_no_images_give_no_logits(files):
    assert Network(files["int8"]).predict(np.zeros((0, 32, 48, 3))).shape == (0, 32, 48, 5)


@pytest.mark.parametrize("shape", [(1, 32, 47, 3), (32, 48, 3), (1, 32, 48, 1)])
def test_wrong_size_is_refused(files, shape):
    with pytest.raises(ValueError, match=r"images of shape \(N, 32, 48, 3\)"):
        Network(files["int8"]).predict(np.zeros(shape, np.uint8))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"No network file at .*none\.tflite"):
        Network(tmp_path / "none.tflite")


@pytest.mark.parametrize("content", [b"", b"not a network" * 20])
def test_other_content_is_refused(tmp_path, content):
    path = tmp_path / "broken.tflite"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot load .*broken\.tflite"):
        Network(path)


def test_truncated_file_is_refused(tmp_path, files):
    path = tmp_path / "half.tflite"
    path.write_bytes(files["int8"].read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"half\.tflite"):
        Network(path)


def test_bad_thread_count_is_refused(files):
    with pytest.raises(ValueError, match="num_threads"):
        Network(files["int8"], num_threads=0)


def test_a_file_that_crashes_litert_does_not_crash_us(tmp_path, files, monkeypatch):
    script = tmp_path / "crash.py"
    script.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    run = workers.run
    monkeypatch.setattr(workers, "run", lambda _, request, seconds: run(str(script), request, seconds))
    path = tmp_path / "evil.tflite"
    path.write_bytes(files["float"].read_bytes() + b"not tried before")
    with pytest.raises(ValueError, match=r"LiteRT cannot load .*evil\.tflite as a \.tflite: .*SIGSEGV"):
        Network(path)


def test_a_file_that_would_fill_the_memory_is_refused(tmp_path, files):
    model = unpack(files["float"].read_bytes())
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].shape = np.array([1, 60_000, 60_000, 3], np.int32)
    (tmp_path / "bomb.tflite").write_bytes(pack(model))
    with pytest.raises(ValueError, match=r"LiteRT cannot load .*bomb\.tflite as a \.tflite: "):
        Network(tmp_path / "bomb.tflite")


def test_a_file_is_tried_once(tmp_path, files, monkeypatch):
    tried, run = [], workers.run
    monkeypatch.setattr(workers, "run", lambda *request: tried.append(request) or run(*request))
    path = tmp_path / "new.tflite"
    path.write_bytes(files["float"].read_bytes() + b"tried for the first time")
    Network(path), Network(path)
    assert len(tried) == 1


def test_several_files_are_tried_in_one_process(tmp_path, files, monkeypatch):
    tried, run = [], workers.run
    monkeypatch.setattr(workers, "run", lambda *request: tried.append(request) or run(*request))
    content, paths = files["float"].read_bytes(), [tmp_path / f"{name}.tflite" for name in "abc"]
    for number, path in enumerate(paths):
        path.write_bytes(content + bytes([number]) + b"tried together")
    network.try_out_together(paths)
    for path in paths:
        Network(path)
    assert len(tried) == 1 and len(tried[0][1]["paths"]) == 3
    # One that LiteRT refuses is named when it is loaded, and takes no other with it.
    paths[0].write_bytes(b"no network")
    network.try_out_together([*paths, tmp_path / "missing.tflite"])
    with pytest.raises(ValueError, match=r"LiteRT cannot load .*a\.tflite as a \.tflite: "):
        Network(paths[0])
    Network(paths[1])
