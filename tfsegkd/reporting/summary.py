"""The summary of runs: a sentence, the main numbers, and the command."""

import dataclasses
import shlex
import statistics
from collections.abc import Mapping, Sequence

from tfsegkd.reporting.run import RunRecord

# Difference in points of mean IoU below which two networks are called equal.
_LEVEL = 0.05
_OF_ONE_RUN = ("seed", "output_dir", "debug")
# The lists that a command line gives one value at a time; other lists have commas between their values.
_REPEATED = ("distill", "prune_distill", "group_distill")
# What a budget limits, by its kind.
COSTS = {
    "arm": "Arm instructions an image",
    "bytes": "bytes of the file",
    "macs": "MACs",
    "latency": "ms by the device table",
}


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ only in their seed.

    Args:
        title: The common flags.
        runs: The indices of the runs.
        rows: For each stage its name, the mean IoUs in percent, and the median latencies in ms.
    """

    title: str
    runs: tuple[int, ...]
    rows: tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...]


def result_sentence(runs: Sequence[RunRecord]) -> str:
    """Returns the result in a sentence."""
    if len(runs) == 1:
        return _result_sentence(runs[0])
    finished = [group for group in grouped(runs) if runs[group.runs[0]].final]
    if not finished:
        return f"{len(runs)} runs, none of which has a network yet."
    found = [([run for run in map(runs.__getitem__, group.runs) if run.final], group) for group in finished]
    best, group = max(found, key=lambda pair: statistics.fmean(_scores(pair[0])))
    stage, scores = best[0].final["name"], _scores(best)
    seeds = f" over {len(scores)} seeds" if len(scores) > 1 else ""
    text = _against(best)
    title = f"Best of {len(runs)} runs: {group.title} ({stage}), {spread(scores, 1)}\u00a0% mean IoU{seeds}"
    return f"{title}; {text}." if text else f"{title}."


def _scores(runs: Sequence[RunRecord]) -> list[float]:
    return [100 * run.final["mean_iou"] for run in runs]


def _result_sentence(run: RunRecord) -> str:
    final = run.final
    if final is None:
        return "Nothing is finished yet."
    score, text = f"{100 * final['mean_iou']:.1f}\u00a0% mean IoU", _against([run])
    if not text:
        return f"{_title(final['name'])} reaches {score}."
    return f"{text[0].upper()}{text[1:]}: {score}."


def _against(runs: Sequence[RunRecord]) -> str:
    """Compares the last network with the first; '' if there is only one."""
    pairs = [(baseline(run), run.final) for run in runs]
    if any(base is None for base, _ in pairs):
        return ""
    base, final = pairs[0]
    points = statistics.fmean(100 * (final["mean_iou"] - base["mean_iou"]) for base, final in pairs)
    parts = [
        _ratio(base.get("file_bytes"), final.get("file_bytes"), "smaller", "larger"),
        _ratio(base.get("latency_ms"), final.get("latency_ms"), "faster", "slower"),
    ]
    owner = "its teacher" if base["name"] == "teacher" else _title(base["name"]).lower()
    return ", ".join([*filter(None, parts), f"{_distance(points)} {owner}"])


def baseline(run: RunRecord) -> dict | None:
    """Returns the row that the last network is compared with: the teacher's, else the first student's."""
    others = [row for row in run.stages if run.final and row["name"] != run.final["name"]]
    return next((row for row in others if row["name"] == "teacher"), others[0] if others else None)


def _ratio(before: float | None, after: float | None, less: str, more: str) -> str | None:
    if not before or not after:
        return None
    ratio, word = (before / after, less) if before >= after else (after / before, more)
    if ratio < 1.05:
        return None
    return f"{ratio:.0f} × {word}" if ratio >= 9.95 else f"{ratio:.1f} × {word}"


def _distance(points: float) -> str:
    if abs(points) < _LEVEL:
        return "level with"
    return f"{abs(points):.1f} points {'above' if points > 0 else 'below'}"


def headline_figures(run: RunRecord) -> list[tuple[str, str, str]]:
    """Returns the main numbers: (value, meaning, comparison)."""
    final, base = run.final, baseline(run)
    if final is None:
        return []
    base, against = (
        base or {},
        base and ("teacher" if base["name"] == "teacher" else _title(base["name"]).lower()),
    )

    def entry_of(key, what, form):
        value, other = final.get(key), base.get(key)
        return value and (form(value), what, f"{against}: {form(other)}" if other else "")

    found = [
        entry_of("mean_iou", "mean IoU", lambda value: f"{100 * value:.1f} %"),
        entry_of("file_bytes", "file", size),
        entry_of("latency_ms", "per image, 1 thread", lambda value: f"{value:.1f} ms"),
        _arm_entry(final),
        entry_of("macs", "MACs", lambda value: f"{value / 1e6:,.0f} M"),
    ]
    peak = run.report.get("peak_memory_mb")
    found.append(peak and (size(1e6 * peak), "peak memory", "of the training process"))
    return [entry for entry in found if entry]


def _arm_entry(row: Mapping) -> tuple[str, str, str] | None:
    counted = row.get("arm_instructions")
    if not counted:
        return None
    return f"{counted / 1e6:,.1f} M", f"instructions on {row['arm_core']}", "of one thread; not milliseconds"


def size(count: float) -> str:
    """Returns a number of bytes with a unit."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} KB"


def tried(search_log: dict) -> str:
    """Returns the search log of quantization by budget in a sentence."""
    ways = [
        f"{way['name']} (skipped: {way['skipped']})"
        if way["skipped"]
        else f"{way['name']} ({way['drop']:+.2f})"
        for way in search_log["tried"]
    ]
    return (
        f"Attempts in this order, with the loss in points of mean IoU on {search_log['held_out_images']} "
        f"held-out training images: {', '.join(ways)}. Chosen: {search_log['chosen']}, "
        f"{'within' if search_log['within_budget'] else 'above'} the budget of "
        f"{search_log['max_miou_drop']:g}."
    )


def searched(found: Mapping) -> list[str]:
    """Returns what a search considered, what it chose and why, and whether the file is within the budget."""
    notes = [found["why"]] if "why" in found else []
    notes.append(
        f"Of {len(found['looked_at'])} networks {found['within']} are within the budget {found['budget']}, "
        f"by costs computed before anything was trained; {found['edge']} of these are on the Pareto front, "
        f"and {len(found['trained'])} were trained. Scores are on {found['held_out_images']} training images "
        f"that were held out for it; those of the stages are on the validation images."
    )
    if file := found.get("file"):
        costs = ", ".join(
            f"{value:,.0f} of {found['limits'][kind]:,.0f} {COSTS[kind]}"
            for kind, value in file["costs"].items()
        )
        notes.append(f"Counted on {file['name']}: {costs}.")
    if drop := found.get("drop"):
        notes.append(
            f"On {drop['images']} images that nothing was trained on, {drop['of']} is {drop['points']:.2f} "
            f"points below the teacher; {drop['most']:g} were allowed."
        )
    if ranks := found.get("rank_correlation"):
        text = ", ".join(f"{value:.2f} after {epoch}" for epoch, value in ranks.items())
        notes.append(f"Spearman's ρ of the scores with those after {found['epochs']} epochs: {text}.")
    return notes


def grouped(runs: Sequence[RunRecord]) -> list[Group]:
    """Groups runs with the same flags except for the seed."""
    found: dict[str, list[int]] = {}
    for number, run in enumerate(runs):
        flags = run.flags or {"title": run.title}
        rest = {key: value for key, value in flags.items() if key not in _OF_ONE_RUN}
        found.setdefault(repr(sorted(rest.items())), []).append(number)
    return [_group(runs, numbers) for numbers in found.values()]


def _group(runs: Sequence[RunRecord], numbers: Sequence[int]) -> Group:
    titles = [runs[number].title.split("/") for number in numbers]
    shared = [parts[0] for parts in zip(*titles, strict=False) if len({*parts}) == 1]
    stages = dict.fromkeys(row["name"] for number in numbers for row in runs[number].stages)
    rows = []
    for stage in stages:
        found = [row for number in numbers for row in runs[number].stages if row["name"] == stage]
        times = tuple(row["latency_ms"] for row in found if row.get("latency_ms"))
        rows.append((stage, tuple(100 * row["mean_iou"] for row in found), times))
    return Group("/".join(shared) or runs[numbers[0]].title, tuple(numbers), tuple(rows))


def spread(scores: Sequence[float], digits: int = 2) -> str:
    """Returns the mean and, for several values, the standard deviation."""
    deviation = f" ± {statistics.stdev(scores):.{digits}f}" if len(scores) > 1 else ""
    return f"{statistics.fmean(scores):.{digits}f}{deviation}" if scores else "–"


def command(flags: Mapping) -> str:
    """Returns the command line that reproduces a run, without the paths of one machine."""
    words = ["python", "tools/train.py"]
    for name, value in flags.items():
        if value is None or name == "debug":
            continue
        if name == "data_dir":
            value = "DIRECTORY"
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no{name}")
        elif isinstance(value, list) and name in _REPEATED:
            words += [f"--{name}={part}" for part in value]
        elif isinstance(value, list):
            words.append(f"--{name}={','.join(map(str, value))}")
        else:
            words.append(f"--{name}={value}")
    return " \\\n    ".join(map(shlex.quote, words)).replace(" \\\n    ", " ", 1)


def _title(stage: str) -> str:
    return {"int8": "The int8 file", "teacher": "The teacher"}.get(stage, f"The {stage.replace('_', ' ')}")
