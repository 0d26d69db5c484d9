"""The runtime of try.html: the pinned one, from a directory or from npm, or none and a reason."""

import hashlib
import json
import os
import tarfile

import pytest

from tfsegkd.export import check_web_runtime, web_runtime
from tfsegkd.export.web_runtime import PACKAGE, VERSION, RuntimeUnavailableError, web_runtime_files

FILES = {name: f"{name} of a test".encode() for name in web_runtime.CHECKSUMS}


@pytest.fixture(autouse=True)
def pinned(monkeypatch, tmp_path):
    """Small files in place of the real ones, a cache of the test's own, and no npm."""
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    monkeypatch.setattr(web_runtime, "CHECKSUMS", sums)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def package(directory, version=VERSION, name=PACKAGE):
    for file, content in FILES.items():
        (directory / file).parent.mkdir(parents=True, exist_ok=True)
        (directory / file).write_bytes(content)
    (directory / "package.json").write_text(json.dumps({"name": name, "version": version}))
    return directory


def npm(tmp_path, script):
    (tmp_path / "bin").mkdir(exist_ok=True)
    path = tmp_path / "bin" / "npm"
    path.write_text(f"#!/bin/sh\necho $@ >> {tmp_path}/calls\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("place", ["", "package", f"node_modules/{PACKAGE}", PACKAGE])
def test_it_is_found_as_tar_and_npm_unpack_it(place, tmp_path):
    package(tmp_path / "given" / place)
    assert web_runtime_files(tmp_path / "given") == FILES
    check_web_runtime(tmp_path / "given")


def test_another_is_refused(tmp_path):
    with pytest.raises(ValueError, match=rf"No npm package {PACKAGE} {VERSION} in .*npm pack"):
        check_web_runtime(tmp_path)
    package(tmp_path / "older", "2.5.2")
    with pytest.raises(ValueError, match=rf"{PACKAGE} 2\.5\.2\. Expected version 2\.5\.3"):
        check_web_runtime(tmp_path / "older")
    package(tmp_path / "other", name="another")
    with pytest.raises(ValueError, match="No npm package"):
        check_web_runtime(tmp_path / "other")
    changed = package(tmp_path / "changed")
    (changed / web_runtime.WASM).write_bytes(b"something else")
    with pytest.raises(
        ValueError, match=r"compat_internal\.wasm.* is not the file of .*Received: [0-9a-f]{64}"
    ):
        check_web_runtime(changed)
    (changed / web_runtime.WASM).unlink()
    with pytest.raises(ValueError, match=r"compat_internal\.wasm.* is missing"):
        check_web_runtime(changed)
    (changed / "package.json").write_text("{")
    with pytest.raises(ValueError, match="No npm package"):
        check_web_runtime(changed)
    check_web_runtime(None)


def test_npm_downloads_it_once_and_a_damaged_cache_again(tmp_path):
    package(tmp_path / "package")
    with tarfile.open(tmp_path / "core.tgz", "w:gz") as packed:
        packed.add(tmp_path / "package", "package")
    npm(tmp_path, f"/bin/cp {tmp_path}/core.tgz litertjs-core.tgz")
    for _ in range(2):
        assert web_runtime_files() == FILES
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"pack {PACKAGE}@{VERSION} --silent --fetch-retries=1"
    ]
    kept = next((tmp_path / "cache").rglob("index.js"))
    kept.write_bytes(b"damaged")
    assert web_runtime_files() == FILES and kept.read_bytes() == FILES[web_runtime.CORE]
    assert len((tmp_path / "calls").read_text().splitlines()) == 2
    assert [path.name for path in (tmp_path / "cache" / "tfsegkd").iterdir()] == [f"litertjs-core-{VERSION}"]


def test_without_npm_or_its_registry_the_reason_is_told(tmp_path):
    with pytest.raises(RuntimeUnavailableError, match="npm is not on the path"):
        web_runtime_files()
    for script in ("exit 1", "exit 0", "echo no archive > a.tgz"):
        npm(tmp_path, script)
        with pytest.raises(RuntimeUnavailableError, match="npm could not download"):
            web_runtime_files()
    assert not (tmp_path / "cache").exists() or not os.listdir(tmp_path / "cache")


def test_what_npm_brings_is_checked_too(tmp_path):
    package(tmp_path / "package")
    (tmp_path / "package" / web_runtime.LOADER).write_bytes(b"evil")
    with tarfile.open(tmp_path / "core.tgz", "w:gz") as packed:
        packed.add(tmp_path / "package", "package")
    npm(tmp_path, f"/bin/cp {tmp_path}/core.tgz litertjs-core.tgz")
    with pytest.raises(ValueError, match="is not the file of"):
        web_runtime_files()
    assert not (tmp_path / "cache").exists()
