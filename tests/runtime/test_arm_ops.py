"""Ops that are counted once for their kind, in strips, and added up."""

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.runtime import arm, arm_ops, arm_sysroot, convert
from tfsegkd.runtime.model_file import Editor
from tfsegkd.runtime.op_times import ops_alone


@functools.cache
def network(seed=0, strides=1, height=40):
    """Each kind of op that can be cut into strips, some of them twice."""
    layers = keras.layers
    keras.utils.set_random_seed(seed)
    image = keras.Input((height, 48, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)
    x = layers.Conv2D(4, 3, padding="same", dilation_rate=2)(x)
    x = layers.Conv2D(4, 3, padding="same", dilation_rate=2)(x)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.Conv2D(4, 3, strides=2, padding="valid")(layers.ZeroPadding2D(1)(x))
    x = layers.Conv2DTranspose(4, 2, strides=2)(x)
    x = layers.Conv2D(5, 1, strides=strides)(x)
    return convert(
        keras.Model(image, layers.UpSampling2D(2, interpolation="bilinear")(x)), "float32", "float32"
    )


def instructions(content):
    """A core of our own: 70 for the call, and for each row of the output by what the op is."""
    editor = Editor(content)
    (operator,) = editor.operators
    output = editor.shape(int(operator.outputs[0]))
    inputs = [editor.shape(int(number)) for number in operator.inputs if number >= 0]
    per_row = 13 * sum(map(len, inputs)) + 7 * int(np.prod(output[2:]))
    return 70 + output[1] * per_row if len(output) == 4 else 70


@pytest.fixture
def core(monkeypatch, tmp_path):
    """Counts of that core; how many rows the output of each op had that it was asked for."""
    asked = []

    def counts(contents, core):
        asked.extend(Editor(one).shape(Editor(one).outputs[0])[1] for one in contents)
        for one in contents:
            tf.lite.Interpreter(model_content=one).allocate_tensors()  # a strip is a network that runs
        return [(instructions(one), None) for one in contents]

    monkeypatch.setenv("TFSEGKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(arm, "_counts", counts)
    monkeypatch.setattr(arm_ops, "_LARGE", 1)
    return asked


def written(tmp_path, *contents):
    paths = [tmp_path / f"{number}.tflite" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def test_strips_and_repetitions_add_up_to_the_whole(core, tmp_path):
    content = network()
    (found,) = arm.estimate(written(tmp_path, content))
    names, alone = zip(*ops_alone(content), strict=True)
    assert [one.op for one in found.ops] == list(names)
    assert [one.instructions for one in found.ops] == [instructions(one) for one in alone]
    assert found.summed and found.instructions == sum(map(instructions, alone))
    # No large op in full, and the second of two equal ones not at all.
    kinds = [name.split()[0] for name in names]
    assert kinds.count("CONV_2D") == 5 and kinds.count("TRANSPOSE_CONV") == 1
    whole = [kind for kind in kinds if kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")]
    strips = 2 * (4 + 1 + 1 + 1)
    assert len(core) == strips + len(whole) - 1 and sum(rows < 20 for rows in core) >= strips


def test_what_was_counted_is_kept(core, tmp_path):
    first, again, other = written(tmp_path, network(), network(seed=1), network(strides=2))
    (before,) = arm.estimate([first])
    number = len(core)
    (after,) = arm.estimate([again])
    # Other weights take the same.
    assert after.instructions == before.instructions and len(core) == number
    arm.estimate([other])
    # A convolution of another stride, and the enlargement of a smaller image.
    assert number < len(core) <= number + 4
    (table,) = (arm_sysroot.cache_directory() / "tables").glob("ops-cortex-a76-*.json")
    assert set(json.loads(table.read_text()).values()) >= {one.instructions for one in before.ops}


def test_an_op_that_does_not_run_alone_is_named(core, tmp_path, monkeypatch):
    monkeypatch.setattr(arm, "_counts", lambda contents, core: [(None, "no kernel") for _ in contents])
    with pytest.raises(ValueError, match=r"conv2d.*cortex-a76.*no kernel"):
        arm.estimate(written(tmp_path, network()))
    with pytest.raises(ValueError, match=r"core.*pentium"):
        arm.estimate(written(tmp_path, network()), core="pentium")


@pytest.mark.arm
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-aarch64"), reason="needs qemu-user")
def test_a_real_core_takes_what_its_ops_take(tmp_path, monkeypatch, files):
    monkeypatch.setattr(arm_ops, "_LARGE", 2**18)
    paths = [*written(tmp_path, network(height=160)), Path(files["int8"])]
    for summed, whole in zip(arm.estimate(paths), arm.count_together(paths), strict=True):
        alone = sum(one.instructions for one in whole.ops)
        assert summed.instructions == pytest.approx(alone, rel=0.01)
