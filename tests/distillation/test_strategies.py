"""Two devices do what one does."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def runs():
    # Devices can be divided only before TensorFlow starts.
    script = Path(__file__).with_name("two_devices.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def close(one, other, rtol=1e-4):
    for name, value in one.items():
        np.testing.assert_allclose(value, other[name], rtol=rtol, atol=1e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["terms", "accumulation", "critic"])
def test_two_devices_train_as_one(runs, case):
    one, two = runs[case]
    # The critic's penalty is measured at random points.
    skip = ("loss", "holistic", "holistic_critic") if case == "critic" else ()
    close({name: value for name, value in one["logs"].items() if name not in skip}, two["logs"])
    close(one["evaluation"], two["evaluation"])
    assert one["step"] == two["step"] == (2 if case == "accumulation" else 4)
    for weight, other in zip(one["weights"], two["weights"], strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-4, atol=1e-4 if case == "critic" else 1e-6)
    assert np.isfinite(list(two["logs"].values())).all()
