"""The package as it is installed: its commands, its marker of types, and systems without POSIX modules."""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tfsegkd

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("command", PROJECT["scripts"])
def test_every_console_command_leads_to_code(command):
    module, _, function = PROJECT["scripts"][command].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert module.rpartition(".")[2].replace("_", "-") == command.removeprefix("tfsegkd-")


def test_versions_agree():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {tfsegkd.__version__}\n" in citation
    assert f"\n## {tfsegkd.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_all_python_versions_are_tried():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if ":: Python :: 3." in line]
    assert len(named) == 3 and all(f'"{version}"' in workflow for version in named)


# As on Windows, where TensorFlow does without them.
WITHOUT_POSIX = """
import sys, tensorflow
for name in ("fcntl", "resource"):
    sys.modules[name] = None
import tfsegkd
from tfsegkd import posix
from tfsegkd.recipe.lock import locked
from pathlib import Path
with locked(Path(sys.argv[1])):
    print(posix.peak_memory(), tfsegkd.models.build("unet(width=2)", 3, (32, 32, 3)).output_shape)
"""


def test_a_system_without_posix_modules(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0 (None, 32, 32, 3)\n"
