"""What is said of a file and its network, counted with plain loops."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.data import DatasetInfo, Source
from tfsegkd.evaluation import evaluate
from tfsegkd.export import export_tflite, verify
from tfsegkd.runtime import Network


class Toy(Source):
    """Frames with masks of another size, on which the network is right half of the time."""

    def __init__(self, info, images, network):
        super().__init__(info, [str(number) for number in range(len(images))])
        self._images = images
        masks = network(images.astype(np.float32), training=False).numpy().argmax(-1).astype(np.uint8)
        self._masks = np.repeat(np.repeat(masks, 2, 1), 2, 2)
        self._masks[:, ::2], self._masks[:, :, ::9] = 1, info.ignore_label

    def read(self, index):
        return self._images[index], self._masks[index]


def chosen(exported, network, images):
    """The labels that file and network choose."""
    return (
        Network(exported).predict(images).argmax(-1),
        network(images.astype(np.float32), training=False).numpy().argmax(-1),
    )


def test_int8_file_agrees_with_its_network(exported, aware_model, images):
    report = verify(exported[0], aware_model, images, layers=False)
    assert report.int8_agreement >= 0.98
    assert report.max_difference_steps <= 4
    assert report.num_images == len(images)
    assert report.mean_iou is None and report.op_times == () and report.sqnr_db == {}


def test_figures_are_those_of_a_plain_loop(exported, float_model, images):
    # The float network differs from the int8 file enough for the figures to be of interest.
    report = verify(exported[0], float_model, [images[:3], images[3:]], layers=False)
    network = Network(exported[0])
    same, count, largest = 0, 0, 0.0
    for image in images:
        ours = network.predict(image[None])[0]
        theirs = float_model(image[None].astype(np.float32), training=False).numpy()[0]
        for row, column in np.ndindex(ours.shape[:2]):
            same += int(np.argmax(ours[row, column]) == np.argmax(theirs[row, column]))
            count += 1
            largest = max(largest, float(np.max(np.abs(ours[row, column] - theirs[row, column]))))
    assert 0.5 < report.int8_agreement < 1
    assert report.int8_agreement == same / count
    assert report.max_difference == pytest.approx(largest, rel=1e-3)
    assert report.max_difference_steps == pytest.approx(largest / network.output_quantization[0], rel=1e-3)


def test_classes_and_borders_are_those_of_a_plain_loop(exported, float_model, images):
    report = verify(exported[0], float_model, images, layers=False)
    ours, theirs = chosen(exported[0], float_model, images)
    for label, share in report.class_agreement.items():
        here = theirs == int(label)
        assert share == (ours[here] == theirs[here]).mean() if here.any() else share is None
    hits, count = 0, 0
    for image, row, column in np.ndindex(theirs.shape):
        label, lines = theirs[image, row, column], theirs[image]
        cross = {*lines[max(row - 2, 0) : row + 3, column], *lines[row, max(column - 2, 0) : column + 3]}
        if cross != {label}:
            hits, count = hits + int(ours[image, row, column] == label), count + 1
    assert report.border_agreement == hits / count < report.int8_agreement


def test_mean_iou_is_that_of_evaluate_and_its_interval_holds_it(exported, float_model, images, info):
    source = Toy(info, np.concatenate([images] * 4), float_model)
    report = verify(exported[0], float_model, source, layers=False)
    assert report.mean_iou.keras == pytest.approx(evaluate(float_model, source).mean_iou)
    assert report.mean_iou.file == pytest.approx(evaluate(exported[0], source).mean_iou)
    change = report.mean_iou.file - report.mean_iou.keras
    assert report.mean_iou.low <= change <= report.mean_iou.high and change != 0
    assert report.mean_iou.draws_of == -(-len(source) // 8)
    assert set(report.class_agreement) == set(info.class_names)


def test_the_interval_is_a_bootstrap_over_batches(exported, float_model, images, info):
    """All ways to draw four batches of four, with replacement, and the middle 95 % of them."""
    source = Toy(info, images[:4], float_model)
    masks = np.stack([source[number][1] for number in range(4)])
    report = verify(
        exported[0], float_model, zip(images[:4, None], masks[:, None], strict=True), layers=False
    )
    both = [Network(exported[0]).predict(images[:4]), float_model(images[:4].astype(np.float32)).numpy()]
    labels = [tf.image.resize(logits, masks.shape[1:]).numpy().argmax(-1) for logits in both]

    def mean_iou(predictions, draw):
        found = []
        for label in range(5):
            here, said = masks[draw] == label, (predictions[draw] == label) & (masks[draw] != 255)
            found += [(here & said).sum() / (here | said).sum()] if (here | said).any() else []
        return np.mean(found)

    changes = [
        mean_iou(labels[0], list(draw)) - mean_iou(labels[1], list(draw))
        for draw in itertools.product(range(4), repeat=4)
    ]
    low, high = np.percentile(changes, [2.5, 97.5])
    assert report.mean_iou.draws_of == 4 and low < high
    assert report.mean_iou.low == pytest.approx(low, abs=0.1 * (high - low))
    assert report.mean_iou.high == pytest.approx(high, abs=0.1 * (high - low))


def test_in_full_it_looks_at_ops_and_layers(exported, aware_model, images):
    report = verify(exported[0], aware_model, images)
    assert len(report.op_times) == sum(report.ops.ops.values())
    assert {"conv0", "conv1", "conv2", "logits"} <= set(report.sqnr_db)
    assert min(report.sqnr_db.values()) > 10
    written = json.loads(report.to_json())
    assert written["ops"]["delegate_partitions"] == 1 and written["sqnr_db"] == report.sqnr_db
    text = str(report)
    assert ", 0 of them float, " in text and f"{report.sqnr_db['logits']:6.1f} dB  logits" in text
    assert sum(line.strip().endswith(" ms in total") for line in text.splitlines()) == 1


def test_float_output_has_no_steps(exported_float_io, aware_model, images):
    report = verify(exported_float_io[0], aware_model, images, layers=False)
    assert report.max_difference_steps is None
    assert report.int8_agreement >= 0.98


def test_inverted_images_are_noticed(exported, aware_model, images):
    class Inverted:
        name, output_shape = "inverted", aware_model.output_shape

        def __call__(self, batch, training):
            return aware_model(255 - batch, training=training)

    assert verify(exported[0], Inverted(), images, layers=False).int8_agreement < 0.9


def test_another_data_set_is_refused(exported, float_model, images, info):
    other = Toy(info, images, float_model)
    other.info = dataclasses.replace(info, class_names=("sky", "road"))
    with pytest.raises(ValueError, match="5 classes and data set 'toy' has 2"):
        verify(exported[0], float_model, other)


@pytest.mark.parametrize("nothing", [[], np.zeros((0, 64, 96, 3), np.uint8)])
def test_no_images_are_refused(exported, aware_model, nothing):
    with pytest.raises(ValueError, match="at least one image"):
        verify(exported[0], aware_model, nothing)


def test_another_network_is_refused(exported, images):
    class Other:
        name, output_shape = "other", (None, 64, 96, 7)

    with pytest.raises(ValueError, match=r"same shape.*\(64, 96, 5\) and \(64, 96, 7\)"):
        verify(exported[0], Other(), images)


def one_channel(seed, activation=None):
    """A network of one logit, or of its probability, that changes its sign among the images."""
    image = keras.Input((64, 96, 3), name="image")
    logit = keras.layers.Conv2D(1, 1, activation=activation, name="logit")(image)
    model = keras.Model(image, logit, name="binary")
    kernel = np.random.default_rng(seed).normal(size=3) / 32
    model.get_layer("logit").set_weights([kernel.reshape(1, 1, 3, 1), -127.5 * kernel.sum(keepdims=True)])
    return model


@pytest.mark.parametrize(("activation", "threshold"), [(None, 0), ("sigmoid", 0.5)])
def test_one_channel_is_two_classes(images, tmp_path, activation, threshold):
    other, network = one_channel(1, activation), one_channel(2, activation)
    export_tflite(other, tmp_path / "other.tflite", "float32", "float32")
    report = verify(tmp_path / "other.tflite", network, images, layers=False)
    ours, theirs = (
        model(images.astype(np.float32)).numpy()[..., 0] > threshold for model in (other, network)
    )
    assert 0.1 < (ours == theirs).mean() < 0.9
    assert report.int8_agreement == pytest.approx((ours == theirs).mean(), abs=1e-3)
    for name, label in (("0", False), ("1", True)):
        share = (ours[theirs == label] == label).mean()
        assert report.class_agreement[name] == pytest.approx(share, abs=1e-3)
    assert report.border_agreement is not None


def test_one_channel_and_a_data_set_of_two_classes(images, tmp_path):
    info = DatasetInfo("yard", ("ground", "sky"), ((0, 0, 0), (1, 1, 1)))
    other, network = one_channel(1), one_channel(2)
    export_tflite(other, tmp_path / "other.tflite", "float32", "float32")
    source = Toy(info, images, network)
    source._masks = (network(images.astype(np.float32)).numpy()[..., 0] > 0).astype(np.uint8)
    report = verify(tmp_path / "other.tflite", network, source, layers=False)
    assert set(report.class_agreement) == {"ground", "sky"} and None not in report.class_agreement.values()
    assert report.mean_iou.keras == evaluate(network, source).mean_iou == 1
    assert report.mean_iou.file == pytest.approx(evaluate(tmp_path / "other.tflite", source).mean_iou)
    assert report.mean_iou.file < 0.9
