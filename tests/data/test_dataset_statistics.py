"""A survey counts every pixel once and finds what cannot be read."""

import math

import numpy as np
import pytest

from tfsegkd.data.source import DatasetInfo, Source, spread
from tfsegkd.data.statistics import DatasetStatistics, dataset_statistics
from tfsegkd.data.unlabelled import WithoutLabels

INFO = DatasetInfo("dots", ("a", "b", "c"), ((0, 0, 0),) * 3)


class Masks(Source):
    """Examples whose masks are given; None cannot be read."""

    def __init__(self, masks):
        super().__init__(INFO, [f"frame {n}" for n in range(len(masks))])
        self.masks = masks

    def read(self, index):
        if self.masks[index] is None:
            raise ValueError(f"frame {index} is broken.")
        mask = np.array(self.masks[index], np.uint8)
        return np.full((*mask.shape, 3), index, np.uint8), mask


def test_every_pixel_is_counted_once():
    source = Masks([[[0, 0, 1]], [[255, 1], [0, 0]], [[0]]])
    result = dataset_statistics(source)
    assert result.pixels == (5, 2, 0, 1)
    assert result.bad == {}
    assert result.source is source


def test_the_first_unreadable_example_stops_it():
    with pytest.raises(ValueError, match=r"^frame 1 is broken\. \(1 more like it\.\)$"):
        dataset_statistics(Masks([[[0]], None, [[1]], None]))
    with pytest.raises(ValueError, match=r"^frame 0 is broken\.$"):
        dataset_statistics(Masks([None, [[1]]]))


def test_unreadable_examples_are_left_out_and_counted_when_asked():
    result = dataset_statistics(Masks([[[0]], None, [[1, 255]], None, [[2]]]), skip_bad=True)
    assert result.bad == {"frame 1": "frame 1 is broken.", "frame 3": "frame 3 is broken."}
    assert result.pixels == (1, 1, 1, 1)
    assert result.source.names == ["frame 0", "frame 2", "frame 4"]
    assert [image[0, 0, 0] for image, _ in result.source] == [0, 2, 4]
    assert result.source[-1][1].tolist() == [[2]]
    assert result.source.info is INFO


@pytest.mark.parametrize("skip_bad", [True, False])
def test_nothing_readable_is_an_error(skip_bad):
    with pytest.raises(ValueError, match=r"None of the 2 examples of 'dots' can be read|frame 0 is broken"):
        dataset_statistics(Masks([None, None]), skip_bad)


def test_rare_classes_weigh_more_and_void_does_not_count():
    weights = DatasetStatistics(None, (90, 10, 0, 1000), {}).class_weights()
    for weight, share in zip(weights, (0.9, 0.1, 0.0), strict=True):
        assert weight == pytest.approx(1 / math.log(1.02 + share))
    assert DatasetStatistics(None, (0, 0, 5), {}).class_weights() == pytest.approx((1 / math.log(1.02),) * 2)


def test_examples_sizes_and_absent_classes_are_counted():
    result = dataset_statistics(Masks([[[0, 0, 1]], [[255, 1], [0, 0]], [[0, 255, 1]]]))
    assert result.examples == (3, 3, 0, 2)
    assert result.sizes == {(1, 3): 2, (2, 2): 1}
    assert result.absent() == ("c",)
    bare = dataset_statistics(WithoutLabels(Masks([[[0]]])))
    assert bare.absent() == ()


def test_images_read_for_statistics_are_not_decoded_again():
    source = Masks([[[0, 1]], None, [[1, 0]]])
    reads, read = [], source.read
    source.read = lambda index: reads.append(index) or read(index)
    found = dataset_statistics(source, skip_bad=True, size=(2, 4))
    assert sorted(reads) == [0, 1, 2]
    frames = found.source.resized((2, 4))
    for index in range(2):
        image, mask = frames(index)
        assert (image == 2 * index).all() and image.shape == (2, 4, 3)
        assert mask.tolist() == [[index] * 2 + [1 - index] * 2] * 2
    bare = WithoutLabels(found.source).resized([2, 4])(1)
    assert (bare[0] == 2).all() and not bare[1].any()
    assert sorted(reads) == [0, 1, 2]
    # Another size is read anew, and the mask behind WithoutLabels is not the one that is kept.
    assert found.source.resized((1, 2))(1)[1].tolist() == [[1, 0]]
    assert frames(1)[1].any() and len(reads) == 4


@pytest.mark.parametrize(
    ("length", "count", "places"),
    [
        (10, 4, [0, 3, 6, 9]),
        (4, 9, [0, 1, 2, 3]),
        (101, 3, [0, 50, 100]),
        (7, 1, [0]),
        (5, 0, []),
        (0, 3, []),
    ],
)
def test_places_at_equal_distances(length, count, places):
    assert spread(length, count) == places
