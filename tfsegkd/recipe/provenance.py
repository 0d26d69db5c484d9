"""Provenance of results: commit, command, versions and processor."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tfsegkd.recipe.report import versions

ROOT = Path(__file__).resolve().parents[2]


def git(*words: str, root: Path = ROOT) -> str | None:
    """Returns the output of git; None if it fails."""
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def is_checkout(root: Path = ROOT) -> bool:
    """Whether `root` is the top directory of a git checkout."""
    top = git("rev-parse", "--show-toplevel", root=root)
    return bool(top) and Path(top).resolve() == root.resolve()


def commit(root: Path = ROOT) -> str | None:
    """Returns the commit of `root`, with '+changes' if files differ from it; None outside of git."""
    if not is_checkout(root):
        return None
    changed = git("status", "--porcelain", "--untracked-files=no", root=root)
    return f"{git('rev-parse', 'HEAD', root=root)}{'+changes' if changed else ''}"


def processor() -> dict:
    """Returns the processor's name, the cores available to this process, and the state of AMX."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.exists() else ""
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    has_unit = "amx_tile" in fields.get("flags", "").split()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": fields.get("model name") or platform.processor() or platform.machine(),
        "cores": cores,
        # `runtime.timing` disables it in the process that measures latencies.
        "amx": "on in training, off in timings" if has_unit else "absent",
    }


def command_line(words: Sequence[str]) -> str:
    """Returns the command `words` without the directories of this machine."""
    hidden = ["--data_dir=DIRECTORY" if word.startswith("--data_dir=") else word for word in words]
    if hidden and Path(hidden[0]).is_absolute():
        hidden[0] = "/".join(Path(hidden[0]).parts[-2:])
    return shlex.join(["python", *hidden])


def provenance() -> dict:
    """Returns commit, command, versions and processor of this process, for the JSON of a result."""
    # As it was typed: commands remove words from sys.argv.
    command = command_line(sys.orig_argv[1:])
    return {"commit": commit(), "command": command, "versions": versions(), **processor()}
