"""Several devices, and several processes, train as one device does."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfsegkd import atomic
from tfsegkd.recipe.strategy import open_workers

WORKER = Path(__file__).with_name("worker.py")


def start(strategy, directory, epochs, config=None):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if config:
        environment["TF_CONFIG"] = json.dumps(config)
    command = [sys.executable, str(WORKER), strategy, str(directory), str(epochs)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def cluster(directory, epochs):
    """Two workers on this machine."""
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            ports.append(probe.getsockname()[1])
    addresses = [f"localhost:{port}" for port in ports]
    return [
        start(
            "multi_worker",
            directory,
            epochs,
            {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}},
        )
        for index in range(2)
    ]


def finish(process):
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, (out + err)[-3000:]
    return parse(out)


def parse(out):
    lines = [line.split(" ", 1) for line in out.splitlines() if line.startswith(("LOGS ", "WEIGHTS "))]
    logs = [json.loads(text) for kind, text in lines if kind == "LOGS"]
    weights = [json.loads(text) for kind, text in lines if kind == "WEIGHTS"]
    return logs, weights[0] if weights else None


def check_same(one, other):
    (logs, weights), (other_logs, other_weights) = one, other
    assert [sorted(epoch) for epoch in logs] == [sorted(epoch) for epoch in other_logs]
    for epoch, other_epoch in zip(logs, other_logs, strict=True):
        for name in epoch:
            np.testing.assert_allclose(epoch[name], other_epoch[name], rtol=1e-4, atol=1e-6, err_msg=name)
    for weight, other_weight in zip(weights, other_weights, strict=True):
        np.testing.assert_allclose(weight, other_weight, rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return finish(start("none", tmp_path_factory.mktemp("alone"), 4))


@pytest.mark.slow
def test_two_devices_train_as_one(alone, tmp_path):
    check_same(alone, finish(start("mirrored", tmp_path, 4)))


@pytest.mark.slow
def test_two_workers_train_as_one_and_the_chief_alone_writes(alone, tmp_path):
    shown = [finish(worker) for worker in cluster(tmp_path, 4)]
    for one in shown:
        check_same(alone, one)
    assert sorted(path.name for path in (tmp_path / "progress").iterdir()) == ["epoch_000003", "epoch_000004"]
    assert not list(tmp_path.rglob(".*.tmp"))


@pytest.mark.slow
def test_a_cluster_that_lost_a_worker_goes_on_after_a_restart(alone, tmp_path):
    workers = cluster(tmp_path, 4)
    before = []
    for line in workers[1].stdout:
        before.append(line)
        if line.startswith("LOGS") and json.loads(line[5:])["epoch"] == 1:
            workers[1].send_signal(signal.SIGKILL)
            break
    # The other one ends by itself, with an error.
    assert workers[0].wait(300) != 0
    logs, _ = parse("".join(before))
    (rest, weights), _ = map(finish, cluster(tmp_path, 4))
    begun = rest[0]["epoch"]
    assert begun in (1, 2), "at most the last checkpoint is lost"
    check_same(alone, (logs[:begun] + rest, weights))


@pytest.mark.parametrize(
    "config", [None, "{", "{}", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}']
)
def test_a_cluster_that_is_not_described(config, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match=r"needs the variable TF_CONFIG.*host1:2222.*Received"):
        open_workers("multi_worker")


def test_who_does_not_write_leaves_nothing(tmp_path):
    with atomic.nothing_kept():
        atomic.write_json(tmp_path / "report.json", {})
        assert not list(tmp_path.iterdir()) and not atomic.keeps()
    atomic.write_json(tmp_path / "report.json", {})
    assert atomic.keeps() and [path.name for path in tmp_path.iterdir()] == ["report.json"]
