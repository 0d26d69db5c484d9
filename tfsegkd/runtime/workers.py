"""Child processes, for work that would leave its traces in ours."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def run(script: str, request: dict[str, Any], seconds: float | None = None) -> dict[str, Any]:
    """Runs a script of this folder in a Python of its own and returns what it answers.

    The script is called with two paths: a JSON file that holds `request`, and one for its JSON answer. An
    answer with the key "error" says what was wrong with the request. After `seconds` it is stopped.

    Raises:
        ValueError: if the script answered with an error; the message is one line.
        RuntimeError: if the script stopped without an answer.
    """
    # The child finds the packages that we found, whatever was done to sys.path here.
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as directory:
        asked, answered = Path(directory, "request.json"), Path(directory, "answer.json")
        asked.write_text(json.dumps(request))
        # -P: the names of the files in this folder shadow nothing that the child imports.
        command = [sys.executable, "-P", str(Path(__file__).parent / script), str(asked), str(answered)]
        try:
            child = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{script} did not answer in {seconds:g} seconds.") from None
        if child.returncode != 0 or not answered.exists():
            raise RuntimeError(f"{script} stopped before it answered: {_cause(child)}.")
        answer = json.loads(answered.read_text())
    if "error" in answer:
        raise ValueError(answer["error"])
    return answer


def _cause(child: subprocess.CompletedProcess) -> str:
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        return f"killed by {name}" + (", often a sign of too little memory" if name == "SIGKILL" else "")
    lines = child.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {child.returncode}"
