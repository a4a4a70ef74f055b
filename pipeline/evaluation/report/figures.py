"""Pictures of the report: box plots as SVG that takes the page's colours, spectrograms as WebP data URIs."""

import base64
import io
import re
from collections.abc import Mapping, Sequence

import matplotlib
import matplotlib.image
import numpy as np
import scipy.signal
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLOURS = {
    "mixture": "#8a8f98",
    "rpca": "#8d6cc4",
    "model": "#2f7de1",
    "baseline": "#d98a1f",
    "anchor": "#c0507a",
    "irm": "#2fa36b",
    "ibm": "#1b7f8c",
}
BETTER, WORSE = "#2fa36b", "#d9622b"
MOST_DB = 100.0

_WIDTH_INCHES = 4.6  # so that the letters of all plots are of one size, and readable on a phone
_INK = "#010203"  # stands for the page's text colour in the SVG
_GREY = "#7d7d7d"  # readable on light and on dark paper
_RANGE_DB = 70.0
_WINDOW_SECONDS = 0.064
_PICTURE = 144, 900  # bins, frames


def box_plots(panels: Mapping[str, Mapping[str, Sequence[float]]], unit: str = "dB") -> str:
    """SVG with one panel for each metric and one box for each method; panels: metric -> method -> values of the tracks.

    Values that are not finite or above 100 dB are left out.
    """
    columns = len(panels) if len(panels) < 4 else 2
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(_WIDTH_INCHES, 2.4 * rows), layout="constrained")
    for place, (metric, methods) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.set_title(f"{metric} [{unit}]", fontsize=10, color=_INK)
        _boxes(axes, methods)
    return _svg(figure)


def differences(values: Sequence[float], unit: str = "dB") -> str:
    """SVG of one bar for each track, sorted from the worst: how much better (or, below 0, worse) one method is.

    One path for each sign, so that its size does not grow with the number of tracks. `values` are finite.
    """
    ordered = np.sort(np.asarray(values, float))
    figure = Figure(figsize=(_WIDTH_INCHES, 2.2), layout="constrained")
    axes = figure.add_subplot()
    for part, colour in ((np.minimum(ordered, 0), WORSE), (np.maximum(ordered, 0), BETTER)):
        axes.stairs(part, np.arange(len(ordered) + 1) + 0.5, fill=True, color=colour, alpha=0.9)
    axes.axhline(0, color=_INK, linewidth=0.8)
    axes.axhline(float(ordered.mean()), color=_INK, linewidth=0.8, linestyle="--")
    axes.set_ylabel(f"difference [{unit}]", fontsize=8, color=_INK)
    axes.set_xlabel("tracks, from the worst to the best difference", fontsize=8, color=_INK)
    axes.grid(axis="y", color=_GREY, alpha=0.3, linewidth=0.5)
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    _quiet_frame(axes, _INK)
    return _svg(figure)


def over_runs(
    scores: Sequence[float],
    intervals: Sequence[tuple[float, float] | None],
    accepted: Sequence[bool | None],
    stretches: Sequence[int],
    ticks: Sequence[str],
    unit: str = "dB",
) -> str:
    """SVG of a figure from run to run, with its intervals: filled where the model was accepted, hollow where it was refused.

    NaN leaves a run out. Runs of one stretch, which were judged on the same tracks, are joined by a line; others cannot be compared.
    """
    figure = Figure(figsize=(_WIDTH_INCHES, 2.4), layout="constrained")
    axes, values, places = figure.add_subplot(), np.asarray(scores, float), np.arange(len(scores))
    known = np.isfinite(values)
    for stretch in dict.fromkeys(stretches):
        of = known & (np.asarray(stretches) == stretch)
        axes.plot(places[of], values[of], color=_GREY, linewidth=0.8)
    for place in places[known]:
        colour = {True: BETTER, False: WORSE, None: _GREY}[accepted[place]]
        if ends := intervals[place]:
            axes.vlines(place, *ends, color=colour, linewidth=1.4, alpha=0.6)
        axes.plot(
            place, values[place], "o", color=colour, markersize=5, fillstyle="full" if accepted[place] else "none"
        )
    axes.set_ylabel(unit, fontsize=8, color=_INK)
    step = max(1, -(-len(ticks) // 12))
    axes.set_xticks(places[::step], list(ticks)[::step])
    axes.set_xlim(-0.5, max(len(values) - 0.5, 0.5))
    axes.grid(axis="y", color=_GREY, alpha=0.3, linewidth=0.5)
    _quiet_frame(axes, _INK)
    return _svg(figure)


def bars(values: Mapping[str, float], unit: str, colours: Mapping[str, str]) -> str:
    """SVG of one bar from left to right for each name, the first on top; `colours`: name -> colour, grey without."""
    figure = Figure(figsize=(_WIDTH_INCHES, 0.5 + 0.26 * max(1, len(values))), layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.barh(range(len(values)), list(values.values()), color=[colours.get(name, _GREY) for name in values])
    axes.bar_label(drawn, fmt="%.3g", fontsize=8, color=_INK, padding=2)
    axes.set_yticks(range(len(values)), list(values))
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(unit, fontsize=8, color=_INK)
    _quiet_frame(axes, _INK)
    return _svg(figure)


def histogram(groups: Mapping[str, Sequence[float]], unit: str, colours: Mapping[str, str]) -> str:
    """SVG of how many values lie where, those of one group on top of those of the ones before it."""
    figure = Figure(figsize=(_WIDTH_INCHES, 2.4), layout="constrained")
    axes = figure.add_subplot()
    filled = {name: list(values) for name, values in groups.items() if len(values)}
    if filled:
        axes.hist(list(filled.values()), bins=24, stacked=True, color=[colours[name] for name in filled])
    axes.set_xlabel(unit, fontsize=8, color=_INK)
    axes.set_ylabel("tracks", fontsize=8, color=_INK)
    axes.yaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    axes.grid(axis="y", color=_GREY, alpha=0.3, linewidth=0.5)
    _quiet_frame(axes, _INK)
    return _svg(figure)


def spectrogram(signal: np.ndarray, sample_rate_hz: int, full_scale_db: float) -> str:
    """WebP data URI of the magnitudes of a signal [samples, channels] in dB, white at `full_scale_db`.

    Time from left to right and frequency, linear from 0 Hz to half the rate, from below; without axes.
    """
    level = _pooled(_levels_db(signal, sample_rate_hz))
    file = io.BytesIO()
    matplotlib.image.imsave(
        file,
        level,
        origin="lower",
        cmap="magma",
        vmin=full_scale_db - _RANGE_DB,
        vmax=full_scale_db,
        format="webp",
        pil_kwargs={"quality": 60},  # of noise a quarter of the bytes of PNG
    )
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def peak_db(signal: np.ndarray, sample_rate_hz: int) -> float:
    """The loudest point of a signal's spectrogram."""
    return float(_levels_db(signal, sample_rate_hz).max())


def _pooled(levels: np.ndarray) -> np.ndarray:
    """The loudest of neighbouring points, so that a picture has at most _PICTURE bins and frames."""
    for axis, most in enumerate(_PICTURE):
        starts = np.unique(
            np.linspace(0, levels.shape[axis], min(most, levels.shape[axis]), endpoint=False).astype(int)
        )
        levels = np.maximum.reduceat(levels, starts, axis=axis)
    return levels


def _levels_db(signal: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    width = 2 ** round(np.log2(_WINDOW_SECONDS * sample_rate_hz))
    mono = np.pad(signal.mean(axis=1), (0, max(0, width - len(signal))))
    spectra = scipy.signal.stft(mono, nperseg=width, noverlap=width // 2)[2]
    return 20 * np.log10(np.maximum(np.abs(spectra), 1e-7))


def _boxes(axes, methods: Mapping[str, Sequence[float]]) -> None:
    kept = [[v for v in values if np.isfinite(v) and abs(v) < MOST_DB] for values in methods.values()]
    line = {"color": _INK, "linewidth": 0.8}
    boxes = axes.boxplot(
        kept,
        widths=0.6,
        patch_artist=True,
        boxprops=line | {"alpha": 0.8},
        whiskerprops=line,
        capprops=line,
        medianprops={"color": _INK, "linewidth": 1.6},
        flierprops={"marker": ".", "markersize": 3, "markeredgecolor": _INK},
    )
    for box, method in zip(boxes["boxes"], methods, strict=True):
        box.set_facecolor(COLOURS[method])
    axes.set_xticks(range(1, len(kept) + 1), list(methods), fontsize=8, rotation=40, ha="right", rotation_mode="anchor")
    axes.grid(axis="y", color=_GREY, alpha=0.3, linewidth=0.5)
    _quiet_frame(axes, _INK)


def _quiet_frame(axes, colour: str) -> None:
    axes.tick_params(colors=colour, labelsize=8, length=2)
    axes.set_facecolor("none")
    axes.figure.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(colour)


def _svg(figure: Figure) -> str:
    """Inline SVG: no prologue, no namespaces, no metadata, and the page's text colour for ink."""
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "stemline", "font.family": "sans-serif"}):
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": None})
    text = file.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href").replace(_INK, "currentColor")
    return re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", text))
