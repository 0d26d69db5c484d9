"""Scores against scikit-learn's, from logits that are computed and enlarged by hand."""

import json

import numpy as np
import pytest
from fake_source import INFO, NAMES, SIZE, FakeSource, network
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score

from tfsegkd import runtime
from tfsegkd.data import DatasetInfo, WithoutLabels
from tfsegkd.distillation import load_teacher
from tfsegkd.evaluation import Predictor, evaluate, evaluate_members
from tfsegkd.metrics import labels_at

SIZES = [SIZE, (16, 24), (11, 17), SIZE, (5, 30)]


@pytest.fixture(scope="module")
def source():
    return FakeSource(SIZES)


@pytest.fixture(scope="module")
def model():
    return network()


def prediction(model, image, size):
    """What `model` says of an image, step by step in float64."""
    kernel, bias = model.get_layer("logits").get_weights()
    small = np.asarray(Image.fromarray(image).resize(SIZE[::-1], Image.Resampling.BILINEAR), "float64")
    pooled = small.reshape(SIZE[0] // 2, 2, SIZE[1] // 2, 2, 3).mean((1, 3))
    logits = pooled @ kernel[0, 0] + bias
    rows, columns = (
        interpolation(length, target) for length, target in zip(logits.shape[:2], size, strict=True)
    )
    return np.einsum("yh,hwc,xw->yxc", rows, logits, columns).argmax(-1)


def interpolation(length, target):
    """The matrix of linear interpolation with half-pixel centres."""
    matrix = np.zeros((target, length))
    for index in range(target):
        place = np.clip((index + 0.5) * length / target - 0.5, 0, length - 1)
        before = min(int(place), length - 2)
        matrix[index, before : before + 2] = before + 1 - place, place - before
    return matrix


def pixels(model, source):
    """The labels and predictions of all valid pixels."""
    pairs = [(mask.ravel(), prediction(model, image, mask.shape).ravel()) for image, mask in source]
    labels, found = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    valid = labels != source.info.ignore_label
    return labels[valid], found[valid]


def test_scores_are_scikit_learn_s(model, source):
    labels, found = pixels(model, source)
    present = sorted({*labels, *found})
    assert present == [0, 1, 2, 4], "class 3 must be absent from this case"
    result = evaluate(model, source)
    np.testing.assert_array_equal(result.confusion, confusion_matrix(labels, found, labels=range(5)))
    ious = jaccard_score(labels, found, labels=present, average=None)
    assert list(result.iou) == list(NAMES) and result.iou["boat"] is None
    np.testing.assert_allclose([result.iou[NAMES[number]] for number in present], ious)
    assert result.mean_iou == pytest.approx(ious.mean())
    assert result.pixel_accuracy == pytest.approx(accuracy_score(labels, found))
    assert 0 < result.mean_iou < 1 and result.num_images == len(SIZES)


def test_a_class_that_is_only_predicted_counts_as_zero(source):
    loud = network(hidden=())
    labels, found = pixels(loud, source)
    assert 3 not in labels and 3 in found
    result = evaluate(loud, source)
    assert result.iou["boat"] == 0
    want = jaccard_score(labels, found, labels=range(5), average="macro")
    assert result.mean_iou == pytest.approx(want)


def test_the_batch_size_changes_nothing(model, source):
    results = [evaluate(model, source, batch_size=size) for size in (1, 2, 5, 99)]
    assert all(result == results[0] for result in results)


def test_void_is_left_out(model, source):
    blind = FakeSource(SIZES)
    # Whatever the network says where the mask is void, as in all of these images, does not count.
    for number, (image, mask) in enumerate(list(blind.examples)):
        noise = np.random.default_rng(number).integers(0, 256, image.shape, dtype=np.uint8)
        blind.examples.append((noise, np.full_like(mask, INFO.ignore_label)))
        blind.names.append(f"void_{number}")
    result = evaluate(model, blind)
    assert result.confusion == evaluate(model, source).confusion
    assert result.num_images == 2 * len(SIZES)


def test_another_void_label():
    info = DatasetInfo("fake", NAMES, INFO.palette, ignore_label=77)
    one, other = evaluate(network(), FakeSource(SIZES, info)), evaluate(network(), FakeSource(SIZES))
    assert one == other


def test_other_classes_are_refused(source):
    with pytest.raises(ValueError, match=r"predicts 3 classes and data set 'fake' has 5.*'boat'"):
        evaluate(network(classes=3), source)


def test_images_without_labels_are_refused(model, source):
    bare = WithoutLabels(source)
    with pytest.raises(ValueError, match=r"with labels\. Received: 5 images of data set 'fake'"):
        evaluate(model, bare)
    with pytest.raises(ValueError, match=r"Received: 5 images of data set 'fake', which has none"):
        evaluate_members(load_teacher([model, model]), ["linear", "linear_2"], bare, SIZE)


def test_the_result_is_plain_json(model, source):
    content = json.loads(json.dumps(evaluate(model, source).to_json()))
    assert set(content) == {"mean_iou", "pixel_accuracy", "iou", "num_images", "confusion", "blocks"}
    assert content["iou"]["boat"] is None


def test_a_file_is_measured_by_the_same_code(model, source, tmp_path):
    want = evaluate(model, source)
    model.save(tmp_path / "model.keras")
    assert evaluate(tmp_path / "model.keras", source) == want
    path = tmp_path / "model.tflite"
    path.write_bytes(runtime.convert(model, "float32", "float32"))
    predictor = Predictor(str(path))
    assert (predictor.size, predictor.num_classes) == (SIZE, 5)
    images = np.stack([image for image, _ in (source[0], source[3])])
    np.testing.assert_allclose(
        predictor.logits(images), Predictor(model).logits(images), rtol=1e-4, atol=1e-4
    )
    result = evaluate(path, source)
    # A pixel whose two best logits tie to the last digit may fall either way.
    assert np.abs(np.subtract(result.confusion, want.confusion)).sum() <= 4
    assert result.mean_iou == pytest.approx(want.mean_iou, abs=0.01)


@pytest.mark.parametrize("name", ["missing.keras", "missing.tflite"])
def test_a_missing_file_is_named(name, source, tmp_path):
    with pytest.raises((FileNotFoundError, ValueError), match=name):
        evaluate(tmp_path / name, source)


def test_labels_are_those_of_the_enlarged_logits():
    logits = np.zeros((1, 2, 3), "float32")
    logits[0, 0, 1], logits[0, 1, 2] = 1.0, 0.5
    # At half-pixel centres the two classes meet two thirds of the way.
    assert labels_at(logits, (1, 12)).tolist() == [[1] * 7 + [2] * 5]
    assert labels_at(logits, (3, 2)).dtype == np.uint8


def test_blocks_count_neighbouring_frames(model, source):
    result = evaluate(model, source, batch_size=2, frames_per_block=3)
    alone = [evaluate(model, FakeSource([size])) for size in SIZES]
    assert len(result.blocks) == 2 and np.sum(result.blocks, axis=0).tolist() == [
        np.sum(result.confusion, axis=1).tolist(),
        np.sum(result.confusion, axis=0).tolist(),
        np.diagonal(result.confusion).tolist(),
    ]
    # The first block holds the first three frames and no other.
    pixels_of = [np.sum(one.confusion) for one in alone]
    first = np.sum(evaluate(model, FakeSource(SIZES[:3])).confusion)
    assert np.sum(result.blocks[0][0]) == first < sum(pixels_of)
    assert evaluate(model, source).blocks == []
