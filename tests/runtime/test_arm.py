"""Instructions on an emulated Arm core: how they are read, what is said where they cannot be counted.

Tests marked `arm` run the emulator itself.
"""

import importlib.metadata
import os
import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest

from tfsegkd.runtime import Network, arm, arm_sysroot, profile
from tfsegkd.runtime.arm_guest import MARK

# Stands for a compiler that writes how it was called.
COMPILER = f"""#!{sys.executable} -E
import sys
open(sys.argv[sys.argv.index("-o") + 1], "w").write(str(sys.argv))
"""
UNPACKER = """#!/bin/sh
/bin/mkdir -p "$3/usr/bin"
: > "$3/usr/bin/python3.11"
: > "$3/$(/usr/bin/basename "$2")"
"""
# Ends as the emulator would: the answer, and marks that grow by what the test's file "growth" says.
EMULATOR = f"""#!{sys.executable} -E
import json, pathlib, sys
if sys.argv[1:] == ["--version"]:
    print("qemu-aarch64 version 7.2.22 (Debian 1:7.2)")
    sys.exit()
if "gone" in sys.argv[2]:
    sys.exit("qemu-aarch64: unable to find CPU model 'gone'")
here = pathlib.Path(sys.argv[0]).parent
request = json.loads(pathlib.Path(sys.argv[-2]).read_text())
growth, total, lines = json.loads((here / "growth").read_text()), 1000, []
for number, step in enumerate(growth):
    lines.append(f"{{2 * number}} {{total}}")
    total += step or 0
    if step is not None:
        lines.append(f"{{2 * number + 1}} {{total}}")
errors = {{str(n): "no kernel" for n, step in enumerate(growth) if step is None}}
pathlib.Path(sys.argv[-1]).write_text(json.dumps({{"errors": errors}}))
pathlib.Path(sys.argv[4].split("marks=")[1]).write_text("\\n".join(lines))
"""


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Returns a function that puts a program of its own on the path, where nothing else is."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setenv("TFSEGKD_CACHE", str(tmp_path / "cache"))

    def add(name: str, text: str):
        path = directory / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return add


@pytest.fixture
def emulator(programs, tmp_path):
    """A function that makes an emulator of which each file in turn takes so many instructions."""

    def make(*growth):
        programs("qemu-aarch64", EMULATOR)
        (tmp_path / "bin" / "growth").write_text(str(list(growth)).replace("None", "null"))
        litert = importlib.metadata.version("ai-edge-litert")
        directory = tmp_path / "cache" / "arm" / f"litert-{litert}"
        (directory / "usr" / "bin").mkdir(parents=True)
        (directory / "usr" / "bin" / "python3.11").touch()
        programs("gcc", COMPILER)

    return make


def test_the_counts_are_what_two_marks_count_above_nothing(files, emulator):
    ops = [f"{kind}" for kind, number in profile(files["int8"]).ops.items() for _ in range(number)]
    emulator(5007, *(100 * n + 7 for n in range(len(ops))), 7)
    found = arm.count(files["int8"])
    assert (found.instructions, found.core) == (5000, "cortex-a76")
    assert [one.instructions for one in found.ops] == [100 * n for n in range(len(ops))]
    assert sorted(one.op.split()[0] for one in found.ops) == sorted(ops)


def test_files_share_one_start_of_the_emulator(files, emulator):
    emulator(30, 50, 10)
    found = arm.count_together([files["int8"], files["float"]], ops=False)
    assert [(one.instructions, one.ops) for one in found] == [(20, ()), (40, ())]


def test_an_op_that_does_not_run_alone_has_no_count_and_a_file_is_refused(files, emulator):
    number = sum(profile(files["int8"]).ops.values())
    emulator(50, None, *[20] * (number - 1), 10)
    assert [one.instructions for one in arm.count(files["int8"]).ops] == [None, *[10] * (number - 1)]


def test_a_file_that_does_not_run_there_is_refused(files, emulator):
    emulator(None, 10)
    with pytest.raises(ValueError, match=r"int8\.tflite.*cortex-a76.*no kernel"):
        arm.count(files["int8"], ops=False)


def test_what_is_no_network_is_refused(tmp_path):
    path = tmp_path / "network.tflite"
    path.write_bytes(b"TFL3 no network")
    with pytest.raises(ValueError, match="LiteRT cannot load"):
        arm.count(path)
    with pytest.raises(ValueError, match=r"gone\.tflite"):
        arm.count(tmp_path / "gone.tflite")


def test_cores_have_names(files, emulator, monkeypatch):
    with pytest.raises(ValueError, match=r"cortex-a76.*pentium"):
        emulator(50, 10)
        arm.count(files["int8"], ops=False, core="pentium")
    # One that an older emulator does not have.
    monkeypatch.setitem(arm_sysroot.CORES, "gone", (0xFFF, "fp asimd"))
    with pytest.raises(OSError, match="unable to find CPU model 'gone'"):
        arm.count(files["int8"], ops=False, core="gone")


def test_without_the_emulator_it_says_what_to_install(files, programs):
    with pytest.raises(FileNotFoundError, match="apt-get install qemu-user"):
        arm.count(files["int8"])


@pytest.mark.parametrize(("version", "api"), [("7.2.22", 1), ("8.2.0", 1), ("9.0.0", 2), ("10.1", 2)])
def test_the_plugin_fits_the_emulator(programs, tmp_path, version, api):
    programs("qemu-aarch64", f"#!/bin/sh\necho 'qemu-aarch64 version {version} (Debian)'\n")
    with pytest.raises(FileNotFoundError, match="apt-get install gcc"):
        arm_sysroot.plugin()
    programs("gcc", COMPILER)
    assert f"-DQEMU_API={api}" in arm_sysroot.plugin().read_text()


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
@pytest.mark.parametrize("api", [1, 2])
def test_the_plugin_compiles_without_a_warning(tmp_path, api):
    options = ["-shared", "-fPIC", "-O2", "-Wall", "-Werror", f"-DQEMU_API={api}"]
    subprocess.run(["gcc", *options, "-o", tmp_path / "plugin.so", arm_sysroot._SOURCE], check=True)


def test_an_interrupted_download_goes_on(programs, tmp_path, monkeypatch):
    """The first call fails half-way: nothing looks finished, and the second fetches only what is missing."""
    count = tmp_path / "calls"
    programs(
        "apt-get",
        f"""#!/bin/sh
for word; do case $word in update) exit 0;; esac; done
[ -e one.deb ] || echo one >> {count}
: > one.deb
[ -e {tmp_path}/network ] || {{ echo 'W: slow' >&2; echo 'E: Failed to fetch two.deb' >&2; exit 100; }}
: > two.deb
""",
    )
    programs("apt-cache", "#!/bin/sh\necho 'Depends: python3.11-minimal (>= 3.11.2-1~)'\n")
    programs("dpkg", UNPACKER)
    monkeypatch.setattr(arm_sysroot, "_download_wheels", lambda directory, minor, litert: None)
    cache = tmp_path / "cache" / "arm"
    with pytest.raises(OSError, match=rf"Debian's packages for arm64: E: Failed.*{cache}"):
        arm_sysroot.sysroot("cortex-a76")
    assert not list(cache.glob("litert-*")) and (cache / "downloads" / "debian" / "one.deb").exists()
    (tmp_path / "network").touch()
    root = arm_sysroot.sysroot("cortex-a76")
    assert count.read_text() == "one\n"
    assert arm_sysroot.python(root).exists() and (root / "usr").is_symlink()
    assert "0xd0b" in (root / "proc" / "cpuinfo").read_text()
    assert sorted(path.name for path in root.parents[1].glob("*.deb")) == ["one.deb", "two.deb"]
    assert not (cache / "downloads").exists() and not list(cache.glob(".unfinished*"))
    # It is there, and nothing is asked for again.
    shutil.rmtree(tmp_path / "bin")
    assert arm_sysroot.sysroot("cortex-a76") == root
    assert "asimddp" not in (arm_sysroot.sysroot("cortex-a53") / "proc" / "cpuinfo").read_text()


def test_the_guest_marks_what_the_plugin_reads():
    source = arm_sysroot._SOURCE.read_text()
    assert f"MARK = {MARK}," in source and "GETPGID = 155," in source


@pytest.mark.arm
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-aarch64"), reason="needs qemu-user")
def test_the_emulator_counts_the_same_twice_and_computes_what_we_compute(files, images):
    first, second = (arm.count(files["int8"]) for _ in range(2))
    assert abs(first.instructions - second.instructions) < 1e-3 * first.instructions
    whole = sum(one.instructions for one in first.ops)
    assert first.instructions == pytest.approx(whole, rel=0.25)
    # 8 channels at 16 × 24 pixels, 27 products each: one instruction multiplies at most 16 pairs of int8.
    conv = next(one for one in first.ops if one.op.startswith("CONV_2D") and "conv0" in one.op)
    assert 16 * 24 * 27 * 8 / 16 < conv.instructions < 16 * 24 * 27 * 8 * 4
    for kind, tolerance in (("int8", 0), ("float_io", 0), ("float", 1e-4)):
        here = Network(files[kind]).predict(images)
        np.testing.assert_allclose(arm.run(files[kind], images), here, atol=tolerance)
    a53 = arm.count(files["int8"], ops=False, core="cortex-a53")
    # It has no dot product.
    assert a53.instructions > first.instructions


@pytest.mark.arm
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-aarch64"), reason="needs qemu-user")
def test_nothing_of_our_environment_reaches_the_core(files, monkeypatch):
    before = arm.count(files["int8"], ops=False).instructions
    monkeypatch.setenv("PYTHONVERBOSE", "1")
    monkeypatch.setenv("LONG", "x" * 4000)
    assert os.environ["LONG"]
    assert abs(arm.count(files["int8"], ops=False).instructions - before) < 1e-3 * before
