"""What a run says at its end."""

import importlib.metadata
import platform

_PACKAGES = (
    "tfsegkd",
    "tensorflow",
    "tf-keras",
    "tensorflow-model-optimization",
    "ai-edge-litert",
    "keras-cv",
)
_COLUMNS = (
    ("stage", "name", "{}"),
    ("mean IoU %", "mean_iou", "{:.2f}", 100),
    ("parameters", "parameters", "{:,}"),
    ("MMACs", "macs", "{:.1f}", 1e-6),
    ("file KB", "file_bytes", "{:,.0f}", 1e-3),
    ("ms, 1 thread", "latency_ms", "{:.2f}"),
)
# Where the user has measured.
_DEVICE = ("ms, your device", "device_ms", "{:.2f}")


def versions() -> dict[str, str]:
    """The versions that made a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


def print_table(rows: list[dict]) -> None:
    """Prints a line a stage."""
    columns = [*_COLUMNS, _DEVICE] if any("device_ms" in row for row in rows) else _COLUMNS
    cells = [[column[0] for column in columns]]
    cells += [[_cell(row.get(key), form, *scale) for _, key, form, *scale in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        first, *others = (text for text in line)
        padded = [first.ljust(widths[0])]
        padded += [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        print("  ".join(padded))


def _cell(value, form, scale=None):
    if value is None:
        return "–"
    return form.format(value * scale if scale else value)
