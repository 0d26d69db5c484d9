"""Work in a copy of this process; the processes that are copied are small ones of their own."""

import os
import signal
import subprocess
import sys
import time

from tfsegkd.runtime.in_subprocess import computes, in_subprocess

_SCRIPT = """
import os, signal, sys, time
import numpy as np
import tensorflow as tf
from tfsegkd.runtime.in_subprocess import in_subprocess, computes

def here():
    return os.getpid()

def counts():
    global seen
    seen = "there"
    return float(tf.reduce_sum(tf.ones(3))), computes()

def fails():
    raise FileNotFoundError("No mask beside 'one.png'.")

class Odd(Exception):
    def __init__(self, one, two):
        super().__init__("odd")

def odd():
    raise Odd(1, 2)

def killed():
    os.kill(os.getpid(), signal.SIGKILL)

def held():
    os.write(1, f"{os.getpid()}\\n".encode())
    time.sleep(600)

def caught(work):
    try:
        in_subprocess(work)
    except Exception as error:
        return type(error).__name__, str(error), getattr(error, "__notes__", [""])[0]

seen = "here"
assert not computes()
assert in_subprocess(here) != os.getpid()
assert in_subprocess(counts) == (3.0, True)
assert not computes() and seen == "here"
assert in_subprocess(lambda: np.arange(3)).tolist() == [0, 1, 2]
kind, message, note = caught(fails)
assert (kind, message) == ("FileNotFoundError", "No mask beside 'one.png'.") and "in fails" in note, note
assert caught(odd)[:2] == ("RuntimeError", "Odd: odd")
assert caught(killed)[:2] == ("ChildProcessError",
    "a process stopped: killed by SIGKILL, often a sign of too little memory")
in_subprocess(held)
"""


def test_a_copy_takes_its_traces_along_and_brings_back_what_was_found(tmp_path):
    (tmp_path / "script.py").write_text(_SCRIPT)
    log = (tmp_path / "log.txt").open("w+")
    script = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")], stdout=subprocess.PIPE, stderr=log, text=True
    )
    said = script.stdout.readline().strip()
    log.seek(0)
    assert said, log.read()
    # What is killed takes its copy with it, or the copy would go on writing where the next run begins.
    copy = int(said)
    assert _runs(copy)
    os.kill(script.pid, signal.SIGKILL)
    script.wait()
    for _ in range(100):
        if not _runs(copy):
            break
        time.sleep(0.05)
    assert not _runs(copy)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_where_tensorflow_computes_nothing_can_be_copied():
    import tensorflow as tf

    tf.constant(1)
    assert computes()
    assert in_subprocess(os.getpid) == os.getpid()
