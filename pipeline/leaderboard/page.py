"""The page of a leaderboard: a table in Markdown and a plot of quality against parameters, speed and latency."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path

import jinja2
import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from matplotlib.transforms import Bbox

from pipeline.common import files
from pipeline.evaluation.report.page import METHOD_NAMES
from pipeline.evaluation.scores import describe
from pipeline.leaderboard.board import BOARD_FILE, BSS_EVAL, Board, BoardEntry, score_name, short

PAGE, PLOT = "leaderboard.md", "leaderboard.svg"

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7a5c00", "#56b4e9", "#444444")
_INK, _GRID = "#222222", "#dddddd"
_DASH = "–"
_LABEL_REACH = range(7, 90, 6)
_LABEL_ANGLES = (0, 30, -30, 180, 150, -150, 60, -60, 120, -120, 90, -90)


def write(board: Board, directory: Path) -> None:
    """Writes `leaderboard.json`, `leaderboard.md` and `leaderboard.svg`, each completely or not at all."""
    files.write_text(directory / BOARD_FILE, board.to_json())
    files.write_text(directory / PAGE, page(board))
    files.write_text(directory / PLOT, plot(board))


def page(board: Board) -> str:
    """The table with everything that a reader needs to believe it, as Markdown."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(
        resources.files("pipeline.leaderboard").joinpath("leaderboard.md.jinja").read_text()
    )
    dates = sorted({entry.date for entry in board.ranked})
    return (
        template.render(
            board=board,
            dates=" to ".join(dict.fromkeys([*dates[:1], *dates[-1:]])),
            scores=describe(BSS_EVAL, 1.0),
            others=_others(board),
            rows=_rows(board),
            papers=sorted({entry.paper for entry in board.entries if entry.paper}),
        ).strip()
        + "\n"
    )


def plot(board: Board) -> str:
    """SVG with three panels that share the quality axis; a label for every system, none over another."""
    with matplotlib.rc_context({"svg.hashsalt": "stemline", "font.family": "sans-serif", "font.size": 9}):
        figure = _figure(board)
        file = io.BytesIO()
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": None})
    return file.getvalue().decode()


# --- table -----------------------------------------------------------------------------------------------------------


def _rows(board: Board) -> list[list[str]]:
    """Systems and baselines together, the best first."""
    rows = [(entry.score(board.target, "GNSDR"), _row(board, entry)) for entry in board.ranked]
    for method, scores in board.baselines.items():
        row = [f"*{METHOD_NAMES[method]}*", *[""] * 6, *_scores(board, scores), "", ""]
        rows.append((scores.get(score_name(board.target, "GNSDR")), row))
    return [row for _, row in sorted(rows, key=lambda each: -math.inf if each[0] is None else each[0], reverse=True)]


def _row(board: Board, entry: BoardEntry) -> list[str]:
    return [
        f"**{entry.system}**",
        short(entry.paper),
        f"{entry.parameters:,}",
        "yes" if entry.online else "no",
        _number(entry.latency_ms, ".0f"),
        _number(entry.cpu_minutes, ".1f"),
        _number(entry.steps, ","),
        *_scores(board, entry.scores),
        _number(entry.real_time_factor, ".4f"),
        entry.published.replace("|", "/"),
    ]


def _scores(board: Board, scores: Mapping[str, float]) -> Iterator[str]:
    names = [score_name(board.target, metric) for metric in ("GNSDR", "GSIR", "GSAR")]
    for name in [*names, *(score_name(target, "GNSDR") for target in _others(board))]:
        yield _number(scores.get(name), ".2f").replace("-", "−")


def _others(board: Board) -> list[str]:
    return [target for target in board.targets if target != board.target]


def _number(value: float | None, form: str) -> str:
    return _DASH if value is None else f"{value:{form}}"


# --- plot ------------------------------------------------------------------------------------------------------------


def _figure(board: Board) -> Figure:
    figure = Figure(figsize=(13, 5.6), dpi=100)
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3, sharey=True)
    figure.subplots_adjust(left=0.055, right=0.99, top=0.9, bottom=0.12, wspace=0.05)
    papers = dict.fromkeys(short(entry.paper) for entry in board.ranked)
    colours = dict(zip(papers, itertools.cycle(_COLOURS)))
    latencies = sorted({entry.latency_ms for entry in board.ranked if entry.latency_ms is not None})
    places: list[Callable[[BoardEntry], float | None]] = [
        lambda entry: entry.parameters,
        lambda entry: entry.real_time_factor,
        lambda entry: latencies.index(entry.latency_ms) if entry.latency_ms is not None else len(latencies),
    ]
    scored = [(entry, score) for entry in board.ranked if (score := entry.score(board.target, "GNSDR")) is not None]
    points = [[(x, y, entry) for entry, y in scored if (x := place(entry)) is not None] for place in places]
    for axes in panels:
        _prepare(axes, [score for _, score in scored] or [0.0])
    _logarithmic(panels[0], "parameters", [x for x, _, _ in points[0] if x])
    _logarithmic(panels[1], "real-time factor, one thread", [x for x, _, _ in points[1] if x])
    panels[2].set_xlabel("latency")
    panels[2].set_xticks(range(len(latencies) + 1), [*(f"{latency:.0f} ms" for latency in latencies), "whole file"])
    panels[2].set_xlim(-0.5, len(latencies) + 0.7)
    panels[0].set_ylabel(f"{board.target} GNSDR [dB]")
    for axes, drawn in zip(panels, points, strict=True):
        for x, y, entry in drawn:
            _point(axes, x, y, colours[short(entry.paper)], online=entry.online)
        canvas.draw()  # fixes the transforms that labels are placed by
        _labels(axes, drawn, canvas)
    _legend(figure, panels[0], colours)
    return figure


def _prepare(axes: Axes, scores: Sequence[float]) -> None:
    margin = 0.5 + 0.1 * (max(scores) - min(scores))
    axes.set_ylim(min(scores) - margin, max(scores) + margin)
    axes.grid(color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _logarithmic(axes: Axes, label: str, values: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.set_xlim(min(values, default=1.0) / 2, max(values, default=1.0) * 2.5)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short_number(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _point(axes: Axes, x: float, y: float, colour: str, online: bool) -> None:
    marker, edge = "D" if online else "o", {"markeredgecolor": "white", "markeredgewidth": 0.8}
    axes.plot(x, y, marker=marker, markersize=7, color=colour, linestyle="none", zorder=3, **edge)


def _labels(axes: Axes, points: Sequence[tuple[float, float, BoardEntry]], canvas: FigureCanvasAgg) -> None:
    """Every name beside its point, at the nearest place that is free, with a line to the point where that is far."""
    centres = [axes.transData.transform((x, y)) for x, y, _ in points]
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in centres]
    to_panel = axes.transAxes.inverted()
    for (x, y), (_, _, entry) in zip(centres, points, strict=True):
        text = axes.text(0, 0, entry.system, fontsize=8.5, color=_INK, va="center", transform=None, zorder=4)
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
