"""LiteRT.js, the runtime of `try.html`: downloaded on demand, pinned by version and checksums."""

import contextlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from hashlib import sha256
from pathlib import Path

from tfsegkd.atomic import put_in_place

PACKAGE, VERSION = "@litertjs/core", "2.5.3"
# The `compat` build needs wasm SIMD, which all browsers have, but not relaxed SIMD, which some lack and which
# does not make int8 networks faster in Chromium.
CORE, LOADER, WASM = (
    "dist/index.js",
    "wasm/litert_wasm_compat_internal.js",
    "wasm/litert_wasm_compat_internal.wasm",
)
CHECKSUMS = {
    CORE: "e7daccc3a31eef890848a737ccb863ded5f046a6b40c3fdc0556495adeb5d9b3",
    LOADER: "4d8f894b7883654fd6e8439730aa41e79ceaab7d19184fc4f1f0b0f1a2a2c8a5",
    WASM: "5255c8ad06eabdbd2522cdebf6b22fc10faf74625c23a49b9e072570cd1fa41c",
}
# Serves the files of the npm package to pages of any origin.
HOST = "cdn.jsdelivr.net"
CDN = f"https://{HOST}/npm/{PACKAGE}@{VERSION}"
_HOW = f"Unpack what `npm pack {PACKAGE}@{VERSION}` downloads, or leave `web_runtime` out"
# Paths of the package below a directory: after `npm pack` and tar, after `npm install`, or itself.
_PATHS = ("package", f"node_modules/{PACKAGE}", PACKAGE, "")
_SECONDS = 120


class RuntimeUnavailableError(OSError):
    """The runtime is neither in a directory nor available from npm."""


def check_web_runtime(directory: str | os.PathLike | None) -> None:
    """Checks that a directory, if given, contains the runtime of `try.html`.

    Raises:
        ValueError: if it contains no such package, another version, or other files.
    """
    if directory is not None:
        web_runtime_files(directory)


def web_runtime_files(directory: str | os.PathLike | None = None) -> dict[str, bytes]:
    """Returns the files of LiteRT.js that a page needs, by name, with verified checksums.

    Args:
        directory: The directory of the unpacked npm package. Without it, npm downloads the package once, into
            `~/.cache/tfsegkd`.

    Raises:
        ValueError: if the directory contains no such package, another version, or other files.
        RuntimeUnavailableError: if there is no directory, and no npm, or npm cannot download.
    """
    if directory is not None:
        return _read(_package_in(Path(directory)))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept = cache / "tfsegkd" / f"litertjs-core-{VERSION}"
    with contextlib.suppress(ValueError, OSError):
        return _read(kept)
    return _download(kept)


def _package_in(directory: Path) -> Path:
    for path in _PATHS:
        described = directory / path / "package.json"
        if not described.is_file():
            continue
        try:
            package = json.loads(described.read_text(encoding="utf-8"))
            found = package["name"], package["version"]
        except (ValueError, KeyError, TypeError):
            continue
        if found[0] != PACKAGE:
            continue
        if found[1] != VERSION:
            raise ValueError(
                f"{str(described.parent)!r} contains {PACKAGE} {found[1]}. Expected version {VERSION}, with "
                f"which the page is tested. {_HOW}."
            )
        return described.parent
    raise ValueError(f"No npm package {PACKAGE} {VERSION} in `web_runtime={str(directory)!r}`. {_HOW}.")


def _read(package: Path) -> dict[str, bytes]:
    """Returns the files of an unpacked package, after checking them."""
    files = {}
    for name, checksum in CHECKSUMS.items():
        path = package / name
        if not path.is_file():
            raise ValueError(f"{str(path)!r} is missing. Expected {PACKAGE} {VERSION}, complete. {_HOW}.")
        files[name] = path.read_bytes()
        found = sha256(files[name]).hexdigest()
        if found != checksum:
            raise ValueError(
                f"{str(path)!r} is not the file of {PACKAGE} {VERSION}: expected the SHA-256 {checksum}. "
                f"Received: {found}. {_HOW}."
            )
    return files


def _download(kept: Path) -> dict[str, bytes]:
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeUnavailableError("npm is not on the path")
    with tempfile.TemporaryDirectory() as temporary:
        # In an empty directory, without the settings of a project.
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--fetch-retries=1"]
        try:
            subprocess.run(command, cwd=temporary, check=True, capture_output=True, timeout=_SECONDS)
            archive = next(Path(temporary).glob("*.tgz"))
            with tarfile.open(archive) as packed:
                packed.extractall(temporary, filter="data")
        except (subprocess.SubprocessError, OSError, StopIteration, tarfile.TarError) as error:
            raise RuntimeUnavailableError(f"npm could not download {PACKAGE} {VERSION}") from error
        files = _read(Path(temporary) / "package")
    # Without a writable cache the package is downloaded each time.
    with contextlib.suppress(OSError):
        _keep(files, kept)
    return files


def _keep(files: dict[str, bytes], kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{kept.name}.", dir=kept.parent))
    try:
        for name, content in files.items():
            (unfinished / name).parent.mkdir(exist_ok=True)
            (unfinished / name).write_bytes(content)
        put_in_place(unfinished, kept)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
