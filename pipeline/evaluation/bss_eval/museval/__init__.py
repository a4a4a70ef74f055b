"""The museval package by one changed import: `from pipeline.evaluation.bss_eval import museval` in place of `import museval`.

Same functions, arguments, results and JSON, computed here and many times as fast. What computes nothing is museval's own,
and so are the functions that only arrange arguments: they call ours. Those that compute take one keyword more, `silent`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import museval
import numpy as np
import soundfile
from museval import EvalStore, MethodStore, TrackStore, aggregate, json2df, pad_or_truncate

from pipeline.evaluation.bss_eval.museval import metrics
from pipeline.evaluation.bss_eval.museval.metrics import Silent
from pipeline.evaluation.bss_eval.score import METRICS

__all__ = [
    "EvalStore",
    "MethodStore",
    "TrackStore",
    "aggregate",
    "eval_dir",
    "eval_mus_dir",
    "eval_mus_track",
    "evaluate",
    "json2df",
    "metrics",
    "pad_or_truncate",
]


def evaluate(
    references: np.ndarray | Sequence[np.ndarray],
    estimates: np.ndarray | Sequence[np.ndarray],
    win: float = 1 * 44100,
    hop: float = 1 * 44100,
    mode: str = "v4",
    padding: bool = True,
    *,
    silent: Silent = "raise",
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """SDR, ISR, SIR, SAR in dB, each [sources, frames]: `museval.evaluate`.

    Args:
        references, estimates: [sources, samples, channels]; with `padding`, estimates are cut or padded with zeros to
            the references' length.
        win, hop: of the frames, in samples.
        mode: "v4", or "v3" for new filters in every frame.
        silent: "raise", "nan" or "source"; see `metrics`.

    Raises:
        ValueError: as `metrics.bss_eval`, or signals of several shapes among the references or the estimates.
    """
    references, estimates = _stacked(references, "references"), _stacked(estimates, "estimates")
    if padding:
        references, estimates = pad_or_truncate(references, estimates)
    return metrics.bss_eval(references, estimates, win, hop, framewise_filters=mode == "v3", silent=silent)[:4]


_eval_mus_track = metrics.drop_in(museval.eval_mus_track, "evaluate", evaluate)


def eval_mus_track(
    track: Any,
    user_estimates: Mapping[str, np.ndarray],
    output_dir: str | Path | None = None,
    mode: str = "v4",
    win: float = 1.0,
    hop: float = 1.0,
    *,
    silent: Silent = "raise",
) -> TrackStore:
    """Scores of the estimates of a musdb track by the names of its targets: `museval.eval_mus_track`.

    Raises:
        FileNotFoundError: `output_dir` has no place for a track of this name, found out before anything is computed.
        ValueError: as `evaluate`.
    """
    if output_dir:
        _check_name(track.name, Path(output_dir) / track.subset)
    return _eval_mus_track(track, user_estimates, output_dir, mode, win, hop, silent=silent)


def eval_mus_dir(
    dataset: Iterable[Any], estimates_dir: str | Path, output_dir: str | Path | None = None, ext: str = "wav"
) -> None:
    """Evaluates estimates_dir/subset/track/target.ext for the tracks of a musdb dataset: `museval.eval_mus_dir`."""
    for track in dataset:
        files = sorted((Path(estimates_dir) / track.subset / track.name).glob(f"*.{ext}"))
        estimates = {file.stem: soundfile.read(file, always_2d=True)[0] for file in files}
        if estimates:
            eval_mus_track(track, estimates, output_dir)


def eval_dir(
    reference_dir: str | Path,
    estimates_dir: str | Path,
    output_dir: str | Path | None = None,
    mode: str = "v4",
    win: float = 1.0,
    hop: float = 1.0,
    *,
    silent: Silent = "raise",
) -> TrackStore:
    """Scores of the WAV files of one folder against those of the same names in another: `museval.eval_dir`.

    Raises:
        ValueError: no files, other names in one folder than in the other, or sampling rates that differ; and as
            `metrics.bss_eval`.
    """
    names = [file.name for file in sorted(Path(reference_dir).glob("*.wav"))]
    if not names:
        raise ValueError("`reference_dir` contains no wav files")
    found = [file.name for file in sorted(Path(estimates_dir).glob("*.wav"))]
    if found != names:
        raise ValueError(f"{estimates_dir} holds {found}; legal: the names of {reference_dir}, {names}")
    references, rate_hz = _read([Path(reference_dir) / name for name in names])
    estimates, other_hz = _read([Path(estimates_dir) / name for name in names])
    if other_hz != rate_hz:
        raise ValueError(f"{estimates_dir} is at {other_hz} Hz; legal: the references' {rate_hz} Hz")
    # museval takes fractions of a second; only its defaults are whole.
    store = TrackStore(win=win, hop=hop, track_name=Path(reference_dir).name)  # pyright: ignore[reportArgumentType]
    scores = evaluate(references, estimates, int(win * rate_hz), int(hop * rate_hz), mode, silent=silent)
    for target, *values in zip(names, *scores, strict=True):
        store.add_target(target, {metric: row.tolist() for metric, row in zip(METRICS["v4"], values, strict=True)})
    if output_dir:
        store.validate()
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        (Path(output_dir) / f"{store.track_name}.json").write_text(store.json)
    return store


def _stacked(signals: np.ndarray | Sequence[np.ndarray], what: str) -> np.ndarray:
    shapes = sorted({np.shape(signal) for signal in signals})
    if len(shapes) > 1:
        raise ValueError(f"{what} have the shapes {', '.join(map(str, shapes))}; legal: one for all")
    return np.array(signals)


def _check_name(name: str, directory: Path) -> None:
    """A name with a slash is a path of folders, which museval does not make."""
    if not (parent := (directory / f"{name}.json").parent).exists() and parent != directory:
        raise FileNotFoundError(f"track {name!r} cannot be written into {directory}; legal: a name without a slash")


def _read(files: Sequence[Path]) -> tuple[list[np.ndarray], int]:
    audio, rates = zip(*(soundfile.read(file, always_2d=True) for file in files), strict=True)
    if len(set(rates)) > 1:
        raise ValueError(f"{files[0].parent} holds files at {sorted(set(rates))} Hz; legal: one sampling rate")
    return list(audio), rates[0]
