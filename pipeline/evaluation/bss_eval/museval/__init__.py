"""The museval package by one changed import: `from pipeline.evaluation.bss_eval import museval` in place of `import museval`.

Same functions, arguments, results and JSON, computed here and many times as fast; stores and aggregation are museval's
own. Every function that computes takes one keyword more, `silent`; see `metrics`.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from museval import EvalStore, MethodStore, TrackStore, aggregate, json2df, pad_or_truncate

from pipeline.evaluation.bss_eval.museval import metrics
from pipeline.evaluation.bss_eval.museval.metrics import Silent

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
        silent: "raise" or "nan"; see `metrics`.

    Raises:
        ValueError: as `metrics.bss_eval`.
    """
    references, estimates = np.array(references), np.array(estimates)
    if padding:
        references, estimates = pad_or_truncate(references, estimates)
    return metrics.bss_eval(references, estimates, win, hop, framewise_filters=mode == "v3", silent=silent)[:4]


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
    """Scores of estimates [samples, channels] of a musdb track: `museval.eval_mus_track`.

    Vocals and accompaniment, where both are there, are judged against each other and not against the other targets.
    With an `output_dir`, the scores are also written to output_dir/subset/name.json.

    Raises:
        ValueError: as `metrics.bss_eval`.
    """
    targets = [target for target in track.targets if target in user_estimates]
    karaoke = {"vocals", "accompaniment"} <= set(targets)
    stems = [target for target in targets if not (karaoke and target == "accompaniment")]
    store = TrackStore(win=win, hop=hop, track_name=track.name)

    def add(judged: Sequence[str], kept: Sequence[str]) -> None:
        scores = evaluate(
            [track.targets[target].audio for target in judged],
            [user_estimates[target] for target in judged],
            int(win * track.rate),
            int(hop * track.rate),
            mode,
            silent=silent,
        )
        _add(store, judged, scores, kept)

    if len(stems) >= 2:
        add(stems, [target for target in stems if not (karaoke and target == "vocals")])
    elif not karaoke:
        warnings.warn(
            "Incorrect usage of BSSeval : at least two estimates must be provided. Target score will be empty.",
            UserWarning,
            stacklevel=2,
        )
    if karaoke:
        add(["vocals", "accompaniment"], ["vocals", "accompaniment"])
    if output_dir:
        _write(store, Path(output_dir) / track.subset)
    return store


def eval_mus_dir(
    dataset: Iterable[Any], estimates_dir: str | Path, output_dir: str | Path | None = None, ext: str = "wav"
) -> None:
    """Evaluates estimates_dir/subset/track/target.ext for the tracks of a musdb dataset: `museval.eval_mus_dir`."""
    import soundfile

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
    store = TrackStore(win=win, hop=hop, track_name=Path(reference_dir).name)
    scores = evaluate(references, estimates, int(win * rate_hz), int(hop * rate_hz), mode, silent=silent)
    _add(store, names, scores, names)
    if output_dir:
        _write(store, Path(output_dir))
    return store


def _read(files: Sequence[Path]) -> tuple[list[np.ndarray], int]:
    import soundfile

    audio, rates = zip(*(soundfile.read(file, always_2d=True) for file in files), strict=True)
    if len(set(rates)) > 1:
        raise ValueError(f"{files[0].parent} holds files at {sorted(set(rates))} Hz; legal: one sampling rate")
    return list(audio), rates[0]


def _add(store: TrackStore, judged: Sequence[str], scores: Sequence[np.ndarray], kept: Sequence[str]) -> None:
    """Those of the judged targets that are kept, into the store."""
    for target, sdr, isr, sir, sar in zip(judged, *scores, strict=True):
        if target in kept:
            values = {"SDR": sdr.tolist(), "ISR": isr.tolist(), "SIR": sir.tolist(), "SAR": sar.tolist()}
            store.add_target(target_name=target, values=values)


def _write(store: TrackStore, folder: Path) -> None:
    """Checks the scores against museval's schema and writes them under a temporary name first."""
    store.validate()
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{store.track_name}.json"
    partial.write_text(store.json)
    partial.replace(folder / f"{store.track_name}.json")
