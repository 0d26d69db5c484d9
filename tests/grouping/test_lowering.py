"""Grouped convolutions in a .tflite: the same numbers in every form, and the fastest form when measured."""

import numpy as np
import pytest
from grouping_oracle import check_close, grouped_convolution, images, small

from tfsegkd import _keras, quantization
from tfsegkd._keras import keras
from tfsegkd.graph import cost
from tfsegkd.grouping import FORMS, as_dense, lower, lowering, make_gradual, regroup, set_alpha
from tfsegkd.runtime import LatencyReport, Network, convert, profile
from tfsegkd.runtime.model_file import pack, unpack

schema = _keras.tflite_schema
CHANNELS, SIZE = (8, 16), (5, 6)  # channels in and out


def tensor(model, shape, kind, values=None, scale=None):
    """Adds a tensor to a file."""
    made = schema.TensorT()
    made.shape, made.type, made.buffer = list(shape), kind, 0
    made.name = f"tensor{len(model.subgraphs[0].tensors)}".encode()
    if values is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        model.buffers.append(buffer)
        made.buffer = len(model.buffers) - 1
    if scale is not None:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale = np.atleast_1d(np.float32(scale))
        made.quantization.zeroPoint = np.zeros(made.quantization.scale.shape, np.int64)
    model.subgraphs[0].tensors.append(made)
    return len(model.subgraphs[0].tensors) - 1


def file(kernel, bias, int8=False, stride=1, inputs=CHANNELS[0]):
    """A .tflite of one convolution; `kernel` is (Cout, height, width, Cin or Cin / groups)."""
    model = schema.ModelT()
    model.version, model.buffers = 3, [schema.BufferT()]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 3
    model.operatorCodes, model.subgraphs = [code], [schema.SubGraphT()]
    graph, operator = model.subgraphs[0], schema.OperatorT()
    graph.tensors, graph.operators = [], [operator]
    kind = schema.TensorType.INT8 if int8 else schema.TensorType.FLOAT32
    scales = np.linspace(0.01, 0.02, len(kernel)) if int8 else None
    grid = [-(-side // stride) for side in SIZE]
    operator.inputs = [
        tensor(model, (1, *SIZE, inputs), kind, scale=0.1 if int8 else None),
        tensor(model, kernel.shape, kind, kernel, scales),
        tensor(
            model,
            bias.shape,
            schema.TensorType.INT32 if int8 else kind,
            bias,
            None if scales is None else 0.1 * scales,
        ),
    ]
    operator.outputs = [tensor(model, (1, *grid, len(kernel)), kind, scale=0.5 if int8 else None)]
    operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    operator.builtinOptions = schema.Conv2DOptionsT()
    operator.builtinOptions.strideH = operator.builtinOptions.strideW = stride
    operator.builtinOptions.padding = schema.Padding.SAME
    operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU
    graph.inputs, graph.outputs = operator.inputs[:1], operator.outputs
    return pack(model)


def run(content, x):
    interpreter = _keras.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def dense(kernel, groups):
    """(Cout, height, width, Cin / groups) with zeros between groups."""
    outputs, height, width, inputs = kernel.shape
    spread = np.zeros((outputs, height, width, groups * inputs), kernel.dtype)
    for o in range(outputs):
        first = o * groups // outputs * inputs
        spread[o, :, :, first : first + inputs] = kernel[o]
    return spread


def random_layer(groups, int8=False, seed=0):
    random = np.random.default_rng(seed)
    shape = (CHANNELS[1], 3, 3, CHANNELS[0] // groups)
    if int8:
        kernel = random.integers(-127, 128, shape).astype(np.int8)
        return kernel, random.integers(-900, 900, CHANNELS[1]).astype(np.int32)
    return random.normal(size=shape).astype(np.float32), random.normal(size=CHANNELS[1]).astype(np.float32)


@pytest.mark.parametrize("written", ["grouped", "dense"])
@pytest.mark.parametrize(("groups", "stride"), [(2, 1), (4, 2), (8, 1)])
def test_float_forms_are_the_grouped_convolution(groups, stride, written):
    kernel, bias = random_layer(groups)
    content = file(kernel if written == "grouped" else dense(kernel, groups), bias, stride=stride)
    x = np.random.default_rng(1).normal(size=(1, *SIZE, CHANNELS[0])).astype(np.float32)
    expected = grouped_convolution(x, kernel.transpose(1, 2, 3, 0), bias, groups, (stride, stride))
    for form in FORMS:
        lowered, report = lower(content, form)
        check_close(run(lowered, x), np.maximum(expected, 0))
        ((layer,),) = (report.layers,)
        assert (layer.groups, layer.form, layer.milliseconds) == (groups, form, {})
        ops = profile(lowered).ops
        assert ops["CONV_2D"] == (groups if form == "split" else 1)
        assert ("SPLIT" in ops) == ("CONCATENATION" in ops) == (form == "split")


@pytest.mark.parametrize("groups", [2, 8])
def test_int8_forms_agree_to_the_bit(groups):
    kernel, bias = random_layer(groups, int8=True)
    contents = [file(k, bias, int8=True) for k in (kernel, dense(kernel, groups))]
    x = np.random.default_rng(1).integers(-128, 128, (1, *SIZE, CHANNELS[0])).astype(np.int8)
    scales = np.linspace(0.01, 0.02, CHANNELS[1]) * 0.1
    real = grouped_convolution(x, kernel.transpose(1, 2, 3, 0), bias, groups) * scales
    expected = np.clip(np.rint(np.maximum(real, 0) / 0.5), -128, 127)
    results = [run(lower(content, form)[0], x) for content in contents for form in FORMS]
    assert np.abs(results[0] - expected).max() <= 1  # a tie may be rounded either way
    assert all(np.array_equal(results[0], other) for other in results[1:])
    for form in FORMS:
        found = profile(lower(contents[0], form)[0])
        assert (found.delegate_partitions, found.outside_delegate, found.float_ops) == (1, [], [])


def test_a_network_without_groups_stays_as_it_is():
    random = np.random.default_rng(0)
    content = file(*random_layer(1))
    lowered, report = lower(content)
    assert lowered == content and report.layers == ()
    # A kernel of zeros alone says nothing about groups.
    content = file(np.zeros((16, 3, 3, 8), np.float32), random.normal(size=16).astype(np.float32))
    assert lower(content)[0] == content


def test_the_file_holds_no_weights_twice():
    kernel, bias = random_layer(8)
    sizes = {}
    for form in ("grouped", "dense"):
        model = unpack(lower(file(dense(kernel, 8), bias), form)[0])
        sizes[form] = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    assert sizes == {"grouped": 4 * (kernel.size + 16), "dense": 4 * (8 * kernel.size + 16)}


@pytest.mark.parametrize("fastest", FORMS)
def test_the_fastest_form_is_taken(monkeypatch, fastest):
    timed = {}

    def latency(paths, runs, num_threads):
        timed.update({name: path.read_bytes() for name, path in paths.items()})
        return {
            name: LatencyReport(1.0 if name.endswith(fastest) else 2.0, 0.0, 9.0, runs, num_threads)
            for name in paths
        }

    monkeypatch.setattr(lowering, "latency", latency)
    kernel, bias = random_layer(4)
    x = np.random.default_rng(1).normal(size=(1, *SIZE, CHANNELS[0])).astype(np.float32)
    lowered, report = lower(file(kernel, bias), num_threads=2)
    (layer,) = report.layers
    assert layer.form == fastest and set(layer.milliseconds) == set(FORMS)
    assert layer.milliseconds[fastest] == 1.0 and report.num_threads == 2
    # What is timed is the layer itself.
    assert len(timed) == 3
    for content in timed.values():
        np.testing.assert_allclose(run(content, x), run(lowered, x), rtol=1e-5, atol=1e-5)
    assert "| 1.000 |" in str(report) and f"| {fastest} |" in str(report)


def test_groups_that_cannot_be_split_keep_the_other_forms():
    random = np.random.default_rng(0)
    kernel = random.normal(size=(15, 1, 1, 1)).astype(np.float32)
    content = file(kernel, np.zeros(15, np.float32), inputs=5)
    with pytest.raises(ValueError, match=r"cannot take the form 'split': 5 is not a product of 2, 3 and 4"):
        lower(content, "split")
    assert lower(content, "dense")[1].layers[0].groups == 5
    with pytest.raises(ValueError, match="form must be one of"):
        lower(content, "fast")


@pytest.mark.slow
def test_a_grouped_network_is_quantized_trained_and_exported():
    gradual = make_gradual(small(), 4)
    set_alpha(gradual, 0.0)
    grouped, x = regroup(gradual), images(gradual, 4)
    network = quantization.quantize(as_dense(grouped), calibration=[x])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.AdamW(1e-3), loss)
    network.fit(x, np.random.default_rng(0).integers(0, 3, (4, 8, 12)), epochs=2, verbose=0)
    deployed = regroup(network)
    check_close(deployed(x), network(x))
    assert cost(deployed).macs == cost(grouped).macs < cost(network).macs
    content = convert(deployed)
    before = Network(content).predict(x)
    for form in FORMS:
        lowered, report = lower(content, form)
        assert [layer.groups for layer in report.layers] == [4, 4, 4]
        np.testing.assert_array_equal(Network(lowered).predict(x), before)
        found = profile(lowered)
        assert (found.delegate_partitions, found.float_ops) == (1, [])
    _, report = lower(content, runs=3)
    for layer in report.layers:
        assert layer.form == min(layer.milliseconds, key=layer.milliseconds.get)
        assert set(layer.milliseconds) == set(FORMS)
    floats = convert(grouped, "float32", "float32")
    check_close(Network(lower(floats, "split")[0]).predict(x), grouped(x))
