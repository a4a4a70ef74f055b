"""What is wrong with a track, on signals with faults that were put there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from models.checked import ConfigError
from pipeline.config.quarantine import QuarantineConfig
from pipeline.data import datasets, quarantine
from pipeline.data.datasets.layouts import synthetic
from pipeline.data.datasets.loading import BLOCK_SAMPLES, of_track
from pipeline.data.datasets.track import BadTrackError, Track, mix
from pipeline.data.quarantine.measures import Ceiling, Measures


def measured(track: Track) -> Measures:
    stream = of_track(track)
    measures = Measures(stream)
    assert sum(len(block["mixture"]) for block in measures.watched(stream.blocks())) == len(track.mixture)
    return measures


def a_track(**stems: np.ndarray) -> Track:
    signals = {name: stem.astype(np.float32) for name, stem in stems.items()}
    return Track("a", "train", 16000, sum(signals.values()), signals)


def clipping(**stems: np.ndarray) -> float:
    return max(measured(a_track(**stems)).clipping_ratios().values())


@pytest.mark.parametrize(
    ("mixture", "stem", "rate_hz", "reason"),
    [
        (np.zeros((0, 1)), np.zeros((0, 1)), 16000, "0 samples"),
        (np.zeros((2, 1)), np.zeros((2, 1)), 16000, "2 samples, less than the 0.1 s"),
        (np.zeros((2, 1)), np.zeros((2, 1)), 0, "sample rate is 0 Hz"),
        (np.zeros((9000, 1)), np.full((9000, 1), np.nan), 16000, "vocals has 9000 values that are NaN"),
        (np.full((9000, 1), np.inf), np.full((9000, 1), np.nan), 16000, "vocals has 9000 values that are NaN"),
        (np.zeros((9000, 1)), np.where(np.arange(9000)[:, None] == 7, np.inf, 0), 16000, "vocals has 1 value that is"),
        (np.full((9000, 1), np.inf), np.zeros((9000, 1)), 16000, "mixture has 9000 values that are NaN or infinite"),
    ],
)
def test_unusable_tracks_are_refused(mixture, stem, rate_hz, reason):
    with pytest.raises(BadTrackError, match=reason):
        measured(Track("a", "train", rate_hz, mixture, {"vocals": stem})).check()


def test_clipping_is_seen_whatever_the_level():
    clean = np.random.default_rng(1).normal(0, 0.2, (20000, 1))
    clipped = np.clip(clean, -0.3, 0.3)  # 13 % of a normal distribution lies beyond 1.5 deviations
    assert clipping(vocals=clean) < 0.001
    assert clipping(vocals=clipped) == pytest.approx(0.134, abs=0.01)
    assert clipping(vocals=0.2 * clipped) == pytest.approx(0.134, abs=0.01)
    assert clipping(vocals=np.zeros((100, 1))) == 0.0


# --- findings ---------------------------------------------------------------------------------------------------------

RATE_HZ = 44100


@pytest.fixture(scope="module")
def song() -> Track:
    """12 s of stereo: a voice at the left, the rest in the middle and at the right."""
    options = datasets.resolve_options(
        "synthetic", {"tracks": {"train": 1}, "seconds": 12.0, "sample_rate_hz": RATE_HZ, "channels": 2}, {}
    )
    track = synthetic.load(synthetic.discover(None, options)[0], options)
    stems = {**track.stems, "vocals": track.stems["vocals"] * np.float32([1, 0.1])}
    return replace(track, stems=stems, mixture=mix(list(stems.values())))


def test_no_published_clip_of_mir_1k_is_clipped(datasets: Path) -> None:
    """The highest share is that of the vocals of leon_2_11, one of the published test clips."""
    shares = {}
    for file in (datasets / "MIR-1K-17-singers" / "Wavfile").glob("*_*.wav"):
        if file.stat().st_size < 1000:  # a link that arrived as a text
            continue
        vocals, ceiling = soundfile.read(file, dtype="float32")[0][:, 1:], Ceiling()
        ceiling.add(vocals)
        shares[file.stem] = ceiling.share
    if "leon_2_11" not in shares:
        pytest.skip("research data not here: MIR-1K-17-singers")
    assert max(shares.values()) == shares["leon_2_11"] == pytest.approx(0.026, abs=0.001)
    assert shares["leon_2_11"] < QuarantineConfig().clipping_ratio


def found(song: Track, limits: QuarantineConfig = QuarantineConfig(), **changed: np.ndarray) -> dict[str, str]:  # noqa: B008
    """Kind -> words, of the song with other signals."""
    signals = {
        name: signal.astype(np.float32) for name, signal in {**song.stems, "mixture": song.mixture, **changed}.items()
    }
    track = replace(song, mixture=signals.pop("mixture"), stems=signals)

    def excerpt(first: int, blocks: int) -> dict[str, np.ndarray]:
        part = slice(first * BLOCK_SAMPLES, (first + blocks) * BLOCK_SAMPLES)
        return {name: signal[part] for name, signal in {**track.stems, "mixture": track.mixture}.items()}

    return {finding.kind: finding.words for finding in quarantine.found(measured(track), limits, excerpt)}


def later(signal: np.ndarray, samples: int) -> np.ndarray:
    return np.roll(signal, samples, axis=0)


def test_nothing_is_wrong_with_a_song_and_with_one_without_voice(song):
    assert found(song) == {}
    backing = song.mixture - song.stems["vocals"]
    assert found(song, vocals=0 * backing, mixture=backing) == {"silent_stem": "silent: vocals"}
    assert found(song, mixture=song.mixture + 0.01 * later(song.mixture, 5000)) == {}, "as MUSDB18's, at -30 to -40 dB"


@pytest.mark.parametrize(
    ("kind", "words", "change"),
    [
        ("inverted", "they would with drums inverted", lambda s: {"drums": -s.stems["drums"]}),
        ("inverted", "they would with vocals inverted", lambda s: {"vocals": -0.5 * s.stems["vocals"]}),
        ("delayed", "they would with vocals 529 samples later", lambda s: {"vocals": later(s.stems["vocals"], -529)}),
        ("delayed", "they would with bass 1105 samples earlier", lambda s: {"bass": later(s.stems["bass"], 1105)}),
        ("delayed", "they would 529 samples later", lambda s: {"mixture": later(s.mixture, 529)}),
        ("gain", "they would with drums at -6.0 dB", lambda s: {"drums": 10 ** (6 / 20) * s.stems["drums"]}),
        ("gain", "they would at +2.0 dB", lambda s: {"mixture": 10 ** (2 / 20) * s.mixture}),
        ("sum", "they leave 0.0 dB of it; legal is up to -3 dB; they would at -6.0 dB", lambda s: {"mixture": 10 ** (-6 / 20) * s.mixture}),
        ("sum", "legal is up to -3 dB", lambda s: {"mixture": s.mixture[::-1]}),
        ("swapped", "left and right of vocals swapped", lambda s: {"vocals": s.stems["vocals"][:, ::-1]}),
        ("swapped", "left and right of all of them swapped", lambda s: {"mixture": s.mixture[:, ::-1]}),
        ("apart", "they leave -", lambda s: {"mixture": s.mixture + 0.3 * later(s.mixture, 50000)}),
        ("silent", "its mixture is silent", lambda s: {"mixture": 0 * s.mixture}),
        ("offset", "mixture has an offset of 0.100", lambda s: {"mixture": s.mixture + 0.1}),
        ("dead_channel", "channel right of its mixture", lambda s: {"mixture": s.mixture * [1, 0]}),
        ("copy", "its drums and bass are the same", lambda s: {"bass": s.stems["drums"]}),
        ("mislabelled", "below 80 Hz", lambda s: {"vocals": s.stems["bass"], "bass": s.stems["vocals"]}),
        ("clipped", "mixture is clipped", lambda s: {"mixture": np.clip(s.mixture, -0.1, 0.1)}),
    ],
    ids=[
        "drums-inverted", "quiet-voice-inverted", "voice-early", "bass-late", "all-early", "drums-loud", "all-quiet",
        "all-loud", "another-song", "voice-swapped", "all-swapped", "echo", "silent", "offset", "dead", "copy",
        "mislabelled", "clipped",
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_what_would_mend_it(song, kind, words, change):
    assert words in found(song, **change(song))[kind]


def test_kinds_that_are_refused_are_chosen(song):
    findings = tuple(quarantine.Finding(kind, words) for kind, words in found(song, drums=-song.stems["drums"]).items())
    with pytest.raises(quarantine.RefusedError, match="they would with drums inverted") as caught:
        quarantine.refuse(findings, QuarantineConfig())
    assert quarantine.details(caught.value) == {"kind": "inverted"}
    assert quarantine.refuse(findings, QuarantineConfig(refuse=("clipped",))) == findings
    with pytest.raises(ConfigError, match=r"data\.quarantine\.examined_db is -1: legal is up to .*residual_db \(-3\)"):
        QuarantineConfig(examined_db=-1.0)


def test_a_passage_without_a_stem_is_found_among_segments():
    limits = QuarantineConfig()
    [finding] = quarantine.of_stored(1.0, [-40.0, -1.5, -40.0], 10.0, (), limits)
    assert finding.kind == "sum"
    assert "from 0:10 on, they leave -1.5 dB" in finding.words
    assert quarantine.of_stored(1.0, [-40.0], 10.0, (), limits) == ()
    silent = (quarantine.Finding("silent", "its mixture is silent"),)
    assert quarantine.of_stored(1.0, [0.0], 10.0, silent, limits) == (), "nothing can be left of nothing"
    [finding] = quarantine.of_stored(0.01, [-40.0], 10.0, (), limits)
    assert finding == quarantine.Finding("level", "its peak is 40.0 dB over full scale; legal is up to 20 dB")
