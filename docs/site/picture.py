"""The picture of the README: spectrograms of tests/excerpt, and of what the model that comes with Stemline makes of it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from models.directory import ModelDirectory
from serving.local import local_client

ROOT = Path(__file__).resolve().parents[2]
EXCERPT, PICTURE = ROOT / "tests" / "excerpt", ROOT / "docs" / "separated.png"
PANELS = (
    ("mixture", "20 s of a song (CC0)"),
    ("vocals", "vocals, separated"),
    ("true vocals", "vocals, as recorded"),
    ("accompaniment", "accompaniment, separated"),
    ("true accompaniment", "accompaniment, as recorded"),
)
GRID = [["mixture", "mixture"], ["vocals", "true vocals"], ["accompaniment", "true accompaniment"]]
TOP_KHZ, RANGE_DB, COLOURS = 6, 50, 48


def main() -> None:
    """Writes PICTURE."""
    signals = {"mixture": soundfile.read(EXCERPT / "excerpt.ogg", always_2d=True)}
    mixture, rate_hz = signals["mixture"]
    with local_client(ModelDirectory.default().path) as client:
        for name, stem in client.separate(mixture, rate_hz).items():
            signals[name] = stem, rate_hz
            signals[f"true {name}"] = soundfile.read(EXCERPT / f"stems/excerpt/{name}.ogg", always_2d=True)
    figure = Figure(figsize=(9, 4.8), dpi=100, layout="constrained")
    axes = figure.subplot_mosaic(GRID)
    loudest = None
    for name, words in PANELS:
        signal, rate_hz = signals[name]
        made = {
            "NFFT": 2048,
            "Fs": rate_hz / 1000,
            "noverlap": 1024,
            "mode": "magnitude",
            "scale": "dB",
            "cmap": "magma",
        }
        spectrum, *_, drawn = axes[name].specgram(signal.mean(axis=1), **made)
        loudest = loudest or 20 * np.log10(np.percentile(spectrum, 99.9))
        drawn.set_clim(loudest - RANGE_DB, loudest)
        axes[name].set(
            title=words, ylim=(0, TOP_KHZ), xticks=(), yticks=(0, TOP_KHZ), yticklabels=("0", f"{TOP_KHZ} kHz")
        )
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)
    Image.open(file).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
