"""What people write on command lines and into flagfiles."""

import contextlib
import importlib
import io
import types

import pytest
from absl import flags
from fuzzing import edited, fuzz, ours
from hypothesis import strategies as st

from tfsegkd import data, distillation, losses, models, pruning, spec
from tfsegkd.commands import command_line
from tfsegkd.distillation import schedules
from tfsegkd.losses.base import registry as loss_registry
from tfsegkd.models.registry import models as model_registry
from tfsegkd.pruning import magnitude
from tfsegkd.pruning.targets import parse_target
from tfsegkd.recipe import Prune, Schedule
from tfsegkd.recipe.study import parse_method

names = st.sampled_from(
    (*losses.names(), *models.names(), *schedules.names(), *data.names(), "", "no", "a:b", "é", "0", "tfds:x")
)
ARGUMENTS = """
temperature weight steps step pool filters width rates height num_images without layout year data_dir split
weights name form T self __class__
"""
arguments = st.sampled_from(ARGUMENTS.split())
values = st.one_of(
    st.integers(-9, 99).map(str),
    st.floats().map(str),
    st.text(max_size=6),
    st.sampled_from(
        ("None", "True", "(1, 2)", "[]", "'x'", '"', "{}", "1e999", "-0.0", "9" * 30, "0x", "((((", "f(x)")
    ),
)
call = st.builds(
    lambda name, given: name + (f"({', '.join(f'{key}={value}' for key, value in given)})" if given else ""),
    names,
    st.lists(st.tuples(arguments, values), max_size=3),
)
weight = st.builds(lambda value: f"*{value}", values)
layer_name = st.builds(lambda words: "@" + ":".join(words), st.lists(names | values, min_size=1, max_size=3))
specs = st.one_of(
    st.lists(st.one_of(call, weight, layer_name, call.map(lambda text: f"*{text}")), max_size=5).map("".join),
    st.text(alphabet="ab(=,)@:*'\"\\ .-_1é\n\0", max_size=30),
    st.text(max_size=30),
    st.integers(1, 3000).map(lambda depth: f"a(b={'(' * depth}{')' * depth})"),
    st.integers(1, 3000).map(lambda depth: f"a(b={'-' * depth}1)"),
)


@fuzz(specs, 3000)
def test_specs(text, box):
    """Reading alone."""
    with ours():
        found = spec.parse(text)
        assert isinstance(found.name, str) and found.name


@fuzz(st.lists(specs, max_size=2), 1500)
def test_terms(texts, box):
    """--distill."""
    with ours():
        distillation.parse_terms(texts)


@fuzz(specs, 800)
def test_schedules(text, box):
    """Schedules of the weight of a term."""
    with ours():
        schedules.get(text)


@fuzz(specs, 500)
def test_arguments_of_networks(text, box):
    """--student, as far as names and arguments: networks of any size would be built in vain."""
    with ours():
        parsed = spec.parse(text)
        builder = model_registry.builder(parsed.name)
        assert callable(builder) and loss_registry.names()


small_networks = st.sampled_from(
    ("unet", "segnet", "erfnet", "fast_scnn", "mobile_unet", "lraspp", "fcn", "enet")
)


@fuzz(st.builds(lambda name, key, value: f"{name}({key}={value})", small_networks, arguments, values), 80)
def test_networks(text, box):
    """--student with an option that most networks do not have."""
    with ours():
        models.build(text, 3, (32, 32, 3))


@fuzz(st.tuples(specs, st.text(max_size=5)), 700)
def test_data_sets(case, box):
    """--dataset and --train_split."""
    with ours():
        if not case[0].startswith("tfds"):
            data.load(*case, box)


targets = st.builds(
    lambda kind, value, more: f"{kind}{value}{more}",
    st.sampled_from(("macs", "params", "latency", "sparsity", "sparsity:2:4", "", "x")),
    st.builds(lambda value: f":{value}", values) | st.just(""),
    st.sampled_from(("", ":", "é", ":4")),
)


@fuzz(st.tuples(targets, st.sampled_from([*pruning.IMPORTANCES]), st.integers(-1, 3)), 800)
def test_targets_of_pruning(case, box):
    """--prune, --importance and --prune_rounds."""
    target, importance, rounds = case
    with ours():
        parse_target(target)
    with ours():
        Prune(target, Schedule(2, 0.1), importance, rounds=rounds)


thinnings = st.builds(
    lambda name, given: f"{name}({', '.join(f'{key}={value}' for key, value in given)})",
    st.sampled_from(("polynomial_decay", "constant_sparsity", "2:4", "no")),
    st.lists(
        st.tuples(
            st.sampled_from(
                ("initial_sparsity", "final_sparsity", "begin_step", "end_step", "frequency", "power")
            )
            | st.just("target_sparsity"),
            st.sampled_from(("0", "1", "0.5", "10", "-3", "'x'", "None", "1e9", "True", "(1,)")),
        ),
        max_size=5,
    ),
)


@fuzz(thinnings | specs, 700)
def test_schedules_of_sparsity(text, box):
    """Of tfsegkd.pruning.sparsify."""
    with ours():
        magnitude._options(text)


@fuzz(
    st.lists(names | values | st.sampled_from((">", ":", ",", " --a=b", "--")), max_size=7).map("".join), 500
)
def test_methods_of_a_study(text, box):
    """--method of tools/study.py."""
    with ours():
        parse_method(text)


class _FarEnough(Exception):
    """All flags were looked at: what follows reads data."""


@pytest.fixture(scope="module", autouse=True)
def train():
    """tools/train.py in this process, up to the point where it opens a data set."""
    patch = pytest.MonkeyPatch()
    # The tests of other tools may define the same flags.
    patch.setattr(flags, "FLAGS", flags.FLAGS)
    known = {name: flags.FLAGS[name] for name in flags.FLAGS}
    module = importlib.import_module("tfsegkd.commands.train")
    module.define_flags()

    def stop(*_):
        raise _FarEnough

    # Others go on reading data sets.
    patch.setattr(module, "data", types.SimpleNamespace(**{**vars(data), "load": stop}))
    _train.append(module)
    yield
    _train.pop()
    patch.undo()
    for name in set(flags.FLAGS) - set(known):
        delattr(flags.FLAGS, name)


_train = []


def _up_to_the_data(arguments):
    module = _train[-1]
    module.FLAGS.unparse_flags()
    for flag in set(module.FLAGS):
        module.FLAGS[flag].unparse()
    with ours(flags.Error, _FarEnough), contextlib.redirect_stderr(io.StringIO()):
        words = command_line.parsed(["train.py", *arguments])
        if len(words) == 1:
            module.main()


FLAG_NAMES = """
dataset data_dir output_dir stages input_size crop_size teacher teacher_size student teacher_scales distill
task_weight prune importance scope round_to prune_rounds prune_distill groups group_layers group_from
group_until group_shape group_distill teacher_epochs epochs learning_rate batch_size weight_decay min_scale
max_scale flip color_jitter strategy seed halve_at_nan validate_every quantize nothing flagfile undefok
"""
given = st.one_of(
    specs, values, st.sampled_from(("48x64", "0x5", "x", "1,2", "teacher,distill", "none", "1e3", "macs:0.5"))
)
flag = st.builds(
    lambda dashes, name, mark, value: f"{dashes}{name}{mark}{value}",
    st.sampled_from(("--", "-", "", "--no")),
    st.sampled_from(FLAG_NAMES.split()),
    st.sampled_from(("=", " ", "", "==")),
    given,
)


@fuzz(st.lists(flag, max_size=5), 900)
def test_command_lines(arguments, box):
    """tools/train.py."""
    # Workers would wait for each other, and devices are set up once in a process.
    _up_to_the_data([text for text in arguments if "strategy" not in text and "list" not in text])


@fuzz(
    edited(flag | st.sampled_from(("# a comment", "--flagfile=a.cfg", "--flagfile=.", "--flagfile=no"))), 900
)
def test_flagfiles(content, box):
    """--flagfile, one that names itself included."""
    if b"strategy" in content:
        return
    (box / "a.cfg").write_bytes(content)
    _up_to_the_data(["--flagfile=a.cfg"])
