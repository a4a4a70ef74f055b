"""How much of a separation is lost by chunks: what they add up to, against the whole signal in one piece.

    python -m serving.agreement MODEL_DIRECTORY FILE... [--chunk-seconds 10] [--overlap-seconds 0.5 1 2 3]

joins the files to one signal at the model's rate, in mono, and prints a row of a Markdown table. The whole signal goes
through the model at once, so memory grows with it: a minute or two is enough.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr

from serving.client.separation import CHUNK_SECONDS, Separation
from serving.client.signals import Stems, fold, unfold
from serving.local import LocalModel

OVERLAPS_SECONDS = (0.5, 1.0, 2.0, 3.0)


def sdr_db(whole: np.ndarray, chunked: np.ndarray) -> float:
    """10 log10 of the energy of `whole` over that of what differs; infinite where nothing does.

    Raises:
      ValueError: the shapes differ.
    """
    if whole.shape != chunked.shape:
        raise ValueError(f"shapes are {whole.shape} and {chunked.shape}; legal are two of one shape")
    difference = np.square(np.subtract(whole, chunked, dtype=np.float64)).sum()
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(np.square(whole, dtype=np.float64).sum() / difference)) if difference else np.inf


def whole(model: Separation, signal: np.ndarray) -> Stems:
    """The stems of `signal` [samples, channels] in one request."""
    outputs = model.predict(fold(np.asarray(signal, np.float32), model.mixture_shape))
    return {target: unfold(output, signal.shape[1]) for target, output in outputs.items()}


def agreement(
    model: Separation, signal: np.ndarray, overlap_seconds: float, chunk_seconds: float = CHUNK_SECONDS
) -> dict[str, float]:
    """target -> SDR in dB of the chunked separation, the whole one being the reference.

    Args:
      signal: [samples, channels] at the model's rate.

    Raises:
      SeparationError: the model does not separate it.
    """
    chunked = model.separate(signal, model.model_rate_hz, chunk_seconds, overlap_seconds)
    return {target: sdr_db(stem, chunked[target]) for target, stem in whole(model, signal).items()}


def joined(files: Iterable[Path], sample_rate_hz: int) -> np.ndarray:
    """The files one after the other, [samples, 1]: the mean of the channels, at another rate."""
    parts = []
    for path in files:
        audio, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        parts.append(soxr.resample(audio.mean(axis=1, keepdims=True), rate_hz, sample_rate_hz))
    return np.concatenate(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m serving.agreement", description="What chunks cost a separation.")
    parser.add_argument("model", type=Path, help="directory of saved_model.pb")
    parser.add_argument("files", type=Path, nargs="+", help="audio, joined to one signal")
    parser.add_argument("--chunk-seconds", type=float, default=CHUNK_SECONDS)
    parser.add_argument("--overlap-seconds", type=float, nargs="+", default=OVERLAPS_SECONDS)
    options = parser.parse_args(arguments)
    with LocalModel(options.model) as model:
        signal = joined(options.files, model.model_rate_hz)
        print("| model | " + " | ".join(f"{overlap:g} s" for overlap in options.overlap_seconds) + " |")
        rows = [agreement(model, signal, overlap, options.chunk_seconds) for overlap in options.overlap_seconds]
    cells = [", ".join(f"{target} {row[target]:.1f}" for target in sorted(row)) for row in rows]
    print(f"| {options.model} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
