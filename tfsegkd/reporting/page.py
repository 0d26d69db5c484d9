"""`report.html`: the report of runs."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from tfsegkd.atomic import write_atomically
from tfsegkd.data import Source, same_fingerprint
from tfsegkd.deprecation import renamed_arguments
from tfsegkd.reporting import figures, summary
from tfsegkd.reporting.images import Examination, chosen, examine, pictures
from tfsegkd.reporting.run import RunRecord, read_runs
from tfsegkd.runtime import profile

_PARTS = Path(__file__).parent / "page"


def check_installed() -> None:
    """Checks that reports can be written.

    Raises:
        ImportError: if not.
    """
    try:
        import jinja2  # noqa: F401
        import plotly.offline  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"report.html needs {error.name}, which is not installed. Run pip install 'tfsegkd[report]'."
        ) from None


@renamed_arguments(max_frames="max_images")
def write_report(
    directories: Sequence[str | os.PathLike],
    path: str | os.PathLike,
    source: Source | None = None,
    why_no_source: str = "no data set was given",
    num_images: int = 24,
    max_images: int = 200,
) -> Path:
    """Writes a report of runs, finished or not: one page that needs no other file and no network connection.

    Args:
        directories: The directories of the runs.
        path: The file to write.
        source: The validation split of the runs, for images and the comparison of float and int8; without it
            the page contains the records of the runs.
        why_no_source: The reason on the page if there is no source.
        num_images: The number of images to show, half of them the worst.
        max_images: The number of evenly spaced images of the split that are evaluated.

    Returns:
        Where the page is.

    Raises:
        FileNotFoundError: if a directory contains no run.
        ValueError: if a run is damaged, if the runs were evaluated on different data, or if `source` is other
            data.
        ImportError: if Plotly or Jinja are not installed.

    Example:
        reporting.write_report(["saved_models/quickstart"], "report.html")
    """
    check_installed()
    runs = read_runs(directories)
    examination = None
    if source is not None:
        _check_source(runs, source)
        if any(run.networks for run in runs):
            examination = examine(runs, source, max_images)
        else:
            why_no_source = "no network is finished"
    text = _render(runs, examination, why_no_source, num_images)
    path = Path(path)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return path


def _check_source(runs: Sequence[RunRecord], source: Source) -> None:
    for run in runs:
        split = run.validation
        if split and not same_fingerprint(split["fingerprint"], source.fingerprint()):
            raise ValueError(
                f"Run {run.title!r} was measured on {split['examples']} images of {split['dataset']!r} "
                f"({split['fingerprint']}). Received: {len(source)} images of {source.info.name!r} "
                f"({source.fingerprint()}). Pass the split that the run was validated on."
            )


def _render(
    runs: Sequence[RunRecord], examination: Examination | None, why_no_source: str, num_images: int
) -> str:
    import jinja2
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PARTS), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_function"] = _strict_json
    environment.filters |= {"bytes": summary.size, "spread": summary.spread}
    raw = {name: jinja2.utils.markupsafe.Markup(text) for name, text in _scripts(get_plotlyjs()).items()}
    first = runs[0]
    shown = _frames(runs, examination, num_images)
    return environment.get_template("report.html").render(
        **raw,
        runs=runs,
        title=summary.result_sentence(runs),
        headline_figures=summary.headline_figures(first) if len(runs) == 1 else [],
        groups=summary.grouped(runs) if len(runs) > 1 else [],
        baselines=[summary.baseline(run) for run in runs],
        validation=first.validation,
        size=(first.final or {}).get("input_size") or first.settings.get("size"),
        commands=[summary.command(run.flags) if run.flags else "" for run in runs],
        pruned=any(run.pruning for run in runs),
        searched=any(run.report.get("search") for run in runs),
        examined=len(examination.indices) if examination else 0,
        why_no_pictures=why_no_source,
        data={
            "shared": {"trade": {"choices": [_trade(runs)]}},
            "runs": [_of_run(number, run, examination, why_no_source) for number, run in enumerate(runs)],
            "images": shown,
            "classes": list(first.classes),
            "palette": [list(color) for color in examination.source.info.palette] if examination else [],
            "ignore_label": examination.source.info.ignore_label if examination else 255,
        },
    )


def _scripts(plotly: str) -> dict[str, str]:
    parts = {name: (_PARTS / f"report.{name}").read_text(encoding="utf-8") for name in ("css", "js")}
    return {**parts, "plotly": plotly}


def _strict_json(content, **options) -> str:
    # Browsers cannot parse NaN.
    return json.dumps(content, allow_nan=False, ensure_ascii=False, **options)


def _frames(runs, examination, num_images) -> list[dict]:
    if examination is None:
        return []
    finals = [(number, list(run.networks)[-1]) for number, run in enumerate(runs) if run.networks]
    return pictures(examination, chosen(examination, finals, num_images))


def _trade(runs: Sequence[RunRecord]) -> dict:
    plots, costs = [], [("latency_ms", 1, "latency", "ms"), ("file_bytes", 1e-6, "file size", "MB")]
    notes = []
    if len(runs) > 1:
        costs.append(("macs", 1e-6, "computation", "MMACs"))
        notes.append(
            "The networks of one run are timed side by side; those of different runs at different times, "
            "when the machine may have been busier. Files and MACs compare across runs."
        )
        if any(row.get("arm_instructions") for run in runs for row in run.stages):
            costs.append(("arm_instructions", 1e-6, "Arm instructions", "M"))
            notes.append(
                "So do Arm instructions of int8 files, which are counted; they are not milliseconds."
            )
    for key, scale, what, unit in costs:
        points = [
            figures.Point(
                run.title if len(runs) > 1 else "", row["name"], 100 * row["mean_iou"], scale * row[key]
            )
            for run in runs
            for row in run.stages
            if row.get(key)
        ]
        if points:
            plots.append(figures.trade(points, what, unit))
    return _choice("", plots, notes)


def _of_run(number: int, run: RunRecord, examination: Examination | None, why_no_source: str) -> dict:
    """Returns the figures of a run by section, or the reasons why there are none."""
    return {
        "title": run.title,
        "networks": list(run.networks),
        "sections": {
            "search": _search(run),
            "classes": _classes(run),
            "confusion": _confusions(number, run, examination, why_no_source),
            "training": _section(
                [_choice(stage, figures.training(curves)) for stage, curves in run.curves.items()],
                "This run has no training log.",
            ),
            "int8": _int8(number, run, examination, why_no_source),
            "channels": _channels(number, run, examination),
            "ops": _ops(run),
        },
    }


def _search(run: RunRecord) -> dict:
    found = run.report.get("search")
    if not found:
        return _section([], "This run was not given a budget.")
    plots = [figures.search(found, kind, summary.COSTS[kind]) for kind in found["limits"]]
    return _section([_choice("", plots, summary.searched(found))])


def _classes(run: RunRecord) -> dict:
    ious = {}
    for row in run.stages:
        # Before their mean, so that the last one is the final network of the run.
        ious |= {f"{row['name']}: {each['name']}": each["iou"] for each in row.get("members", ())}
        if row.get("iou"):
            ious[row["name"]] = row["iou"]
    return _section(
        [_choice("", [figures.class_ious(ious)])] if ious else [], "No stage has been evaluated yet."
    )


def _confusions(number, run, examination, why_no_source) -> dict:
    choices = []
    for row in reversed(run.stages):
        matrix, on = run.confusion(row["name"]), "the whole split"
        if matrix is None and examination and (number, row["name"]) in examination.confusions:
            matrix = examination.confusions[number, row["name"]].tolist()
            on = f"{len(examination.indices)} images"
        if matrix is not None:
            plot, notes = figures.confusion(matrix, run.classes)
            choices.append(_choice(row["name"], [plot], [*notes, f"Counted over {on}."]))
    return _section(choices, f"There is no confusion matrix, and {why_no_source}.")


def _int8(number, run, examination, why_no_source) -> dict:
    if run.float_student is None:
        return _section([], "This run has no int8 file beside a float network.")
    if examination is None:
        return _section([], f"The networks could not be compared: {why_no_source}.")
    plot, notes = figures.disagreement(examination.disagreements[number], run.classes, run.float_student)
    notes.append(f"Counted over {len(examination.indices)} images.")
    agreement = run.report.get("int8_agreement")
    if agreement is not None:
        notes.append(
            f"The int8 file predicts the same class as the network it was converted from in "
            f"{100 * agreement:.2f} % of the pixels: this is the effect of conversion alone, without "
            f"fine-tuning."
        )
    if run.report.get("quantization"):
        notes.append(summary.tried(run.report["quantization"]))
    return _section([_choice("", [plot], notes)])


def _channels(number, run, examination) -> dict:
    report = run.pruning
    if report is None:
        return _section([], "No channels were pruned in this run.")
    if examination is None:
        return _section([], "The widths of layers are unknown, because the networks were not loaded.")
    widths, before, after = examination.widths[number], report["before"], report["after"]
    if all(widths.get(name, 0) <= len(kept) for name, kept in report["kept"].items()):
        return _section([], "The network before pruning is not among the files of this run.")
    notes = [
        f"Pruned to {report['target']} by {report['importance']}: {before['macs'] / 1e6:,.1f} → "
        f"{after['macs'] / 1e6:,.1f} MMACs, {before['parameters']:,} → {after['parameters']:,} parameters."
    ]
    return _section([_choice("", [figures.channels(report["kept"], widths)], notes)])


def _ops(run: RunRecord) -> dict:
    path = run.networks.get("int8")
    if path is None:
        return _section([], "This run has no int8 file.")
    plot, notes = figures.ops(profile(path))
    layers = run.report.get("grouped_layers")
    plots = [plot, figures.grouped_layers(layers)] if layers else [plot]
    return _section([_choice("", plots, notes)])


def _section(choices: list[dict], missing: str = "") -> dict:
    return {"choices": choices, "missing": "" if choices else missing}


def _choice(label: str, plots: Sequence[figures.Plot], notes: Sequence[str] = ()) -> dict:
    return {"label": label, "plots": [plot.to_json() for plot in plots], "notes": list(notes)}
