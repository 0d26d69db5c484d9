"""The Plotly figures of a report, each with a table of its values.

The page sets background and text colors, because it can be light or dark.
"""

import dataclasses
import html
import math
from collections.abc import Mapping, Sequence

import numpy as np

from tfsegkd import metrics
from tfsegkd.evaluation import pareto_front
from tfsegkd.reporting.curves import Curves
from tfsegkd.reporting.images import Disagreement
from tfsegkd.runtime import OpReport

# Paul Tol's 'bright' palette, for color-blind readers, on white and on black. Shapes and dashes repeat it.
COLORS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#AA3377", "#66CCEE")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_OF_STAGES = {"student": 0, "int8": 1, "pruned": 2, "student_alone": 3, "teacher": 4, "student_qat": 5}
_LEAST_POINTS = 2  # minimum span of an axis in mean IoU, so that small differences look small
_LOSS = 1e-8  # minimum of a logarithmic axis
_WRITTEN = 12  # maximum number of classes with numbers in the cells of a confusion matrix


@dataclasses.dataclass(frozen=True)
class Plot:
    """A figure with a text alternative.

    Args:
        title: The title.
        alt: A description in a sentence.
        data, layout: Those of Plotly.
        head, rows: The table.
    """

    title: str
    alt: str
    data: list[dict]
    layout: dict
    head: list[str]
    rows: list[list]

    def to_json(self) -> dict:
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Point:
    """The accuracy and cost of a network."""

    run: str
    stage: str
    mean_iou: float
    cost: float

    @property
    def name(self) -> str:
        return f"{self.run} · {self.stage}" if self.run else self.stage


def trade(points: Sequence[Point], what: str, unit: str) -> Plot:
    """Draws accuracy against a cost, with a line through the Pareto front."""
    best = [points[index] for index in pareto_front([p.cost for p in points], [p.mean_iou for p in points])]
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "Pareto front",
            "x": [point.cost for point in best],
            "y": [point.mean_iou for point in best],
            "line": {"shape": "hv", "dash": "dot", "width": 2, "color": "#888888"},
            "hoverinfo": "skip",
        }
    ]
    for stage in dict.fromkeys(point.stage for point in points):
        found = [point for point in points if point.stage == stage]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": _safe(stage),
                "x": [point.cost for point in found],
                "y": [point.mean_iou for point in found],
                "text": [_safe(point.name) for point in found],
                "marker": {"size": 12, **_marker(stage)},
                "hovertemplate": f"%{{text}}<br>%{{x:.4g}} {unit}, %{{y:.2f}} %<extra></extra>",
            }
        )
    layout = {
        "xaxis": {"title": {"text": f"{what}, {unit}"}, "type": "log", **_around([p.cost for p in points])},
        "yaxis": {
            "title": {"text": "mean IoU, %"},
            "range": _at_least([p.mean_iou for p in points], _LEAST_POINTS),
            "automargin": True,
        },
    }
    names = ", ".join(point.name for point in best)
    return Plot(
        f"Accuracy against {what}",
        f"Mean IoU against {what} of {len(points)} networks. On the Pareto front: {names}.",
        data,
        layout=layout,
        head=["network", f"{what}, {unit}", "mean IoU, %", "on the front"],
        rows=[[p.name, f"{p.cost:.4g}", f"{p.mean_iou:.2f}", "yes" if p in best else ""] for p in points],
    )


def search(found: Mapping, kind: str, what: str) -> Plot:
    """The candidates of a search: cost and score, the front, and the budget.

    Args:
        found: What a search has left in `report.json`.
        kind: The cost to draw, one of the budget's.
        what: That cost in words.
    """
    trained = [
        {**one, "name": f"{one['network']} at {one['size'][0]}x{one['size'][1]}", "cost": one["costs"][kind]}
        for one in found["trained"]
    ]
    epochs = sorted({int(epoch) for one in trained for epoch in one["scores"]})
    most, scored = found["limits"][kind], [one for one in trained if one["scores"]]
    last = [100 * one["scores"][max(one["scores"], key=int)] for one in scored]
    best = [scored[index] for index in pareto_front([one["cost"] for one in scored], last)]
    line = {
        "type": "scatter",
        "mode": "lines",
        "name": "front of the last scores",
        "x": [one["cost"] for one in best],
        "y": [100 * one["scores"][max(one["scores"], key=int)] for one in best],
        "line": {"shape": "hv", "dash": "dot", "width": 2, "color": "#888888"},
        "hoverinfo": "skip",
    }
    data = [line]
    for index, epoch in enumerate(epochs):
        shown = [one for one in trained if str(epoch) in one["scores"]]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": f"after {epoch} of {found['epochs']} epochs",
                "x": [one["cost"] for one in shown],
                "y": [100 * one["scores"][str(epoch)] for one in shown],
                "text": [_safe(one["name"]) for one in shown],
                "marker": {
                    "size": 12,
                    "color": COLORS[index % len(COLORS)],
                    "symbol": _SYMBOLS[index % len(_SYMBOLS)],
                },
                "hovertemplate": "%{text}<br>%{x:.4s}, %{y:.2f} %<extra></extra>",
            }
        )
    chosen = [one for one in scored if one["name"] == found.get("chosen")]
    data += [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "chosen",
            "x": [one["cost"] for one in chosen],
            "y": [100 * one["scores"][max(one["scores"], key=int)] for one in chosen],
            "marker": {"size": 22, "symbol": "circle-open", "color": COLORS[1], "line": {"width": 2}},
            "hoverinfo": "skip",
        }
    ]
    finished = found.get("finished")
    if finished and chosen:
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "finished, on the validation images",
                "x": [chosen[0]["cost"]],
                "y": [100 * finished["mean_iou"]],
                "marker": {"size": 16, "symbol": "star", "color": COLORS[4]},
                "hovertemplate": "%{x:.4s}, %{y:.2f} %<extra></extra>",
            }
        )
    costs, values = [one["cost"] for one in trained], [value for trace in data for value in trace["y"]]
    width = max(*costs, most) - min(costs)
    layout = {
        "xaxis": {
            "title": {"text": what},
            "range": [min(costs) - 0.1 * width, max(*costs, most) + 0.1 * width],
        },
        "yaxis": {
            "title": {"text": "mean IoU, %"},
            "range": _at_least(values or [0.0], _LEAST_POINTS),
            "automargin": True,
        },
        "shapes": [
            {
                "type": "line",
                "x0": most,
                "x1": most,
                "y0": 0,
                "y1": 1,
                "yref": "paper",
                "line": {"dash": "dash", "color": "#888888"},
            }
        ],
        "annotations": [
            {"x": most, "y": 1, "yref": "paper", "text": "budget", "showarrow": False, "yanchor": "bottom"}
        ],
    }

    def scores(one):
        of_epochs = [one["scores"].get(str(epoch)) for epoch in epochs]
        last = finished["mean_iou"] if finished and one in chosen else None
        return ["" if score is None else f"{100 * score:.2f}" for score in [*of_epochs, last]]

    def what_became(one):
        return "chosen" if one in chosen else one["failed"] or ("on the front" if one in best else "")

    return Plot(
        f"Candidates by {what}",
        f"Scores of {len(trained)} candidates against {what}, of which {most:,.0f} are allowed.",
        data,
        layout=layout,
        head=[
            "network",
            what,
            *(f"mean IoU after {epoch}, %" for epoch in epochs),
            "finished, validation, %",
            "",
        ],
        rows=[[one["name"], f"{one['cost']:,.0f}", *scores(one), what_became(one)] for one in trained],
    )


def class_ious(ious: Mapping[str, Mapping[str, float | None]]) -> Plot:
    """Draws IoU by class and stage."""
    classes = list(next(iter(ious.values())))
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": _safe(stage),
            "x": [_percent(of[name]) for name in classes],
            "y": [_safe(name) for name in classes],
            "marker": {"size": 11, **_marker(stage)},
            "hovertemplate": f"{_safe(stage)}: %{{x:.1f}} %<extra>%{{y}}</extra>",
        }
        for stage, of in ious.items()
    ]
    last = list(ious)[-1]
    known = {name: value for name, value in ious[last].items() if value is not None}
    ends = f"{min(known, key=known.get)} worst and {max(known, key=known.get)} best" if known else "no class"
    return Plot(
        "IoU by class",
        f"IoU of {len(classes)} classes for {', '.join(ious)}. {last} does {ends}.",
        data,
        layout={
            "height": 130 + 30 * len(classes),
            "xaxis": {"title": {"text": "IoU, %"}, "range": [-2, 102]},
            "yaxis": {"type": "category", "autorange": "reversed", "automargin": True},
        },
        head=["class", *ious],
        rows=[[name, *(_written(of[name]) for of in ious.values())] for name in classes],
    )


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> tuple[Plot, list[str]]:
    """Draws the confusion matrix, and lists the most frequent mistakes."""
    counts = np.asarray(matrix, np.float64)
    of_label = counts.sum(1, keepdims=True)
    shares = np.divide(counts, of_label, out=np.full_like(counts, np.nan), where=of_label > 0)
    percent = [[None if np.isnan(value) else round(100 * value, 2) for value in row] for row in shares]
    names = [_safe(name) for name in classes]
    heat = {
        "type": "heatmap",
        "z": percent,
        "x": names,
        "y": names,
        "zmin": 0,
        "zmax": 100,
        "colorscale": "Cividis",
        "colorbar": {"title": {"text": "%"}, "thickness": 12},
        "hovertemplate": "%{z:.1f} % of %{y}<br>is taken for %{x}<extra></extra>",
    }
    if len(names) <= _WRITTEN:
        heat |= {"texttemplate": "%{z:.0f}"}
    wrong = np.where(np.eye(len(names), dtype=bool) | np.isnan(shares), 0, shares)
    indices = np.argsort(-wrong, axis=None)[:5]
    notes = [
        f"{100 * wrong.flat[index]:.0f} % of {classes[index // len(names)]} is taken for "
        f"{classes[index % len(names)]}."
        for index in indices
        if wrong.flat[index] > 0
    ]
    plot = Plot(
        "What each class is taken for",
        f"Confusion matrix of {len(names)} classes, each row in percent of its labelled pixels. "
        f"{100 * metrics.pixel_accuracy(counts):.1f} % of all pixels are right.",
        [heat],
        layout={
            "height": 160 + 34 * len(names),
            "xaxis": {"title": {"text": "predicted"}, "type": "category", "automargin": True},
            "yaxis": {"type": "category", "autorange": "reversed", "automargin": True},
        },
        head=["labelled, % taken for →", *classes],
        rows=[[name, *map(_figure, row)] for name, row in zip(classes, percent, strict=True)],
    )
    return plot, notes


def training(curves: Curves) -> list[Plot]:
    """Draws the terms of the loss and the mean IoU during training, by epoch."""
    others = {"learning_rate": ("learning_rate",), "share": ("alpha", "sparsity")}
    separate = {name for names in others.values() for name in names}
    scores = [name for name in curves if name.endswith("mean_iou")]
    terms = [name for name in curves if name not in {*scores, *separate} and not name.startswith("val_")]
    plots = [_lines("Terms of the loss", "loss", {name: curves[name] for name in terms}, log=True)]
    if scores:
        percent = {name: {epoch: 100 * value for epoch, value in curves[name].items()} for name in scores}
        plots.append(_lines("Mean IoU while training", "mean IoU, %", percent))
    for unit, names in others.items():
        found = {name: curves[name] for name in names if name in curves}
        if found:
            title = " and ".join(found).replace("_", " ")
            plots.append(_lines(title.capitalize(), unit.replace("_", " "), found))
    return plots


def _lines(title: str, unit: str, curves: Curves, log: bool = False) -> Plot:
    epochs = sorted({epoch for values in curves.values() for epoch in values})
    data = [
        {
            "type": "scatter",
            "mode": "lines" if len(values) > 1 else "markers",
            "name": _safe(name),
            "x": list(values),
            "y": [_finite(value, least=_LOSS if log else None) for value in values.values()],
            "line": {"color": COLORS[n % len(COLORS)], "dash": _DASHES[n % len(_DASHES)], "width": 2.5},
            "hovertemplate": f"%{{y:.4g}}<extra>{_safe(name)}</extra>",
        }
        for n, (name, values) in enumerate(curves.items())
    ]
    ends = [f"{name} {list(values.values())[-1]:.3g}" for name, values in curves.items()]
    values = [value for line in data for value in line["y"] if value]
    return Plot(
        title,
        f"{title} over {len(epochs)} epochs, at the end: {', '.join(ends)}.",
        data,
        layout={
            "hovermode": "x unified",
            "xaxis": {"title": {"text": "epoch"}, "tickformat": "d"},
            "yaxis": {
                "title": {"text": unit, "standoff": 8},
                "automargin": True,
                **({"type": "log", **_ticks(values)} if log else {}),
            },
        },
        head=["epoch", *curves],
        rows=[[epoch, *(_figure(of.get(epoch), "{:.4g}") for of in curves.values())] for epoch in epochs],
    )


def disagreement(found: Disagreement, classes: Sequence[str], before: str) -> tuple[Plot, list[str]]:
    """Draws where a float network and its int8 file differ, by class."""
    valid, differing = int(found.valid.sum()), int(found.differing.sum())
    shares = [
        100 * part / whole if whole else None
        for part, whole in zip(found.differing.tolist(), found.valid.tolist(), strict=True)
    ]
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": shares,
        "y": [_safe(name) for name in classes],
        "marker": {"color": COLORS[1]},
        "hovertemplate": "%{x:.2f} % of %{y}<extra></extra>",
        "showlegend": False,
    }
    thousandth = 1000 / max(valid, 1)
    still = differing - found.fixed - found.broken
    notes = [
        f"Of 1000 pixels, {thousandth * differing:.1f} get another class in int8 than in {before}.",
        f"{thousandth * found.fixed:.1f} of them become right, {thousandth * found.broken:.1f} "
        f"become wrong, and {thousandth * still:.1f} are wrong either way.",
    ]
    plot = Plot(
        "Pixels that change their class",
        f"Share of each class's pixels where int8 and {before} choose different classes. {notes[0]}",
        [bars],
        layout={
            "height": 130 + 26 * len(classes),
            "xaxis": {"title": {"text": "% of the class's labelled pixels"}, "rangemode": "tozero"},
            "yaxis": {"type": "category", "autorange": "reversed", "automargin": True},
        },
        head=["class", "labelled pixels", "% that differ"],
        rows=[
            [name, f"{whole:,}", _figure(share, "{:.2f}")]
            for name, whole, share in zip(classes, found.valid.tolist(), shares, strict=True)
        ],
    )
    return plot, notes


def channels(kept: Mapping[str, Sequence[int]], widths: Mapping[str, int]) -> Plot:
    """Draws the remaining channels of each layer.

    Args:
        kept: The kept channels by layer name, as in a `PruningReport`.
        widths: The original number of channels by layer name.
    """
    layers = [name for name in kept if widths.get(name, 0) >= max(len(kept[name]), 1)]
    left = [len(kept[name]) for name in layers]
    gone = [widths[name] - count for name, count in zip(layers, left, strict=True)]
    names = [_safe(name) for name in layers]
    data = [
        _bar("kept", left, names, COLORS[0]),
        _bar("removed", gone, names, COLORS[3], pattern="/"),
    ]
    return Plot(
        "Channels of each layer",
        f"Of {sum(left) + sum(gone)} channels in {len(layers)} layers, {sum(gone)} are removed.",
        data,
        layout=_stacked(len(layers), "output channels"),
        head=["layer", "kept", "of"],
        rows=[[name, count, widths[name]] for name, count in zip(layers, left, strict=True)],
    )


def ops(profile: OpReport) -> tuple[Plot, list[str]]:
    """Draws the operations of the int8 file, with notes on its delegate partitions."""
    floats = _by_type(profile.float_ops)
    slow = _by_type(profile.outside_delegate)
    names = sorted(profile.ops, key=profile.ops.get, reverse=True)
    shown = [_safe(name) for name in names]
    of_floats = [floats.get(name, 0) for name in names]
    rest = [profile.ops[name] - count for name, count in zip(names, of_floats, strict=True)]
    notes = [
        "All ops are int8."
        if not profile.float_ops
        else f"{len(profile.float_ops)} ops are float: {', '.join(profile.float_ops[:6])}.",
        "XNNPACK runs the network in one partition."
        if profile.delegate_partitions == 1
        else f"XNNPACK splits the network into {profile.delegate_partitions} partitions.",
        f"Outside of the delegate: {', '.join(profile.outside_delegate[:6]) or 'nothing'}.",
    ]
    plot = Plot(
        "Ops of the int8 file",
        f"{sum(profile.ops.values())} ops of {len(names)} types. {' '.join(notes)}",
        [
            _bar("8 bits", rest, shown, COLORS[0]),
            _bar("float", of_floats, shown, COLORS[1], pattern="/"),
        ],
        layout=_stacked(len(names), "ops"),
        head=["op", "count", "on floats", "outside the delegate"],
        rows=[[name, profile.ops[name], floats.get(name, 0), slow.get(name, 0)] for name in names],
    )
    return plot, notes


def grouped_layers(layers: Sequence[dict]) -> Plot:
    """Draws the latency of each grouped convolution of the int8 file by form, and the chosen form.

    Args:
        layers: The fields of `tfsegkd.grouping.lowering.LoweredLayer`, in execution order.
    """
    names = [f"{_safe(layer['name'])} ({layer['groups']} groups)" for layer in layers]
    forms = list(dict.fromkeys(form for layer in layers for form in layer["milliseconds"]))
    times = [[layer["milliseconds"].get(form) for layer in layers] for form in forms]
    taken = [layer["form"] for layer in layers]
    counts = ", ".join(f"{taken.count(form)} as {form}" for form in sorted(set(taken)))
    data = [
        _bar(form, values, names, COLORS[index], pattern=pattern)
        for index, (form, values, pattern) in enumerate(zip(forms, times, ("", "/", "."), strict=False))
    ]
    return Plot(
        "Grouped convolutions",
        f"Of {len(layers)} grouped convolutions run {counts}. Times are of each layer alone.",
        data,
        layout={**_stacked(len(names) * 2, "ms"), "barmode": "group"},
        head=["layer", "groups", *(f"{form} ms" for form in forms), "runs as"],
        rows=[
            [layer["name"], layer["groups"], *(_figure(time, "{:.3f}") for time in row), layer["form"]]
            for layer, row in zip(
                layers, zip(*times, strict=True) if forms else [()] * len(layers), strict=True
            )
        ],
    )


def _by_type(ops: Sequence[str]) -> dict[str, int]:
    types = [op.split(" ")[0] for op in ops]
    return {name: types.count(name) for name in types}


def _bar(
    name: str, values: Sequence[float], categories: Sequence[str], color: str, pattern: str = ""
) -> dict:
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "x": list(values),
        "y": list(categories),
        "marker": {"color": color, "pattern": {"shape": pattern}},
        "hovertemplate": f"%{{y}}: %{{x}} {name}<extra></extra>",
    }


def _stacked(count: int, unit: str) -> dict:
    return {
        "barmode": "stack",
        "height": 130 + 22 * count,
        "xaxis": {"title": {"text": unit}},
        "yaxis": {"type": "category", "autorange": "reversed", "automargin": True},
    }


def _marker(stage: str) -> dict:
    index = _OF_STAGES.get(stage, 2)
    return {"color": COLORS[index], "symbol": _SYMBOLS[index]}


def _ticks(values: Sequence[float]) -> dict:
    """Returns ticks at 1, 2 and 5 for a logarithmic axis."""
    values = [value for value in values if value and value > 0]
    if not values:
        return {}
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    steps = (1, 2, 5) if high - low <= 3 else (1,)
    # One more power at both ends: 1e-6 * 100_000 is less than 0.1.
    ticks = [step * 10.0**power for power in range(low - 1, high + 2) for step in steps]
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _around(costs: Sequence[float]) -> dict:
    """Returns a logarithmic axis from the last tick below all costs to the first above."""
    axis = _ticks(costs)
    if not axis:
        return {}
    low = max(tick for tick in axis["tickvals"] if tick <= min(costs))
    high = min(tick for tick in axis["tickvals"] if tick >= max(costs))
    return {**axis, "range": [math.log10(low * 0.95), math.log10(high * 1.05)]}


def _at_least(values: Sequence[float], span: float) -> list[float]:
    """Returns the limits of an axis with some margin and at least the range `span`."""
    low, high = min(values), max(values)
    air = max((high - low) / 20, (span - (high - low)) / 2)
    return [low - air, high + air]


def _finite(value: float, least: float | None = None) -> float | None:
    if not math.isfinite(value):
        return None
    return value if least is None or value > least else None


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _written(value: float | None) -> str:
    return _figure(_percent(value))


def _figure(value: float | None, form: str = "{:.1f}") -> str:
    return "–" if value is None else form.format(value)


def _safe(text: str) -> str:
    # Plotly interprets some HTML in names.
    return html.escape(text)
