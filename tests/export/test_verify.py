"""Agreement of file and network, checked with plain loops."""

import numpy as np
import pytest

from tfsegkd.export import verify
from tfsegkd.runtime import Network


def test_int8_file_agrees_with_its_network(exported, aware_model, images):
    report = verify(exported[0], aware_model, images)
    assert report.int8_agreement >= 0.98
    assert report.max_difference_steps <= 4
    assert report.num_images == len(images)


def test_figures_are_those_of_a_plain_loop(exported, float_model, images):
    # The float network differs from the int8 file enough for the figures to be of interest.
    report = verify(exported[0], float_model, [images[:3], images[3:]])
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


def test_float_output_has_no_steps(exported_float_io, aware_model, images):
    report = verify(exported_float_io[0], aware_model, images)
    assert report.max_difference_steps is None
    assert report.int8_agreement >= 0.98


def test_inverted_images_are_noticed(exported, aware_model, images):
    class Inverted:
        name, output_shape = "inverted", aware_model.output_shape

        def __call__(self, batch, training):
            return aware_model(255 - batch, training=training)

    assert verify(exported[0], Inverted(), images).int8_agreement < 0.9


@pytest.mark.parametrize("nothing", [[], np.zeros((0, 64, 96, 3), np.uint8)])
def test_no_images_are_refused(exported, aware_model, nothing):
    with pytest.raises(ValueError, match="at least one image"):
        verify(exported[0], aware_model, nothing)


def test_another_network_is_refused(exported, images):
    class Other:
        name, output_shape = "other", (None, 64, 96, 7)

    with pytest.raises(ValueError, match=r"one shape.*\(64, 96, 5\) and \(64, 96, 7\)"):
        verify(exported[0], Other(), images)
