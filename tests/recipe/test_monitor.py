"""What TensorBoard is given beside Keras' scalars."""

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.data.road_scenes import RoadScenes
from tfsegkd.quantization import quantize
from tfsegkd.recipe.monitor import Monitor, quantized_ranges, write_flags, zero_share

SIZE = (32, 48)


def network():
    keras.utils.set_random_seed(0)
    image = keras.Input((*SIZE, 3), name="image")
    x = keras.layers.Rescaling(1 / 128, -1, name="scale")(image)
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(x)
    return keras.Model(image, keras.layers.Conv2D(11, 1, name="logits")(x), name="tiny")


def events(directory):
    """The values of every tag, by step."""
    found = {}
    for path in sorted(directory.glob("events.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = tf.make_ndarray(value.tensor)
    return found


@pytest.fixture(scope="module")
def scenes():
    return RoadScenes("val", height=SIZE[0], width=SIZE[1], num_images=5)


def trained(model, monitor, epochs=2):
    history = keras.callbacks.History()
    images, labels = np.zeros((2, *SIZE, 3), np.float32), np.zeros((2, *SIZE), np.int32)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images, labels, epochs=epochs, verbose=0, callbacks=[monitor, history])
    return history.history


def test_pictures_of_every_epoch_hold_image_label_and_prediction(scenes, tmp_path):
    history = trained(network(), Monitor(tmp_path, scenes))
    found = events(tmp_path)
    assert list(found) == ["image, label, prediction"] and list(found["image, label, prediction"]) == [0, 1]
    width, height, *pictures = found["image, label, prediction"][1]
    assert (int(width), int(height), len(pictures)) == (3 * SIZE[1], SIZE[0], 3)
    first = tf.io.decode_png(pictures[0]).numpy()
    np.testing.assert_array_equal(first[:, : SIZE[1]], scenes[0][0])
    assert "sparsity" not in history


def test_zeros_join_the_logs_and_activations_come_on_request(scenes, tmp_path):
    model = network()
    kernel, bias = model.get_layer("conv").get_weights()
    kernel[..., :2] = 0
    model.get_layer("conv").set_weights([kernel, bias])
    want = (9 * 3 * 2) / (9 * 3 * 4 + 4 * 11)
    assert zero_share(model) == pytest.approx(want)
    monitor, logs = Monitor(tmp_path, scenes, histograms=True), {}
    monitor.set_model(model)
    monitor.on_train_begin()
    monitor.on_epoch_end(0, logs)
    monitor.on_train_end()
    assert logs == {"sparsity": pytest.approx(want)}
    found = events(tmp_path)
    assert {"activations/conv", "activations/logits"} < set(found)
    # A histogram is rows of (from, to, how many); half of the first layer's channels give nothing.
    low, high, count = found["activations/conv"][0].T
    assert count.sum() == 3 * 32 * 48 * 4 and count[(low <= 0) & (high >= 0)].sum() >= count.sum() / 2


def test_ranges_of_a_quantized_network(scenes, tmp_path):
    images = np.stack([scenes[index][0] for index in range(4)]).astype(np.float32)
    model = quantize(network(), calibration=[images])
    ranges = quantized_ranges(model)
    lows = {name: value for name, value in ranges.items() if name.endswith("_min")}
    highs = {name: value for name, value in ranges.items() if name.endswith("_max")}
    assert lows and len(lows) == len(highs) and max(lows.values()) <= 0 <= min(highs.values())
    trained(model, Monitor(tmp_path, scenes), epochs=1)
    found = {tag.removeprefix("ranges/"): values for tag, values in events(tmp_path).items()}
    assert set(ranges) < set(found)
    # Training moved them, and what is shown is what they are now.
    for name, value in quantized_ranges(model).items():
        assert float(found[name][0]) == pytest.approx(value)


def test_flags_are_a_table(tmp_path):
    write_flags(tmp_path, {"student": "unet", "distill": ["pixelwise", "hint"]})
    text = events(tmp_path)["flags"][0].reshape(-1)[0].decode()
    assert "| student | `unet` |" in text and "| distill | `['pixelwise', 'hint']` |" in text
