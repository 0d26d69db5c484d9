"""The architecture: packages import lower layers only, one module picks Keras, only commands read flags."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYER_OF = {
    **dict.fromkeys(("_keras", "atomic", "checks", "deprecation", "posix", "progress_bar"), 0),
    **dict.fromkeys(("registry", "spec"), 0),
    **dict.fromkeys(("layers", "graph"), 1),
    **dict.fromkeys(("data", "models", "losses", "metrics", "runtime"), 2),
    **dict.fromkeys(("distillation", "pruning", "grouping", "quantization"), 3),
    **dict.fromkeys(("export", "evaluation", "reporting"), 4),
    "recipe": 5,
    "commands": 6,
    "the top module": 7,
}
# Packages of one layer that may be imported, always in this direction.
SAME_LAYER = {("registry", "spec"), ("registry", "checks"), ("graph", "layers")}
SAME_LAYER |= {("reporting", "evaluation")}
KERAS = {"keras", "tf_keras", "tensorflow_model_optimization", "ai_edge_litert"}


# Studies compare command lines, and reports show the one of a run.
COMMAND_LINES = {
    *(f"tfsegkd/recipe/{file}.py" for file in ("pages", "provenance", "study", "study_runs")),
    "tfsegkd/reporting/summary.py",
}
# What pip is called with.
COMMAND_LINES.add("tfsegkd/runtime/arm_sysroot.py")


def package_of(parts: tuple[str, ...]) -> str:
    """The package that a dotted name below tfsegkd leads to: its first part."""
    return parts[0] if parts and parts[0] != "__init__" else "the top module"


def imports(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yields every imported name as its parts; `package` resolves relative imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            yield from ((*base, alias.name) for alias in node.names)


def touches_keras(tree: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == "keras"
        and isinstance(node.value, ast.Name)
        and node.value.id in ("tf", "tensorflow")
        for node in ast.walk(tree)
    )


def flags_named(tree: ast.AST) -> list[str]:
    """The flags of our commands that strings name, such as --data_dir."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    text = "\n".join(node.value for node in nodes if isinstance(node.value, str))
    # Other programs write their flags with dashes inside, or as a word alone.
    return re.findall(r"--[a-z]+(?:_[a-z]+)+|--[a-z]+(?==)", text)


def faults(path: str, source: str) -> list[str]:
    """What violates the architecture in the file `path`, given from the root as 'tfsegkd/losses/base.py'."""
    tree = ast.parse(source)
    parts = Path(path).with_suffix("").parts
    names = list(imports(tree, parts[:-1]))
    found = []
    if parts[-1] == "utils":
        found.append(f"{path}: 'utils' says nothing; name the file for what is in it")
    picks_keras = parts == ("tfsegkd", "_keras")
    uses_keras = touches_keras(tree) or any(
        name[0] in KERAS or name[:2] == ("tensorflow", "keras") for name in names
    )
    if uses_keras and not picks_keras:
        found.append(f"{path}: takes Keras, TF-MOT or LiteRT from elsewhere than tfsegkd._keras")
    if parts[0] != "tfsegkd":
        return found
    if parts[1] != "commands" and any(name[:2] == ("absl", "flags") for name in names):
        found.append(f"{path}: reads flags; only commands do")
    if parts[1] != "commands" and path not in COMMAND_LINES:
        found += [f"{path}: names the flag {flag}; only commands do" for flag in flags_named(tree)]
    if any(name[0] == "benchmarks" for name in names):
        found.append(f"{path}: imports benchmarks, which are no part of the package")
    here = package_of(parts[1:])
    if here not in LAYER_OF:
        return [*found, f"{path}: the package {here!r} has no layer; give it one in LAYER_OF"]
    for name in names:
        if name[0] != "tfsegkd":
            continue
        # `from tfsegkd import checks` leads to a package, `from tfsegkd import Distiller` to the top module.
        there = (
            package_of(name[1:]) if package_of(name[1:]) in LAYER_OF or len(name) > 2 else "the top module"
        )
        if there not in LAYER_OF:
            found.append(f"{path}: imports the unknown package {there!r}")
        elif there != here and (here, there) not in SAME_LAYER and LAYER_OF[there] >= LAYER_OF[here]:
            found.append(f"{path}: {here} (layer {LAYER_OF[here]}) imports {there} (layer {LAYER_OF[there]})")
    return found


LAYERS = ROOT / "tfsegkd" / "graph" / "layer_table.py"
# The operations of TensorFlow, some of which are called like layers.
NO_LAYERS = {"tfsegkd/graph/operations.py"}


def layer_types() -> set[str]:
    """The classes that the table of layers describes."""
    tree = ast.parse(LAYERS.read_text(encoding="utf-8"))
    found = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "layers"
    }
    return found.union(
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "tfsegkd.layers"
        for alias in node.names
    )


def collections_of_layers(source: str) -> list[list[str]]:
    """The collections in which three or more layer classes, or their names, stand."""
    tree, known, found = ast.parse(source), layer_types(), []
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    public = [node.value for node in assigned if ast.unparse(node.targets[0]) == "__all__"]
    for node in ast.walk(tree):
        items = []
        if isinstance(node, ast.Tuple | ast.List | ast.Set) and node not in public:
            items = node.elts
        elif isinstance(node, ast.Dict):
            items = node.keys
        elif isinstance(node, ast.Call):
            items = node.args
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            items = [part for part in ast.walk(node) if isinstance(part, ast.Attribute | ast.Name)]
        names = {getattr(item, part, None) for item in items for part in ("attr", "id", "value")}
        named = sorted({name for name in names if isinstance(name, str) and name in known})
        if len(named) >= 3:
            found.append(named)
    return found


def files() -> list[str]:
    return sorted(
        path.relative_to(ROOT).as_posix()
        for top in ("tfsegkd", "tools")
        for path in (ROOT / top).rglob("*.py")
    )


@pytest.mark.parametrize("path", files())
def test_file_is_in_order(path):
    assert faults(path, (ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", [path for path in files() if path.startswith("tfsegkd/")])
def test_only_the_table_lists_layers(path):
    if ROOT / path != LAYERS and path not in NO_LAYERS:
        assert collections_of_layers((ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "A = (layers.ReLU, keras.layers.ELU, layers.Add)",
        "A = {layers.ReLU: 1, CropLike: 2, layers.Add: 3}",
        "if isinstance(layer, layers.ReLU | layers.ELU | layers.Add): pass",
        "A = ['ReLU', 'ELU', 'Add']",
        "register(kind, layers.ReLU, layers.ELU, layers.Add)",
    ],
)
def test_a_list_of_layers_is_noticed(source):
    assert len(collections_of_layers(source)) == 1
    assert collections_of_layers(source.replace("ReLU", "Mine")) == []


# Keras' graph is private, and copies of networks are made by `rebuild`.
PRIVATE = ("_nodes_by_depth", "_is_graph_network", "_keras_history", "_inbound_nodes", "_outbound_nodes")
PRIVATE += ("_nested_inputs", "_nested_outputs", "_outputs_struct", "_functional", "clone_model")
READER = "tfsegkd/graph/keras_graph.py"


def private_names(source: str) -> list[str]:
    """The private names of Keras' graph in a source, and its own copying, as attributes or as strings."""
    nodes = list(ast.walk(ast.parse(source)))
    found = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    found |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return sorted(found.intersection(PRIVATE))


@pytest.mark.parametrize("path", [path for path in files() if path.startswith("tfsegkd/")])
def test_one_file_reads_the_graph_of_keras(path):
    assert path == READER or private_names((ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    ["model._nodes_by_depth", "getattr(model, '_is_graph_network', None)", "keras.models.clone_model(model)"],
)
def test_a_second_reader_is_noticed(source):
    assert len(private_names(source)) == 1


def test_all_files_are_found():
    assert {"tfsegkd/__init__.py", "tfsegkd/_keras.py", "tfsegkd/losses/pixelwise.py"} <= set(files())
    assert not [path for path in (ROOT / "tests").rglob("*.py") if path.stem == "utils"]


def test_every_folder_of_the_package_is_installed():
    # An editable install finds a folder without __init__.py; any other does not.
    folders = {(ROOT / path).parent for path in files() if path.startswith("tfsegkd/")}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("tfsegkd/spec.py", "import tfsegkd.losses", "imports losses"),
        ("tfsegkd/checks.py", "from tfsegkd.spec import parse", "imports spec"),
        ("tfsegkd/layers/odd.py", "from tfsegkd.graph import cost", "imports graph"),
        ("tfsegkd/losses/base.py", "from tfsegkd.models.zoo.unet import unet", "imports models"),
        ("tfsegkd/losses/base.py", "from tfsegkd import models", "imports models"),
        ("tfsegkd/losses/base.py", "from ..metrics import iou", "imports metrics"),
        ("tfsegkd/losses/base.py", "from .. import metrics", "imports metrics"),
        ("tfsegkd/losses/base.py", "def f():\n    import tfsegkd.export.verify", "imports export"),
        ("tfsegkd/pruning/a.py", "from tfsegkd.quantization import quantize", "imports quantization"),
        ("tfsegkd/export/a.py", "import tfsegkd.evaluation as e", "imports evaluation"),
        ("tfsegkd/recipe/a.py", "from benchmarks import soak", "imports benchmarks"),
        ("tfsegkd/recipe/a.py", "from tfsegkd import Distiller", "imports the top module"),
        ("tfsegkd/recipe/a.py", "import tfsegkd", "imports the top module"),
        ("tfsegkd/recipe/a.py", "from tfsegkd.cellar.wine import red", "unknown package 'cellar'"),
        ("tfsegkd/cellar/wine.py", "", "'cellar' has no layer"),
        ("tfsegkd/cellar.py", "", "'cellar' has no layer"),
        ("tfsegkd/models/utils.py", "", "says nothing"),
        ("tools/utils.py", "", "says nothing"),
        ("tfsegkd/models/zoo/unet.py", "import keras", "from elsewhere"),
        ("tfsegkd/models/zoo/unet.py", "from tf_keras import layers", "from elsewhere"),
        ("tfsegkd/models/zoo/unet.py", "from tensorflow import keras", "from elsewhere"),
        ("tfsegkd/models/zoo/unet.py", "import tensorflow.keras.layers", "from elsewhere"),
        ("tfsegkd/models/zoo/unet.py", "import tensorflow as tf\ntf.keras.layers.Dense(1)", "from elsewhere"),
        ("tfsegkd/quantization/a.py", "import tensorflow_model_optimization as tfmot", "from elsewhere"),
        ("tfsegkd/runtime/a.py", "from ai_edge_litert.interpreter import Interpreter", "from elsewhere"),
        ("tools/train.py", "import tf_keras", "from elsewhere"),
        ("tfsegkd/recipe/a.py", "from absl import flags", "reads flags"),
        ("tfsegkd/recipe/a.py", "import absl.flags", "reads flags"),
        ("tfsegkd/recipe/a.py", "from absl.flags import FLAGS", "reads flags"),
        ("tfsegkd/recipe/a.py", "'Set it with --data_dir.'", "names the flag --data_dir"),
        ("tfsegkd/recipe/a.py", "f'Leave --quantize={x} out.'", "names the flag --quantize"),
        ("tfsegkd/recipe/a.py", "from tfsegkd.commands import train", "imports commands"),
    ],
)
def test_violations_are_noticed(path, source, fault):
    found = faults(path, source)
    assert len(found) == 1
    assert fault in found[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tfsegkd/_keras.py", "import tf_keras, tensorflow as tf\ntf.keras.layers"),
        ("tfsegkd/registry.py", "from tfsegkd.spec import parse"),
        ("tfsegkd/losses/base.py", "from tfsegkd import checks\nfrom . import functional"),
        ("tfsegkd/losses/deep/er.py", "from ..base import registry\nfrom ...graph import cost"),
        ("tfsegkd/graph/canonical.py", "from tfsegkd.layers import Resize"),
        ("tfsegkd/recipe/stages.py", "from tfsegkd.export import verify\nfrom absl import logging"),
        ("tfsegkd/__init__.py", "from tfsegkd.distillation import Distiller\nfrom tfsegkd import recipe"),
        (
            "tfsegkd/commands/train.py",
            "from absl import flags\nfrom tfsegkd.recipe import Recipe\n'--data_dir'",
        ),
        ("tools/benchmark.py", "from absl import flags\nfrom tfsegkd.recipe import Recipe\nimport tfsegkd"),
    ],
)
def test_allowed_imports_pass(path, source):
    assert faults(path, source) == []
