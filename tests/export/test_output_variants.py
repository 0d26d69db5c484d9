"""Labels, or smaller logits, in place of logits: beside what the whole file says."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tfsegkd.export.output_variants import with_labels, without_last_resize
from tfsegkd.runtime import Network, profile


def run(content, image):
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_labels_are_those_of_the_largest_logits(converted, images):
    content = with_labels(converted)
    logits = Network(converted).predict(images)
    for image, expected in zip(images, logits.argmax(-1), strict=True):
        labels = run(content, image)
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels[0], expected)
    assert len(np.unique(logits.argmax(-1))) >= 3  # else a constant would do
    runner = Interpreter(model_content=content).get_signature_runner()
    np.testing.assert_array_equal(next(iter(runner(image=images[:1]).values()))[0], logits[0].argmax(-1))


def test_smaller_logits_are_those_before_the_enlargement(converted, images):
    content, stride = without_last_resize(converted)
    whole, smaller = Network(converted), Network(content)
    assert stride == 2 and smaller.output_shape == (32, 48, 5)
    assert smaller.output_quantization == whole.output_quantization
    enlarged = tf.image.resize(smaller.predict(images), (64, 96)).numpy()
    # The file rounds what it enlarges.
    np.testing.assert_allclose(enlarged, whole.predict(images), atol=1.01 * whole.output_quantization[0])
    assert profile(content).ops["RESIZE_BILINEAR"] == profile(converted).ops["RESIZE_BILINEAR"] - 1
    assert profile(content).delegate_partitions == 1


def test_a_network_that_ends_otherwise_is_left_alone(converted):
    content, _ = without_last_resize(converted)
    assert without_last_resize(content) is None


@pytest.mark.parametrize("ending", [with_labels, lambda content: without_last_resize(content)[0]])
def test_the_metadata_of_the_old_output_is_gone(exported, ending):
    content = exported[0].read_bytes()
    assert b"SEGMENTER_METADATA" in content
    assert b"SEGMENTER_METADATA" not in ending(content) or b"TFLITE_METADATA" not in ending(content)
