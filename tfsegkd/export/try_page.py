"""The page `try.html`, which runs a .tflite in a browser on a photo or the camera."""

import base64
import dataclasses
import gzip
import html
import io
import json
import math
import os
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tfsegkd import runtime
from tfsegkd.atomic import write_atomically
from tfsegkd.data.labels import distinct_colors
from tfsegkd.data.source import DatasetInfo
from tfsegkd.export import web_runtime as litert
from tfsegkd.runtime.network import load_interpreter

TRY_PAGE = "try.html"
# The input and output types that LiteRT.js supports.
_DTYPES = ("float32", "uint8")
_RUNTIME_PARTS = {"core": litert.CORE, "loader": litert.LOADER, "wasm": litert.WASM}
_INLINE = f"LiteRT.js {litert.VERSION} is inside: the page makes no request"


@dataclasses.dataclass(frozen=True)
class TryPage:
    """A written page.

    Args:
        path: The page.
        file_bytes: Its size.
        offline: Whether the page contains the runtime; otherwise the browser loads it.
        note: The same as a sentence, with the reason.

    Example:
        page = export.write_try_page("try.html", "student.tflite", info, *source[0])
        page.file_bytes, page.offline
    """

    path: str
    file_bytes: int
    offline: bool
    note: str


def write_try_page(
    path: str | os.PathLike,
    network: str | os.PathLike,
    info: DatasetInfo,
    golden_image: np.ndarray,
    golden_mask: np.ndarray,
    web_runtime: str | os.PathLike | None = None,
    title: str | None = None,
) -> TryPage:
    """Writes an HTML page that runs a network on photos and on the camera.

    It contains the network and LiteRT.js, from `web_runtime` or from npm. If neither is available, the page
    loads LiteRT.js from a public CDN, in the same version and with the same checksums.

    Args:
        path: The file to write; it appears when it is complete.
        network: A .tflite with float32 or uint8 input and output, such as `model_float_io.tflite`.
        info: The classes; without a palette they get default colors.
        golden_image: A test image with which the page checks itself when it opens.
        golden_mask: The predicted labels of the test image on this machine.
        web_runtime: The directory of the unpacked npm package `@litertjs/core`; npm by default.
        title: The title of the page; the file's name by default.

    Returns:
        What was written.

    Shapes:
        golden_image: (H, W, 3), uint8, of the network's input size.
        golden_mask: (H, W), labels.

    Raises:
        ValueError: if LiteRT.js does not support the file's inputs or outputs, the class names, colors or
            test image do not match, or `web_runtime` is not the runtime that the page is tested with.

    Example:
        image, mask = source[0]
        page = export.write_try_page("try.html", "student.tflite", info, image, mask)
    """
    path, network = Path(path), Path(network)
    facts = _network_facts(network, info)
    _check_golden(golden_image, golden_mask, facts)
    parts = {
        "network": network.read_bytes(),
        "golden-labels": golden_mask.astype("<u2").tobytes(),
    }
    try:
        files, missing = litert.web_runtime_files(web_runtime), ""
        parts |= {part: files[name] for part, name in _RUNTIME_PARTS.items()}
        note = _INLINE
    except litert.RuntimeUnavailableError as error:
        missing = str(error)
        note = f"{missing}: the page loads LiteRT.js {litert.VERSION} from {litert.HOST} when it opens"
    facts |= {
        "title": title or network.stem,
        "palette": [list(map(int, color)) for color in info.palette or distinct_colors(info.num_classes)],
        "runtime": _runtime_facts(offline=not missing),
    }
    text = _page(facts, parts, golden_image)
    write_atomically(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))
    return TryPage(str(path), path.stat().st_size, not missing, note=note)


def _network_facts(network: Path, info: DatasetInfo) -> dict[str, Any]:
    # Reports files that are missing, damaged or not for segmentation.
    checked = runtime.Network(network)
    shape, logits = checked.input_shape, checked.output_shape
    interpreter = load_interpreter(network)
    ends = (interpreter.get_input_details()[0], interpreter.get_output_details()[0])
    dtypes = [np.dtype(end["dtype"]).name for end in ends]
    if not set(dtypes) <= set(_DTYPES):
        raise ValueError(
            f"LiteRT.js does not run {network.name!r}: expected {' or '.join(_DTYPES)} input and output. "
            f"Received: {dtypes[0]} in, {dtypes[1]} out. Use model_float_io.tflite, the same int8 network."
        )
    # A single logit has two classes.
    expected = max(logits[2], 2)
    if info.num_classes != expected:
        raise ValueError(
            f"There are {info.num_classes} class names, {list(info.class_names)[:5]} and so on, and "
            f"{network.name!r} predicts {expected} classes. Pass the labels that it was trained with."
        )
    if info.palette and len(info.palette) != expected:
        raise ValueError(
            f"There are {len(info.palette)} colors and {expected} classes. Pass a color for each class, or "
            f"an empty palette."
        )
    return {
        "file": network.name,
        "bytes": network.stat().st_size,
        "size": list(shape[:2]),
        "logits": list(logits),
        "input": dtypes[0],
        # A single logit above this value means class 1.
        "threshold": int(ends[1]["quantization"][1]),
        "classes": list(info.class_names),
        "dataset": info.name,
    }


def _check_golden(image: np.ndarray, mask: np.ndarray, facts: dict[str, Any]) -> None:
    size = tuple(facts["size"])
    if image.dtype != np.uint8 or image.shape != (*size, 3) or mask.shape != size:
        raise ValueError(
            f"The test image must be uint8 {(*size, 3)} and its mask {size}, the network's input. "
            f"Received: {image.dtype} {image.shape}, {mask.shape}. Resize them."
        )


def _runtime_facts(offline: bool) -> dict[str, Any]:
    def integrity(checksum):
        return "sha256-" + base64.b64encode(bytes.fromhex(checksum)).decode()

    return {
        "name": "LiteRT.js",
        "package": litert.PACKAGE,
        "version": litert.VERSION,
        "offline": offline,
        "files": {
            part: {"url": f"{litert.CDN}/{name}", "integrity": integrity(litert.CHECKSUMS[name])}
            for part, name in _RUNTIME_PARTS.items()
        },
    }


def _page(facts: dict[str, Any], parts: dict[str, bytes], golden_image: np.ndarray) -> str:
    folder = resources.files("tfsegkd.export") / "page"
    texts = {
        name.replace(".", "_"): (folder / name).read_text(encoding="utf-8")
        for name in ("try.css", "try.js", "worker.js")
    }
    picture = io.BytesIO()
    Image.fromarray(golden_image).save(picture, "PNG")
    height, width = facts["size"]
    values = {
        **texts,
        "title": html.escape(facts["title"]),
        "license": html.escape((folder / "apache-2.0.txt").read_text(encoding="utf-8")),
        "facts": _in_script(json.dumps(facts, ensure_ascii=False)),
        "connect": "'none'" if facts["runtime"]["offline"] else f"https://{litert.HOST}",
        "runtime": f"LiteRT.js {litert.VERSION}",
        "package": litert.PACKAGE,
        "height": str(height),
        "width": str(width),
        "ratio": f"{width // math.gcd(height, width)} : {height // math.gcd(height, width)}",
        "golden": base64.b64encode(picture.getvalue()).decode(),
        "parts": "\n".join(
            f'<script type="text/plain" id="part-{name}">{_packed(content)}</script>'
            for name, content in parts.items()
        ),
    }
    template = (folder / "try.html").read_text(encoding="utf-8")
    # In one pass, so that inserted text is not searched.
    return re.sub(r"@(\w+)@", lambda match: values[match[1]], template)


def _in_script(text: str) -> str:
    """Returns JSON that is safe inside of a script element."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
