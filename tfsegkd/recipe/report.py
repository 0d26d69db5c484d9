"""The summary that a run prints."""

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
# If the user has measured it.
_DEVICE = ("ms, your device", "device_ms", "{:.2f}")
# If they were counted.
_ARM = ("M Arm instructions", "arm_instructions", "{:,.1f}", 1e-6)


def versions() -> dict[str, str]:
    """Returns the versions of the packages."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


def describe_members(teacher: dict, alone: dict | None = None) -> list[str]:
    """Returns a line for each member of an ensemble.

    Args:
        teacher: The row of the ensemble, with `members`.
        alone: The row of the student alone, if there is one.
    """
    scored = [*teacher["members"], {"name": "their mean", "mean_iou": teacher["mean_iou"]}]
    scored += [{"name": "the student alone", "mean_iou": alone["mean_iou"]}] if alone else []
    lines = [f"{row['name']}: mean IoU {row['mean_iou']:.4f} on the validation images" for row in scored]
    best = max(teacher["members"], key=lambda row: row["mean_iou"])
    if best["mean_iou"] > teacher["mean_iou"]:
        lines.append(
            f"warning: the mean is {100 * (best['mean_iou'] - teacher['mean_iou']):.1f} points below "
            f"{best['name']!r}, its best member. Use that one alone, give it more weight, or fit the weights "
            f"by class on held-out images."
        )
    if alone and alone["mean_iou"] >= teacher["mean_iou"]:
        lines.append("warning: the student alone is already as good as this teacher. Use a better teacher.")
    return lines


def print_table(rows: list[dict]) -> None:
    """Prints a line for each stage, and one for each member of an ensemble."""
    measured = [column for column in (_ARM, _DEVICE) if any(column[1] in row for row in rows)]
    columns = [*_COLUMNS, *measured]
    rows = [
        each_row
        for row in rows
        for each_row in (row, *({**each, "name": f"  {each['name']}"} for each in row.get("members", ())))
    ]
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
