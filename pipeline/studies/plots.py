"""Plots of a study: scores of clips by variant, learning curves, a figure from point to point, and quality against cost."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from matplotlib.transforms import Bbox

from pipeline.evaluation.scores import score_name
from pipeline.studies import statistics
from pipeline.studies.result import Result, Trial, short

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7a5c00", "#56b4e9", "#444444")
_INK, _GRID = "#222222", "#dddddd"
_LABEL_REACH = range(7, 90, 6)
_LABEL_ANGLES = (0, 30, -30, 180, 150, -150, 60, -60, 120, -120, 90, -90)


@dataclass(frozen=True)
class Plot:
    """A picture: its name in files, what it shows in words, and the SVG."""

    name: str
    words: str
    svg: str


def draw(result: Result) -> list[Plot]:
    """The plots that the study asks for, of those that there are figures for; the same result gives the same bytes."""
    drawn: dict[str, tuple[str, Callable[[Result], Figure | None]]] = {
        "cost": (f"{_axis(result)} against parameters, real-time factor and latency", costs),
        "boxes": (f"{_axis(result)} of the clips, mean over seeds: quartiles, and whiskers to 1.5 times their distance", boxes),
        "lines": (f"{_axis(result)}: mean, and the lowest and the highest seed", lines),
        "curves": ("Loss on the dev split by CPU minutes, a line for each training; losses of other names have other units", curves),
    }  # fmt: skip
    found = []
    for name in result.plots:
        words, make = drawn[name]
        with matplotlib.rc_context({"svg.hashsalt": "stemline", "font.family": "sans-serif", "font.size": 9}):
            figure = make(result)
            if figure is not None:
                file = io.BytesIO()
                FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": None})
                found.append(Plot(name, words, file.getvalue().decode()))
    return found


def boxes(result: Result) -> Figure | None:
    """One box a variant, the best on top; None without figures of clips."""
    known = {each.name: statistics.by_clip(each.trials, result.metrics[0]) for each in statistics.variants(result)}
    known = {name: values[np.isfinite(values)] for name, values in known.items() if np.isfinite(values).any()}
    if not known:
        return None
    figure = Figure(figsize=(9, 0.9 + 0.32 * len(known)), layout="constrained")
    axes = figure.add_subplot()
    of = {"flierprops": {"marker": ".", "markersize": 4}, "medianprops": {"color": _COLOURS[1]}, "widths": 0.6}
    axes.boxplot([*known.values()], vert=False, **of)
    axes.set_yticks(range(1, len(known) + 1), [*known])
    axes.invert_yaxis()
    axes.set_xlabel(_axis(result))
    _frame(axes)
    return figure


def curves(result: Result) -> Figure | None:
    """A panel for every loss, a colour for every variant; None where nothing was evaluated while it trained."""
    drawn = [trial for trial in result.trials if trial.curve]
    if not drawn:
        return None
    losses = list(dict.fromkeys(trial.loss for trial in drawn))
    looks = itertools.cycle(itertools.product(("-", "--", ":"), _COLOURS))
    styles = dict(zip(dict.fromkeys(trial.variant for trial in drawn), looks, strict=False))
    figure = Figure(figsize=(9, 3.6 * len(losses)), layout="constrained")
    for place, loss in enumerate(losses, start=1):
        axes = figure.add_subplot(len(losses), 1, place)
        for trial in (trial for trial in drawn if trial.loss == loss):
            _, minutes, values = zip(*trial.curve, strict=True)
            label = None if trial.variant in axes.get_legend_handles_labels()[1] else trial.variant
            style, colour = styles[trial.variant]
            axes.plot(minutes, values, style, marker=".", color=colour, linewidth=1, label=label)
        axes.set_xlabel("CPU minutes")
        axes.set_ylabel(f"{loss} on dev")
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
        _frame(axes)
    return figure


def lines(result: Result) -> Figure | None:
    """A line for every recipe from override to override, in their order; None without overrides."""
    points = list(dict.fromkeys(trial.point for trial in result.trials))
    if len(points) < 2:
        return None
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.add_subplot()
    series: dict[str, list[tuple[int, float, float, float]]] = {}
    for each in sorted(statistics.variants(result), key=lambda each: points.index(each.trials[0].point)):
        values = [_score(result, trial) for trial in each.trials]
        at = points.index(each.trials[0].point), float(np.mean(values)), min(values), max(values)
        series.setdefault(each.trials[0].series, []).append(at)
    for (name, found), colour in zip(series.items(), itertools.cycle(_COLOURS)):
        x, mean, low, high = zip(*found, strict=True)
        axes.plot(x, mean, marker="o", color=colour, label=name)
        axes.vlines(x, low, high, color=colour, linewidth=1.2)
    axes.set_xticks(range(len(points)), points, rotation=30 if len(points) > 8 else 0)
    axes.set_ylabel(_axis(result))
    axes.legend(frameon=False)
    _frame(axes)
    return figure


# --- quality against cost --------------------------------------------------------------------------------------------


def costs(result: Result) -> Figure:
    """Three panels that share the quality axis; a label for every variant, none over another."""
    variants = statistics.variants(result)
    shown = [(each.trials[0], each.scores[result.metrics[0]].mean) for each in variants]
    figure = Figure(figsize=(13, 5.6), dpi=100)
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3, sharey=True)
    figure.subplots_adjust(left=0.055, right=0.99, top=0.9, bottom=0.12, wspace=0.05)
    colours = dict(zip(dict.fromkeys(short(trial.paper) for trial, _ in shown), itertools.cycle(_COLOURS)))
    latencies = sorted({trial.latency_ms for trial, _ in shown if trial.latency_ms is not None})
    places: list[Callable[[Trial], float | None]] = [
        lambda trial: trial.parameters,
        lambda trial: trial.real_time_factor,
        lambda trial: latencies.index(trial.latency_ms) if trial.latency_ms is not None else len(latencies),
    ]
    points = [[(x, y, trial) for trial, y in shown if (x := place(trial)) is not None] for place in places]
    for axes in panels:
        _prepare(axes, [score for _, score in shown] or [0.0])
    _logarithmic(panels[0], "parameters", [x for x, _, _ in points[0] if x])
    _logarithmic(panels[1], "real-time factor, one thread", [x for x, _, _ in points[1] if x])
    panels[2].set_xlabel("latency")
    panels[2].set_xticks(range(len(latencies) + 1), [*(f"{latency:.0f} ms" for latency in latencies), "whole file"])
    panels[2].set_xlim(-0.5, len(latencies) + 0.7)
    panels[0].set_ylabel(_axis(result))
    for axes, drawn in zip(panels, points, strict=True):
        for x, y, trial in drawn:
            _point(axes, x, y, colours[short(trial.paper)], online=trial.online)
        canvas.draw()  # fixes the transforms that labels are placed by
        _labels(axes, drawn, canvas)
    _legend(figure, panels[0], colours)
    return figure


def _axis(result: Result) -> str:
    return f"{result.target} {result.metrics[0].partition('/')[2]} [dB]"


def _score(result: Result, trial: Trial) -> float:
    return trial.scores[score_name(result.target, result.metrics[0])]


def _frame(axes: Axes) -> None:
    axes.grid(color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _prepare(axes: Axes, scores: Sequence[float]) -> None:
    margin = 0.5 + 0.1 * (max(scores) - min(scores))
    axes.set_ylim(min(scores) - margin, max(scores) + margin)
    _frame(axes)


def _logarithmic(axes: Axes, label: str, values: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.set_xlim(min(values, default=1.0) / 2, max(values, default=1.0) * 2.5)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short_number(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _point(axes: Axes, x: float, y: float, colour: str, online: bool) -> None:
    marker, edge = "D" if online else "o", {"markeredgecolor": "white", "markeredgewidth": 0.8}
    axes.plot(x, y, marker=marker, markersize=7, color=colour, linestyle="none", zorder=3, **edge)


def _labels(axes: Axes, points: Sequence[tuple[float, float, Trial]], canvas: FigureCanvasAgg) -> None:
    """Every name beside its point, at the nearest place that is free, with a line to the point where that is far."""
    centres = [axes.transData.transform((x, y)) for x, y, _ in points]
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in centres]
    to_panel = axes.transAxes.inverted()
    for (x, y), (_, _, trial) in zip(centres, points, strict=True):
        text = axes.text(0, 0, trial.variant, fontsize=8.5, color=_INK, va="center", transform=None, zorder=4)
        size = text.get_window_extent(canvas.get_renderer())
        box = next(_free(x, y, size.width, size.height, taken, axes.bbox), None)
        box = box or Bbox.from_bounds(x + 8, y - size.height / 2, size.width, size.height)
        taken.append(box)
        left, middle = to_panel.transform((box.x0, (box.y0 + box.y1) / 2))
        text.set_transform(axes.transAxes)
        text.set_position((left, middle))
        nearest = min(max(x, box.x0), box.x1), min(max(y, box.y0), box.y1)
        if math.dist((x, y), nearest) > 12:
            ends = to_panel.transform([(x, y), nearest])
            axes.plot(*ends.T, color="#999999", linewidth=0.6, transform=axes.transAxes, zorder=2)


def _free(x: float, y: float, width: float, height: float, taken: Sequence[Bbox], inside: Bbox) -> Iterator[Bbox]:
    """Places for a box of pixels around a point, near ones first, that overlap nothing and lie within the panel."""
    for reach, angle in itertools.product(_LABEL_REACH, _LABEL_ANGLES):
        right, up = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        left = x + reach * right - width * (1 - right) / 2
        box = Bbox.from_bounds(left, y + reach * up - height / 2 * (1 - up), width, height)
        contained = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
        if contained and not any(box.padded(1).overlaps(other) for other in taken):
            yield box


def _legend(figure: Figure, axes: Axes, colours: Mapping[str, str]) -> None:
    keys = [axes.plot([], [], "o", color=colour, label=paper)[0] for paper, colour in colours.items()]
    keys += [
        axes.plot([], [], mark, color="#888888", label=word)[0] for mark, word in (("D", "online"), ("o", "offline"))
    ]
    figure.legend(
        handles=keys, loc="upper center", ncols=len(keys), frameon=False, handletextpad=0.2, columnspacing=1.4
    )


def _short_number(value: float) -> str:
    for unit, word in ((1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:g}{word}"
    return f"{value:g}"
