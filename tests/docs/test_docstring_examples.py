"""Every Example in a docstring of a public name runs, and gives what its comments say."""

import ast
import doctest
import importlib
import inspect
import re
import shutil
import textwrap
from pathlib import Path

import numpy as np
import prepared
import pytest
import tensorflow as tf
import torch_pickles
from PIL import Image

import tfsegkd
from tfsegkd import data, export, losses, models, quantization, runtime
from tfsegkd._keras import keras

ROOT = Path(__file__).parents[2]

PACKAGES = (
    "data",
    "models",
    "losses",
    "metrics",
    "layers",
    "graph",
    "runtime",
    "distillation",
    "pruning",
    "grouping",
    "quantization",
    "export",
    "evaluation",
    "reporting",
    "recipe",
)


def public():
    """Every public function and class with a docstring of its own, by the name that users write."""
    for package in PACKAGES:
        module = importlib.import_module(f"tfsegkd.{package}")
        for name in module.__all__:
            item = getattr(module, name)
            if inspect.isclass(item) or inspect.isfunction(item):
                yield f"{package}.{name}", item


PUBLIC = dict(public())


def example(item) -> str | None:
    """The code of the section Example of a docstring."""
    text = inspect.cleandoc(item.__doc__ or "")
    found = re.search(r"^Example:\n((?:(?:    .*)?\n)*(?:    .*)?)", text, re.MULTILINE)
    return textwrap.dedent(found[1]).strip("\n") + "\n" if found else None


def told(line: str):
    """The value that the comment at the end of a line tells, in a list; an empty one if it tells none."""
    *_, comment = line.rpartition("  # ")
    try:
        return [ast.literal_eval(comment)] if "  # " in line else []
    except (ValueError, SyntaxError):
        return []


def equal(value, expected) -> bool:
    if isinstance(expected, tuple | list) and not isinstance(value, np.ndarray):
        return len(value) == len(expected) and all(map(equal, value, expected))
    if isinstance(expected, float):
        return abs(value - expected) < 1e-6
    return value == expected


def run(code: str, names: dict, where: str) -> None:
    """Runs an example, and compares each value that stands alone on a line with the comment behind it."""
    if code.startswith(">>>"):
        test = doctest.DocTestParser().get_doctest(code, names, where, None, None)
        printed = []
        doctest.DocTestRunner(verbose=False).run(test, out=printed.append)
        assert not printed, "".join(printed)
        return
    lines = code.splitlines()
    for node in ast.parse(code).body:
        expected = told(lines[node.end_lineno - 1]) if isinstance(node, ast.Expr) else []
        if expected:
            value = eval(compile(ast.Expression(node.value), where, "eval"), names)
            assert equal(value, expected[0]), f"{where}: {lines[node.end_lineno - 1]}\ngives {value!r}"
        else:
            exec(compile(ast.Module([node], []), where, "exec"), names)


@pytest.fixture(scope="module")
def taken_for_granted(tmp_path_factory):
    """What `prepared` lists, the packages by their names, and what `docs/api/index.md` lists besides."""
    directory = tmp_path_factory.mktemp("examples")
    found = {package: importlib.import_module(f"tfsegkd.{package}") for package in PACKAGES}
    found |= prepared.names(directory)
    found["quantized"] = quantization.quantize(found["student"], calibration=found["images"])
    export.export_tflite(found["quantized"], directory / "model_int8.tflite", metadata=found["info"])
    (directory / "student.tflite").write_bytes(runtime.convert(found["student"], "float32", "float32"))
    run_directory = directory / "saved_models" / "quickstart"
    run_directory.mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "results" / "quickstart.json", run_directory / "report.json")
    kernel = np.zeros((16, 3, 3, 3), np.float32)
    conv = torch_pickles.tensor(torch_pickles.storage("0", kernel.size), kernel.shape, (27, 9, 3, 1))
    content = torch_pickles.state({"conv.weight": conv})
    torch_pickles.write(directory / "network.pth", content, {"0": kernel}, "zip")
    random = np.random.default_rng(0)
    for side in ("teacher", "student"):
        found[f"{side}_logits"] = tf.constant(random.normal(size=(2, 8, 8, 11)), tf.float32)
        found[f"{side}_features"] = tf.constant(random.normal(size=(2, 8, 8, 16)), tf.float32)
    found["masks"] = tf.constant(random.integers(0, 11, (2, 32, 32)), tf.int32)
    found["frames"] = np.stack([found["source"][index][0] for index in range(2)]).astype(np.float32)
    found |= {"tfsegkd": tfsegkd, "keras": keras, "np": np, "tf": tf, "Path": Path, "Image": Image}
    return directory, found


@pytest.mark.slow  # about a minute; .ci/run runs them, in a process of their own, for they register names
@pytest.mark.parametrize("name", [name for name, item in PUBLIC.items() if example(item)])
def test_example_runs(name, taken_for_granted, monkeypatch):
    directory, names = taken_for_granted
    monkeypatch.chdir(directory)
    for registry in (data.registry.datasets, losses.registry, models.registry.models):
        monkeypatch.setattr(registry, "_builders", dict(registry._builders))
    run(example(PUBLIC[name]), dict(names), name)


# What still has none.
WITHOUT = set()


def test_every_public_name_has_an_example():
    assert {name for name, item in PUBLIC.items() if not example(item)} == WITHOUT


@pytest.mark.parametrize("name", PUBLIC)
def test_every_argument_has_a_type(name):
    """Also what comes back, of functions; mypy reads these."""
    item = PUBLIC[name]
    if inspect.isclass(item):
        return
    signature = inspect.signature(item)
    assert [one for one, found in signature.parameters.items() if found.annotation is found.empty] == []
    assert signature.return_annotation is not signature.empty


def section(item, title: str) -> str:
    text = inspect.cleandoc(item.__doc__ or "")
    found = re.search(rf"^{title}:\n((?:(?:    .*)?\n)*(?:    .*)?)", text, re.MULTILINE)
    return found[1] if found else ""


@pytest.mark.parametrize("name", [name for name, item in PUBLIC.items() if inspect.isfunction(item)])
def test_arguments_and_result_are_told(name):
    item = PUBLIC[name]
    listed = re.findall(r"^    ([\w, ]+):", section(item, "Args"), re.MULTILINE)
    told = {one.strip() for line in listed for one in line.split(",")}
    signature = inspect.signature(item)
    assert set(signature.parameters) <= told
    assert signature.return_annotation in (None, "None") or section(item, "Returns")


@pytest.mark.parametrize(
    ("code", "is_right"),
    [
        (">>> 1 + 1\n2\n", True),
        ("1 + 1  # 2\n", True),
        ("1 + 1  # 3\n", False),
        ("[0.5, 1]  # [0.5, 1]\n", True),
        ("1  # one\n", True),
    ],
)
def test_comments_are_compared(code, is_right):
    if is_right:
        run(code, {}, "here")
    else:
        with pytest.raises(AssertionError, match=r"gives 2|Got:\s+2"):
            run(code, {}, "here")
