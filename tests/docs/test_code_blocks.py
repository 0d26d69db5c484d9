"""Every block of code of the documents does what it says."""

import contextlib
import functools
import importlib
import re
import runpy
import shlex
import sys
import tomllib
import types

import numpy as np
import prepared
import pytest
from absl import flags
from command_lines import Shell
from pages import PAGES, ROOT, Block, blocks, name
from PIL import Image

from tfsegkd import checks, data, distillation, losses, models, spec
from tfsegkd._keras import keras
from tfsegkd.commands import command_line

# The pages of docs/api hold nothing but names for MkDocs to look up.
EVERY = [block for page in PAGES if page.parent.name != "api" for block in blocks(page)]
TOOLS = ROOT / "tools"
# Why what these words stand in is not run.
NOT_RUN = {
    "srun ": "needs Slurm",
    "import TrainingData, search": "trains for hours; tests/recipe/test_search.py runs it at toy size",
    "TF_CONFIG=": "needs several machines; tests/recipe/test_strategy.py runs two workers on one",
}
# Commands of others, of which nothing but the name is looked at.
OTHERS = ("python -m venv ", ". .venv/", "tensorboard --logdir=", ".venv/bin/pytest ", ".ci/run")
OTHERS += ("python -m http.server ", "adb reverse ")


def excuse(block: Block) -> str | None:
    return next((reason for words, reason in NOT_RUN.items() if words in block.text), None)


def test_every_block_says_what_it_is():
    lost = [
        str(block) for block in EVERY if block.language not in ("python", "sh", "text") and not excuse(block)
    ]
    assert lost == []


def test_every_excuse_is_needed():
    assert [words for words in NOT_RUN if not any(words in block.text for block in EVERY)] == []


# Python. What a page trains for many epochs is trained for a few.

MOST_EPOCHS = 12
PYTHON = sorted({block.page for block in EVERY if block.language == "python" and not excuse(block)})


@pytest.mark.parametrize("page", PYTHON)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    fit = keras.Model.fit

    @functools.wraps(fit)
    def fit_shortly(model, *args, **options):
        return fit(
            model, *args, **{**options, "epochs": min(options.get("epochs", 1), MOST_EPOCHS), "verbose": 0}
        )

    monkeypatch.setattr(keras.Model, "fit", fit_shortly)
    monkeypatch.chdir(tmp_path)
    # What a page registers is gone with it.
    for registry in (data.registry.datasets, losses.registry, models.registry.models):
        monkeypatch.setattr(registry, "_builders", dict(registry._builders))
    # AutoGraph reads the source of functions by way of their module.
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    vars(module).update(prepared.names(tmp_path))
    precision = keras.mixed_precision.global_policy()
    try:
        for block in EVERY:
            if block.page == page and block.language == "python" and not excuse(block):
                # Errors show the line of the page.
                exec(compile("\n" * (block.line - 1) + block.text, str(ROOT / page), "exec"), vars(module))
    finally:
        keras.mixed_precision.set_global_policy(precision)


# Command lines.


def commands(text: str) -> list[list[str]]:
    """The commands of a shell block as lists of words."""
    lines = text.replace("\\\n", " ").splitlines()
    split = (shlex.split(part, comments=True) for line in lines for part in line.split("&&"))
    return [words for words in split if words]


def of_configs():
    """The command line at the head of each flagfile."""
    for path in sorted((ROOT / "configs").rglob("*.cfg")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("# python tools/"):
                yield name(path), shlex.split(line[2:])


COMMANDS = [
    (str(block), words)
    for block in EVERY
    if block.language == "sh" and not excuse(block)
    for words in commands(block.text)
]
COMMANDS += list(of_configs())


@contextlib.contextmanager
def defined(tool: str):
    """The names of a tool, its flags defined while it lasts."""
    before = set(flags.FLAGS)
    name = tool.removesuffix(".py")
    try:
        if name == "benchmark":
            names = runpy.run_path(str(TOOLS / tool), run_name="documented")
        else:
            names = vars(importlib.import_module(f"tfsegkd.commands.{name}"))
        names["define_flags"]()
        yield names
    finally:
        flags.FLAGS.unparse_flags()
        for flag in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, flag)


def check_meaning(tool: dict) -> None:
    """Looks at values that are read only once a run begins."""
    values = flags.FLAGS.flag_values_dict()
    for flag in ("distill", "prune_distill", "group_distill"):
        distillation.parse_terms(values.get(flag) or [])
    for stage in values.get("stages") or []:
        checks.one_of(stage, tool["STAGES"], "--stages")
    for flag in ("input_size", "crop_size", "teacher_size"):
        if values.get(flag):
            command_line.size(values[flag], flag)
    for flag in ("student", "teacher"):
        network = values.get(flag)
        if network and not re.search(r"/|\.(keras|h5|tflite)\b", network):
            checks.one_of(spec.parse(network).name, models.names(), f"--{flag}")
    for flag in ("dataset", "val_dataset"):
        if values.get(flag):
            kinds = [known.partition(":")[0] for known in data.names()]
            checks.one_of(spec.parse(values[flag]).name.partition(":")[0], kinds, f"--{flag}")


@pytest.mark.parametrize("tool", sorted(path.name for path in TOOLS.glob("*.py")))
def test_command_lines_are_understood(tool, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(TOOLS))
    lines = [(place, words) for place, words in COMMANDS if words[:2] == ["python", f"tools/{tool}"]]
    with defined(tool) as names:
        for place, words in lines:
            flags.FLAGS.unparse_flags()
            try:
                command_line.parsed(words[1:])
                check_meaning(names)
            except (flags.Error, ValueError) as error:
                pytest.fail(f"{place}: {' '.join(words)}\n{error}")


def test_a_wrong_command_line_is_told(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.chdir(ROOT)
    smoke = "--flagfile=configs/smoke.cfg"
    with defined("train.py") as names:
        for wrong in (
            "--no_such_flag",
            "--distill=pixelwize",
            "--student=unett",
            "--dataset=rode",
            "--input_size=3",
            "--flagfile=gone.cfg",
        ):
            flags.FLAGS.unparse_flags()
            with pytest.raises((flags.Error, ValueError)):
                flags.FLAGS(["tools/train.py", smoke, wrong])
                check_meaning(names)


def test_other_commands_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    marks = [mark.partition(":")[0] for mark in project["tool"]["pytest"]["ini_options"]["markers"]]
    known = project["project"]["optional-dependencies"]
    for place, words in COMMANDS:
        line = " ".join(words)
        words = words[2:] if words[:3] == ["python", "-m", "pytest"] else words
        if words[0] == "make":
            assert all(f"\n{target}: " in makefile for target in words[1:] if "=" not in target), place
        elif words[0] == "pip":
            extras = ",".join(re.findall(r"\[(.*?)\]", line)).split(",")
            assert {*extras} - {""} <= {*known}, place
            assert "-c" not in words or (ROOT / words[words.index("-c") + 1]).is_file(), place
        elif words[0] == "pytest":
            named = {*re.findall(r"\w+", words[words.index("-m") + 1])} - {"not", "and", "or"}
            assert named <= {*marks}, place
            assert all((ROOT / word).exists() for word in words if word.startswith("tests/")), place
        elif words[0] == "python" and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file(), place
        else:
            assert line.startswith(OTHERS), f"{place}: nobody looks at {line!r}"


@pytest.mark.parametrize("run", ["quickstart", "own_folder"])
def test_pages_name_the_report_where_the_run_writes_it(run):
    config = (ROOT / "configs" / f"{run}.cfg").read_text(encoding="utf-8")
    directory = re.search(r"^--output_dir=(.*)$", config, re.MULTILINE)[1]
    for page in ("README.md", "docs/index.md"):
        assert f"`{directory}/report.html`" in (ROOT / page).read_text(encoding="utf-8"), page


# The README's way with a folder of one's own, at toy size.

TOY = (
    "--input_size=32x48",
    "--teacher=deeplab_v3_plus(weights=None, filters=8, rates=(1, 2))",
    "--student=mobile_unet(width_multiplier=0.25)",
    "--teacher_epochs=1",
    "--epochs=1",
    "--qat_epochs=1",
    "--preflight=off",
)


@pytest.fixture
def shell(tmp_path):
    """In a directory with the configurations, twenty images and masks, and some photographs."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    source = data.load("road_scenes(height=32, width=48, num_images=20)", "train")
    for kind in ("mydata/images", "mydata/masks", "photos"):
        (tmp_path / kind).mkdir(parents=True)
    (tmp_path / "mydata/labels.txt").write_text("\n".join(source.info.class_names))
    for number, (image, mask) in enumerate(source):
        Image.fromarray(np.asarray(image)).save(tmp_path / f"mydata/images/{number:02}.jpg")
        Image.fromarray(np.asarray(mask)).save(tmp_path / f"mydata/masks/{number:02}.png")
        Image.fromarray(np.asarray(image)).save(tmp_path / f"photos/{number:02}.jpg")
    shell = Shell(tmp_path)
    yield shell
    shell.close()


@pytest.mark.slow
def test_the_folder_of_the_readme(shell):
    lines = [words for place, words in COMMANDS if place.startswith("README.md") and words[0] == "python"]
    ran = [
        words
        for words in lines
        if "saved_models/quickstart" not in str(words)
        and "own_folder" in str(words)
        and not {"--dataset=coco", "--dataset=labelme"} & {*words}  # which are test_annotations.py's
    ]
    assert [words[1] for words in ran] == ["tools/train.py", "tools/evaluate.py", "tools/predict.py"]
    for words in ran:
        tool = words[1].removeprefix("tools/").removesuffix(".py")
        result = shell(tool, *words[2:], *(TOY if tool == "train" else ()))
        assert result.code == 0, result.err
        if tool == "train":
            assert "Look at saved_models/own_folder/report.html" in result.out.splitlines()[-1]
            assert (shell.directory / "saved_models/own_folder/report.html").stat().st_size > 1e6
