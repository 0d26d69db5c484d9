"""The path: each step the weakest link, each point the network that it is said to be."""

import json

import numpy as np
import pytest
from channel_oracle import shake, zeroed
from PIL import Image
from test_prune_channels import batches, network, plain

from tfsegkd._keras import keras
from tfsegkd.graph import ChannelGraph, cost
from tfsegkd.pruning import CostComplexityPath, Point, cost_complexity_path, path_search
from tfsegkd.pruning.ablation import mean_iou_and_error
from tfsegkd.quantization import quantize

layers = keras.layers
OPTIONS = {"round_to": 2, "least": 0.4}


def chain(seed=0):
    """Two layers of three filters and no BatchNorm."""
    inputs = keras.Input((6, 6, 3), name="pixels")
    x = layers.Conv2D(3, 3, padding="same", activation="tanh", name="a")(inputs)
    x = layers.Conv2D(3, 1, activation="tanh", name="b")(x)
    return shake(keras.Model(inputs, layers.Conv2D(3, 1, name="logits")(x)), seed=seed)


def frames(count, seed=1):
    return list(batches(count, shape=(6, 6), seed=seed))


def mean_loss(model, data):
    """The mean over the images of the cross-entropy of their valid pixels, in plain loops."""
    found = []
    for images, masks in data:
        for logits, mask in zip(model(images).numpy().astype(float), masks, strict=True):
            pixels = [
                np.log(np.exp(logits[y, x]).sum()) - logits[y, x, mask[y, x]]
                for y, x in np.argwhere(mask != 255)
            ]
            found.append(np.mean(pixels))
    return np.mean(found)


def left(model, kept):
    return zeroed(model, {"pixels": (0, 1, 2), **kept})


def dimmed(model, kept, layer, channel, factor):
    """What reads a channel sees it multiplied."""
    twin = left(model, kept)
    reader = twin.get_layer({"a": "b", "b": "logits"}[layer])
    kernel, bias = reader.get_weights()
    kernel[:, :, channel] *= factor
    reader.set_weights([kernel, bias])
    return twin


def weakest(model, data, kept, layer, step=1e-3):
    """The channel with the least squared slope of the loss, each image for itself."""
    single = [(images[i : i + 1], masks[i : i + 1]) for images, masks in data for i in range(len(images))]
    scores = {}
    for channel in kept[layer]:
        ends = [dimmed(model, kept, layer, channel, 1 + sign * step) for sign in (1, -1)]
        slopes = [(mean_loss(ends[0], [one]) - mean_loss(ends[1], [one])) / (2 * step) for one in single]
        scores[channel] = np.square(slopes).sum()
    return min(scores, key=scores.get)


def macs(kept):
    a, b = (len(kept[layer]) for layer in "ab")
    return 36 * (9 * 3 * a + a * b + b * 3)


def greedy(model, data):
    """(rise, alpha, cost) of each step, and whether the least rise alone would have led elsewhere."""
    kept, full, alpha, found = {"a": (0, 1, 2), "b": (0, 1, 2)}, macs({"a": "abc", "b": "abc"}), 0.0, []
    cost_decides = False
    while any(len(channels) > 1 for channels in kept.values()):
        links = []
        for layer in (layer for layer in "ab" if len(kept[layer]) > 1):
            gone = weakest(model, data, kept, layer)
            fewer = {**kept, layer: tuple(channel for channel in kept[layer] if channel != gone)}
            rise = mean_loss(left(model, fewer), data) - mean_loss(left(model, kept), data)
            links.append((rise * full / (macs(kept) - macs(fewer)), rise, fewer))
        best, lowest = (min(links, key=lambda link: link[place]) for place in (0, 1))
        cost_decides |= best is not lowest
        link, rise, kept = best
        alpha = max(alpha, link)
        found.append((rise, alpha, macs(kept) / full))
    return found, cost_decides


def test_each_step_removes_the_weakest_link():
    model, data = chain(), frames(1)
    expected, cost_decides = greedy(model, data)
    assert cost_decides and len(expected) == 4 and len({alpha for _, alpha, _ in expected}) > 1
    path = cost_complexity_path(model, data, held_out=frames(2, 5), round_to=1, step=0, least=0)
    found, share = [], 1.0
    for removal in path.removals:
        share -= removal.saving
        found.append((removal.rise, removal.alpha, share))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_steps_of_no_greater_alpha_join_the_point_before():
    path = cost_complexity_path(network(width=8), list(batches(3)), **OPTIONS)
    alphas = [0.0, *(removal.alpha for removal in path.removals)]
    assert alphas == sorted(alphas)
    last = len(alphas) - 1
    ends = [n for n, alpha in enumerate(alphas) if n in (0, last) or alphas[n + 1] > alpha]
    assert 1 < len(ends) <= last, "some join"
    assert [point.removals for point in path.points] == ends
    assert [point.alpha for point in path.points] == [alphas[end] for end in ends]
    costs = [point.cost for point in path.points]
    assert costs[0] == 1 and costs[-1] <= 0.4 and costs == sorted(costs, reverse=True)
    everything = [unit for removal in path.removals for unit in removal.units]
    assert len(everything) == len(set(everything)), "what is gone stays gone"


def plain_mean_iou(model, data):
    hits, unions = np.zeros(3), np.zeros(3)
    for images, masks in data:
        guess = model(images).numpy().argmax(-1)[masks != 255]
        labels = masks[masks != 255]
        for label in range(3):
            hits[label] += np.sum((guess == label) & (labels == label))
            unions[label] += np.sum((guess == label) | (labels == label))
    return np.mean(hits[unions > 0] / unions[unions > 0])


def test_a_point_is_the_network_that_it_is_said_to_be():
    """With BatchNorm's statistics measured anew, though it was compared as a network with gates."""
    model, data, held_out = network(width=8), list(batches(2)), list(batches(3, seed=8))
    path = cost_complexity_path(model, data, "params", "taylor", held_out=held_out, **OPTIONS)
    for index in (0, len(path.points) // 2, len(path.points) - 1):
        point, pruned = path.points[index], path.model(index)
        assert (point.macs, point.parameters) == (cost(pruned).macs, cost(pruned).parameters)
        assert point.cost == pytest.approx(cost(pruned).parameters / cost(model).parameters)
        assert point.mean_iou == pytest.approx(plain_mean_iou(pruned, held_out), abs=0.02)
        assert point.loss == pytest.approx(mean_loss(pruned, data), rel=1e-3)
        if index:
            assert all(layer.filters % 2 == 0 for layer in pruned.layers[1:-1] if hasattr(layer, "filters"))
    np.testing.assert_array_equal(path.model(0).get_weights()[0], model.get_weights()[0])
    pruned, report = path.prune("params:0.6")
    assert report.after == cost(pruned) and 0.45 < report.after.parameters / report.before.parameters <= 0.6
    assert report.recalibrated == 4 and report.importance == "cost_complexity (taylor)"
    assert len(report.kept["fine_conv"]) == pruned.get_layer("fine_conv").filters
    assert path.prune("macs:1.0")[1].changed is False


def made(*scores, error=0.02):
    points = [
        Point(index, 0.1 * index, index, 1 - 0.2 * index, 10, 10, 1.0, score, error)
        for index, score in enumerate(scores)
    ]
    return CostComplexityPath(None, None, {"cost": "macs"}, [], points, [])


def test_the_choice_is_the_cheapest_within_one_standard_error():
    assert made(0.60, 0.61, 0.595, 0.58).choose() == 2
    assert made(0.60, 0.50, 0.59, 0.40).choose() == 2, "worse ones between do not end the search"
    assert made(0.60, 0.50).choose() == 0
    assert made(0.60, 0.599, 0.598, error=0.0).choose() == 0


def test_the_standard_error_is_that_of_drawing_batches():
    same, other = np.diag([30, 10]), np.array([[20, 10], [5, 5]])
    assert mean_iou_and_error([same, same, same], seed=0) == (1.0, 0.0)
    score, error = mean_iou_and_error([same, other], seed=0)
    draws = [np.mean([50 / 65, 15 / 30]), 1.0, np.mean([20 / 35, 5 / 20])]
    assert score == pytest.approx(draws[0])
    assert error == pytest.approx(np.std([draws[0], draws[0], *draws[1:]]), rel=0.15)


@pytest.mark.slow
def test_the_search_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    model, data = network(width=8), list(batches(3))
    whole = cost_complexity_path(model, data, **OPTIONS)

    def search(least=OPTIONS["least"]):
        return cost_complexity_path(model, data, round_to=2, least=least, directory=tmp_path)

    save = path_search.PathSearch._save

    def killed(self):
        save(self)
        if len(self.removals) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(path_search.PathSearch, "_save", killed)
    with pytest.raises(KeyboardInterrupt):
        search()
    monkeypatch.undo()
    assert len(json.loads((tmp_path / "path.json").read_text())["removals"]) == 2
    resumed = search()
    assert [r.units for r in resumed.removals] == [r.units for r in whole.removals]
    np.testing.assert_allclose([p.loss for p in resumed.points], [p.loss for p in whole.points], rtol=1e-4)
    monkeypatch.setattr(path_search, "Ablation", None)  # nothing is measured again
    assert search().points == resumed.points
    monkeypatch.undo()
    longer = search(least=0.3)
    assert longer.removals[: len(resumed.removals)] == resumed.removals
    assert longer.points[-1].cost <= 0.3 and longer.points[-1].index == len(longer.points) - 1
    with pytest.raises(ValueError, match="holds a path with another round_to"):
        cost_complexity_path(model, data, round_to=4, least=0.5, directory=tmp_path)
    with pytest.raises(ValueError, match="another data"):
        cost_complexity_path(model, list(batches(3, seed=3)), round_to=2, directory=tmp_path)
    (tmp_path / "path.json").write_text("[]")
    with pytest.raises(ValueError, match=r"damaged.*Delete it"):
        search()


def test_the_path_is_drawn_and_tabled(tmp_path):
    path = made(0.60, 0.61, 0.595, 0.58)
    path.plot(tmp_path / "path.png")
    with Image.open(tmp_path / "path.png") as picture:
        assert picture.format == "PNG" and picture.size[0] > 500
        assert len(picture.convert("RGB").getcolors(10**6)) > 20, "something is drawn"
    head, _, *rows = path.table().splitlines()
    assert "MACs left" in head and len(rows) == 4
    assert rows[2].startswith("| **2** |") and "| 59.50 |" in rows[2] and "| 60.0% |" in rows[2]


def refuse(message, model=None, data=None, **options):
    data = list(batches(3)) if data is None else data
    with pytest.raises(ValueError, match=message):
        cost_complexity_path(model or network(width=8), data, **{**OPTIONS, **options})


def test_what_no_path_leads_through_is_refused():
    refuse("cost must be one of", cost="flops")
    refuse("change must be one of", change="hope")
    refuse("round_to must be a whole number", round_to=0)
    refuse("latency_table", cost="latency")
    refuse("Prune the float network first", model=quantize(plain()))
    refuse("Received: images alone", data=[images for images, _ in batches(3)])
    refuse("one class only", data=[(images, np.zeros_like(masks)) for images, masks in batches(3)])
    refuse("two held out.*Received: 0 and 2", data=list(batches(2)))
    refuse("two held out.*Received: 3 and 1", held_out=list(batches(1)))
    inputs = keras.Input((8, 8, 3), name="pixels")
    stiff = keras.Model(inputs, layers.Conv2D(3, 1, name="logits")(inputs), name="stiff")
    refuse("no channel that could be removed.*'logits' is an output", model=stiff)


def test_targets_off_the_path_are_refused():
    model = network(width=8)
    path = cost_complexity_path(model, list(batches(3)), change="l1", **OPTIONS)
    with pytest.raises(ValueError, match=r"out of reach.*are left"):
        path.prune("macs:0.01")
    with pytest.raises(ValueError, match=r"Point 99 is not on the path\. Expected 0…"):
        path.model(99)
    assert len(ChannelGraph(path.model(len(path.points) - 1)).prunable) > 0
