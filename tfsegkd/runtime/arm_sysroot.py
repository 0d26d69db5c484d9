"""The system of the emulated Arm core: libraries, Python, LiteRT, and files that describe the core.

Created once in a cache directory from Debian's and PyPI's packages for arm64. Downloads are kept until it is
complete, so that an interrupted call can resume.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tfsegkd import checks, posix
from tfsegkd.atomic import write_atomically
from tfsegkd.progress_bar import waited

QEMU = "qemu-aarch64"
_SOURCE = Path(__file__).parent / "arm_plugin" / "instructions.c"
# The Debian package of each program.
_PACKAGE_OF = {QEMU: "qemu-user", "gcc": "gcc", "apt-get": "apt", "dpkg": "dpkg"}
_LIBRARIES = ("libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libexpat1", "libffi8")
_PYTHON = ("python{0}-minimal", "libpython{0}-minimal", "libpython{0}-stdlib")
_WHEELS = ("numpy<2.3", "flatbuffers")
_PLATFORMS = ("manylinux2014", *(f"manylinux_2_{minor}" for minor in (17, 26, 27, 28, 31, 34, 35, 36)))
_ARMV8_0 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_ARMV8_2 = f"{_ARMV8_0} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"
# The part number and the features of each core, as in /proc/cpuinfo.
CORES = {
    "cortex-a76": (0xD0B, _ARMV8_2),
    "cortex-a72": (0xD08, _ARMV8_0),
    "cortex-a57": (0xD07, _ARMV8_0),
    "cortex-a53": (0xD03, _ARMV8_0),
    "cortex-a35": (0xD04, _ARMV8_0),
    "neoverse-n1": (0xD0C, _ARMV8_2),
}
_CPUINFO = """processor\t: 0
BogoMIPS\t: 243.75
Features\t: {1}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: {0:#05x}
CPU revision\t: 1

"""
_CPU = "sys/devices/system/cpu"
# One processor: without these files the emulator would pass on those of the host to LiteRT.
_SYSTEM = {
    **{f"{_CPU}/{name}": "0\n" for name in ("possible", "present", "online", "kernel_max")},
    f"{_CPU}/cpu0/cpufreq/cpuinfo_max_freq": "2400000\n",
    f"{_CPU}/cpu0/cpufreq/cpuinfo_min_freq": "300000\n",
    f"{_CPU}/cpu0/topology/physical_package_id": "0\n",
    f"{_CPU}/cpu0/topology/core_siblings": "1\n",
    f"{_CPU}/cpu0/topology/core_siblings_list": "0\n",
}


def cache_directory() -> Path:
    """Returns the directory of the system: below `TFSEGKD_CACHE`, or else in the user's cache."""
    own = os.environ.get("TFSEGKD_CACHE")
    users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(own) if own else Path(users) / "tfsegkd").absolute() / "arm"


def qemu_version() -> tuple[int, ...]:
    """Returns the version of the emulator.

    Raises:
        FileNotFoundError: if it is not installed.
    """
    _check_installed([QEMU], "Arm instructions are counted in an emulator")
    said = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+(?:\.\d+)*)", said)
    if not found:
        raise OSError(
            f"{QEMU} does not print its version. Received: {said[:100]!r}. Install qemu-user again."
        )
    return tuple(map(int, found[1].split(".")))


def plugin() -> Path:
    """Returns the emulator's plugin, compiled by the first call."""
    fingerprint = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:8]
    if not any(cache_directory().glob(f"instructions-*-{fingerprint}.so")):
        _check_installed([QEMU, "gcc"], "Arm instructions are counted in an emulator, by a plugin to compile")
    # Version 9 counts per virtual processor, and rejects plugins that do not.
    api = 1 if qemu_version() < (9,) else 2
    path = cache_directory() / f"instructions-{api}-{fingerprint}.so"
    if not path.exists():
        _check_installed(["gcc"], "The plugin that counts instructions must be compiled")
        options = ["-shared", "-fPIC", "-O2", "-fvisibility=hidden", f"-DQEMU_API={api}"]
        write_atomically(path, lambda unfinished: _call(["gcc", *options, "-o", unfinished, _SOURCE]))
    return path


def sysroot(core: str) -> Path:
    """Returns the root directory of the emulated core's files, created by the first call.

    Raises:
        ValueError: for a core that is not in `CORES`.
        OSError: if it cannot be created; the message says what is missing.
    """
    part, features = CORES[checks.one_of(core, CORES, "core")]
    litert = importlib.metadata.version("ai-edge-litert")
    directory = cache_directory() / f"litert-{litert}"
    with _alone(cache_directory()):
        if not directory.exists():
            with waited("creating the system of the emulated Arm core"):
                _make(directory, litert)
        root = directory / "cores" / core
        if not root.exists():
            _make_core(root, directory, {"proc/cpuinfo": _CPUINFO.format(part, features), **_SYSTEM})
    return root


def python(root: Path) -> Path:
    """Returns the Python of a sysroot."""
    return next((root / "usr" / "bin").glob("python3.*"))


def _make(directory: Path, litert: str) -> None:
    _check_installed(["apt-get", "dpkg"], "The emulated core's system needs Debian's packages for arm64")
    downloads = directory.parent / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    minor = _download_debian(downloads / "debian")
    _download_wheels(downloads / "wheels", minor, f"ai-edge-litert=={litert}")
    with tempfile.TemporaryDirectory(prefix=".unfinished_", dir=directory.parent) as scratch:
        root = Path(scratch, "root")
        root.mkdir()
        for package in sorted((downloads / "debian").glob("*.deb")):
            _call(["dpkg", "-x", package, root])
        for wheel in sorted((downloads / "wheels").glob("*.whl")):
            shutil.unpack_archive(wheel, root / "site", "zip")
        os.replace(root, directory)
    shutil.rmtree(downloads)


def _make_core(root: Path, directory: Path, files: dict[str, str]) -> None:
    root.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unfinished_", dir=root.parent) as scratch:
        unfinished = Path(scratch, "root")
        for name, text in files.items():
            (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
            (unfinished / name).write_text(text)
        for name in ("usr", "lib", "site"):
            if (directory / name).exists():
                (unfinished / name).symlink_to(directory / name)
        os.replace(unfinished, root)


def _download_debian(directory: Path) -> str:
    """Unpacks Debian's packages for arm64; returns the version of their Python, such as 3.11."""
    lists = directory / "lists"
    for path in (lists / "partial", directory / "cache"):
        path.mkdir(parents=True, exist_ok=True)
    options = [f"-oDir::State::Lists={lists}", f"-oDir::Cache={directory / 'cache'}"]
    options += ["-oAPT::Architecture=arm64", "-oAPT::Architectures=arm64", "-oAPT::Sandbox::User=root"]
    what = "Debian's packages for arm64"
    _call(["apt-get", *options, "-qq", "-oAPT::Update::Error-Mode=any", "update"], what)
    shown = _call(["apt-cache", *options, "show", "python3-minimal"], what)
    minor = re.search(r"python(3\.\d+)-minimal", shown)[1]
    names = [*(name.format(minor) for name in _PYTHON), *_LIBRARIES]
    _call(["apt-get", *options, "-qq", "download", *names], what, directory)
    return minor


def _download_wheels(directory: Path, minor: str, litert: str) -> None:
    platforms = [part for name in _PLATFORMS for part in ("--platform", f"{name}_aarch64")]
    options = ["--no-deps", "--only-binary=:all:", "--implementation=cp", f"--python-version={minor}"]
    command = [sys.executable, "-m", "pip", "download", "-q", *options, *platforms, "-d", directory]
    _call([*command, litert, *_WHEELS], "PyPI's packages for aarch64")


def _check_installed(programs: list[str], why: str) -> None:
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        packages = " ".join(_PACKAGE_OF[name] for name in missing)
        raise FileNotFoundError(
            f"{why}. Not installed here: {', '.join(missing)}. On Debian: apt-get install {packages}."
        )


def _call(command: list, what: str = "", directory: Path | None = None) -> str:
    """Runs a program and returns its output; an error becomes one line."""
    done = subprocess.run([*map(str, command)], cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout
    lines = [line for line in done.stderr.splitlines() if re.match(r"(E|ERROR)\b|.*error:", line)]
    said = (lines or done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
    kept = f" Downloads are kept in {str(cache_directory())!r}; run the same command again." if what else ""
    raise OSError(f"{Path(command[0]).name} cannot {'get ' + what if what else 'do its work'}: {said}.{kept}")


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """A lock, so that one process creates what all use."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        posix.lock(lock, wait=True)
        yield
