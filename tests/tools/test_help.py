"""What --help shows, and the word that is offered in place of an unknown one."""

import re

import pytest
from command_lines import TOOLS

TOOL_NAMES = sorted(path.stem for path in TOOLS.glob("*.py"))
COMMANDS = TOOLS.parent / "tfsegkd" / "commands"


def defined(tool):
    """The flags that the source of a tool names, read without running it."""
    source = TOOLS if tool == "benchmark" else COMMANDS
    text = (source / f"{tool}.py").read_text(encoding="utf-8")
    return re.findall(r'flags\.DEFINE_\w+\(\s*"(\w+)"', text)


@pytest.mark.parametrize("tool", TOOL_NAMES)
def test_help_has_every_flag_of_the_tool_and_no_other(tool, shell):
    result = shell(tool, "--help")
    assert result.code == 0, result.err
    shown = re.findall(r"^  --(?:\[no\])?(\w+)", result.out, re.MULTILINE)
    assert set(defined(tool)) | {"debug"} <= set(shown)
    assert len(shown) == len(set(shown))
    # What absl and TensorFlow bring along would be a screen of its own.
    assert not {"verbosity", "logtostderr", "pdb", "help", "helpxml"} & set(shown)
    assert max(map(len, result.out.splitlines())) <= 110
    assert "--helpfull" in result.out.splitlines()[-1] and "repeat this option" not in result.out


def test_every_tool_is_a_command():
    for tool in set(TOOL_NAMES) - {"benchmark"}:
        text = (TOOLS / f"{tool}.py").read_text(encoding="utf-8")
        assert text == f"from tfsegkd.commands.{tool} import run\n\nrun()\n"


def test_flags_stand_in_groups_with_defaults_and_choices(shell):
    text = shell("train", "--help").out
    groups = dict(re.findall(r"^(\w[^\n]*):\n((?:  .*\n?)+)", text, re.MULTILINE))
    assert [*groups][-1] == "Help" and len(groups) >= 7
    assert "--dataset=road_scenes" in groups["Data"] and "--allow_lambda" not in groups["Data"]
    assert "--importance=taylor" in groups["Pruning"] and "fpgm, lamp" in groups["Pruning"]
    assert "--[no]flip" in text and "--distill=pixelwise " in text and "<" not in groups["Pruning"]


@pytest.mark.parametrize(
    ("flags", "meant"),
    [
        (["--epocs=3"], "epochs"),
        (["--importance=tailor"], "'taylor'"),
        (["--group_shape=linea"], "'linear'"),
        (["--list=model"], "'models'"),
        (["--dataset=camwid"], "'camvid'"),
        (["--student=mobile_net"], "'mobile_unet'"),
        (["--distill=pixelwize"], "'pixelwise'"),
        (["--stages=teacher,destill"], "'distill'"),
        (["--val_split=vale"], "'val'"),
        (
            ["--distill=attention@stride8:stride9", "--teacher=unet(width=2)", "--student=enet"],
            "'stride8'",
        ),
    ],
)
def test_the_nearest_word_is_offered(flags, meant, shell):
    result = shell("train", *flags)
    assert result.code == 1 and "Traceback" not in result.err
    *_, line = result.err.splitlines()
    assert line.startswith("error: ")
    assert re.search(rf"(Did you mean:? |such as \[.*){re.escape(meant)}", line), line


@pytest.mark.parametrize(
    ("tool", "flags", "words"),
    [
        ("evaluate", [], "error: --model must have a value"),
        ("train", ["--epochs=x"], "error: flag --epochs=x: invalid literal"),
        ("train", ["--flagfile=gone.cfg"], "error: Unable to open flagfile"),
        ("train", ["--nonsense"], "error: Unknown command line flag 'nonsense'."),
    ],
)
def test_flags_that_cannot_be_read_are_one_line(tool, flags, words, shell):
    result = shell(tool, *flags)
    assert result.code == 1 and result.out == ""
    assert result.err.startswith(words) and len(result.err.splitlines()) == 1
    assert result.err.endswith("--help shows the options.\n")


def test_a_flagfile_that_is_no_text(shell, tmp_path):
    (tmp_path / "a.cfg").write_bytes(b"--epochs=\xff\xfe")
    result = shell("train", f"--flagfile={tmp_path / 'a.cfg'}")
    assert result.code == 1 and result.err.startswith("error: A flagfile cannot be read")
