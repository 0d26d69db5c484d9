"""The flagfiles of the papers run as they are, on trees in the data sets' layouts; only sizes are smaller."""

import json
import math
import re

import pytest
from command_lines import TOOLS
from dataset_trees import cityscapes, segnet, voc

PAPERS = TOOLS.parent / "configs" / "papers"
TREES = {"voc": lambda root: voc(root, train="train"), "camvid": segnet, "cityscapes": cityscapes}
# Sizes, so that a plan and a step take seconds: of frames, batches, epochs, and of networks by their widths.
SHORT = ("--input_size=32x64", "--crop_size=32x64", "--batch_size=2", "--teacher_epochs=1", "--epochs=1")
SHORT += ("--prune_epochs=1", "--qat_epochs=3")
TEACHER = "backbone=resnet18, width_multiplier=0.125, filters=8"
NARROW = {
    "voc_pixelwise_pairwise": (f"--teacher=deeplab_v3({TEACHER})", "--student=unet(width=2)"),
    "voc_qkd": (f"--teacher=deeplab_v3({TEACHER})", "--student=unet(width=2)"),
    "cityscapes_csc_ace": (f"--teacher=pspnet({TEACHER})", f"--student=pspnet({TEACHER})"),
    "camvid_csc_ace": (f"--teacher=pspnet({TEACHER})", f"--student=pspnet({TEACHER})"),
    "camvid_segnet_cost_complexity": ("--student=segnet(width=8)",),
    "cityscapes_erfnet_d_gradual": ("--student=erfnet(block=d, width_multiplier=0.5)",),
    "cityscapes_erfnet_dg2_gradual": ("--student=erfnet(block=d, width_multiplier=0.5)",),
    "cityscapes_erfnet_dg4_gradual": ("--student=erfnet(block=d, width_multiplier=0.5)",),
}
# The stages that say what a paper is about; the others are the same everywhere.
OF_THE_PAPER = ("teacher", "distill", "prune", "group")
NAMES = {"distill": "student", "prune": "pruned", "group": "grouped", "quantize": "student_qat"}
# What the papers' schedules come to with the data sets' own numbers of frames: epochs × (frames // batch).
FRAMES = {"voc": 1464, "camvid": 367, "cityscapes": 2975}
STEPS = {"voc_pixelwise_pairwise": 40_000, "cityscapes_csc_ace": 40_000}


def settings(name):
    """The flags of a file and of those that it builds on, the later counting."""
    found = {}
    for line in (PAPERS / f"{name}.cfg").read_text(encoding="utf-8").splitlines():
        if line.startswith("--flagfile="):
            found |= settings(re.search(r"(\w+)\.cfg", line)[1])
        elif line.startswith("--"):
            key, _, value = line[2:].partition("=")
            found[key] = value
    return found


@pytest.fixture
def flags(shell, tmp_path):
    """The command line of a flagfile on a small tree of its data set."""

    def make(name, *others):
        configs = shell.directory / "configs"
        if not configs.exists():
            configs.symlink_to(PAPERS.parent)  # flagfiles name each other from the root
        TREES[settings(name)["dataset"]](tmp_path)
        file = f"--flagfile=configs/papers/{name}.cfg"
        return (file, f"--data_dir={tmp_path}", f"--output_dir={tmp_path / 'run'}", *SHORT, *others)

    return make


def test_every_flagfile_is_tried():
    assert sorted(NARROW) == sorted(path.stem for path in PAPERS.glob("*.cfg"))


@pytest.mark.parametrize("name", STEPS)
def test_schedules_are_as_long_as_the_papers(name):
    found = settings(name)
    steps = int(found["epochs"]) * (FRAMES[found["dataset"]] // int(found["batch_size"]))
    assert math.isclose(steps, STEPS[name], rel_tol=0.01)


# The others take as long; their flags are read and their schedules counted above.
_PLANNED_DAILY = ("cityscapes_erfnet_dg2_gradual",)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in _PLANNED_DAILY else [pytest.mark.slow]) for name in NARROW],
)
def test_a_plan_of_every_paper(name, flags, shell, tmp_path):
    stages = settings(name).get("stages", "teacher,student_alone,distill,quantize,export").split(",")
    chosen = [stage for stage in stages if stage in OF_THE_PAPER]
    if "prune" in chosen or not chosen:
        chosen.insert(0, "student_alone")
    if settings(name).get("quantize"):
        chosen += ["student_alone", "quantize"]
    plan = ("--dry_run", "--timed_steps=0", f"--stages={','.join(chosen)}")
    result = shell("train", *flags(name, *NARROW[name], *plan))
    assert result.code == 0, result.err
    planned = re.findall(r"^(\w+):$", result.out, re.MULTILINE)
    assert planned == [NAMES.get(stage, stage) for stage in chosen]
    assert not (tmp_path / "run").exists()


# With networks as large as the papers': each takes minutes, a path through all of 29 M weights hours.
_WHOLE = ("voc_pixelwise_pairwise", "cityscapes_erfnet_dg2_gradual")


@pytest.mark.slow
@pytest.mark.parametrize("name", NARROW)
def test_a_few_steps_of_every_paper(name, flags, shell, tmp_path):
    width = () if name in _WHOLE else NARROW[name]
    result = shell("train", *flags(name, *width, "--preflight=off"))
    assert result.code == 0, result.err
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["stages"][-1]["name"] == "int8" and report["float_ops"] == []
