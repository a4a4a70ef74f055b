"""`stemline data describe`: what the last ingest took in, from metadata and what lies beside the records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipeline.config.config import DataConfig
from pipeline.data import corpus, ingest

RATE_HZ, SECONDS = 8000, 2
SAMPLES = RATE_HZ * SECONDS


def sine(level: float, frequency_hz: float) -> np.ndarray:
    return level * np.sin(2 * np.pi * frequency_hz * np.arange(SAMPLES) / RATE_HZ)


@pytest.fixture
def workdir(tmp_path: Path, metadata: Any) -> Path:
    """Two ingests: of the first the files are gone, the second took three songs of two spans, a fourth was bad.

    Vocals of RMS -6 dB are silent in the second half; the drums are so loud that songs are turned down.
    """
    for name, split in (("a", "train"), ("b", "dev"), ("c", "test"), ("broken", "train")):
        song = tmp_path / f"stems-{1 + (name == 'c')}" / split / name
        song.mkdir(parents=True)
        vocals = np.where(np.arange(SAMPLES) < SAMPLES // 2, sine(0.5 * 2**0.5, 440), 0)
        soundfile.write(song / "vocals.wav", vocals, RATE_HZ, subtype="FLOAT")
        soundfile.write(song / "drums.wav", sine(1.0, 100 + ord(name[0])), RATE_HZ, subtype="FLOAT")
        (song / "metadata.json").write_text(json.dumps({"singer": "Ani" if name < "c" else "Bob"}))
    (tmp_path / "stems-1" / "train" / "broken" / "drums.wav").write_bytes(b"")
    data = DataConfig(
        format="folder",
        path=str(tmp_path / "stems-{SPAN}"),
        spans=2,
        sample_rate_hz=RATE_HZ,
        segment_seconds=1,
        max_bad_tracks=1,
    )
    artifact = tmp_path / "examples" / "2"
    entries = []
    for shard in ingest.plan(corpus.discover(data)):
        Path(shard.path(str(artifact))).parent.mkdir(parents=True, exist_ok=True)
        entries += ingest.write_shard(shard, data, str(artifact))
    (artifact / corpus.REPORT).write_text(json.dumps(ingest.report(data, entries)))
    ingest.write_catalogue(entries, str(artifact))
    metadata.run("2026-11-01T03:00:00.000001", "demo", {"StemsExampleGen": {"Examples": tmp_path / "examples" / "1"}})
    metadata.run("2026-11-08T03:00:00.000001", "demo", {"StemsExampleGen": {"Examples": artifact}})
    metadata.run("2026-11-09T03:00:00.000001", "drnn", {"StemsExampleGen": {"Examples": tmp_path / "examples" / "1"}})
    return tmp_path


def test_tells_tracks_levels_silence_and_what_was_bad(workdir: Path, stemline) -> None:
    outcome = stemline("data", "describe", "-w", workdir, "-r", "demo", "--json")
    assert outcome.code == 0, outcome
    found = json.loads(outcome.out)
    assert (found["recipe"], found["run"]) == ("demo", 2)
    assert {split: told["tracks"] for split, told in found["splits"].items()} == {"train": 1, "dev": 1, "test": 1}
    assert found["splits"]["test"]["groups"] == {"singer": 1, "span": 1}
    assert sum(told["hours"] for told in found["splits"].values()) == pytest.approx(3 * SECONDS / 3600, abs=2e-4)
    assert {name: span["tracks"] for name, span in found["spans"].items()} == {"1": 2, "2": 1}
    assert [(track["track"], track["reason"]) for track in found["bad_tracks"]] == [
        ("broken", "drums.wav is empty (0 bytes)")
    ]
    low, _, high = found["signals"]["vocals"]["rms_db"]
    assert low == pytest.approx(-120, abs=1), "half of the segments are silent"
    assert high == pytest.approx(-6.02 + found["turned_down"]["lowest_db"], abs=0.6)
    assert found["silence_share"] == 0, "the drums never rest"
    assert found["turned_down"]["tracks"] == 3
    assert -4.7 < found["turned_down"]["lowest_db"] < -4, "a peak of nearly 1 + 0.71"
    files = [*(workdir / "examples" / "2").glob("Split-*/*")]
    assert found["records"] == {"files": len(files), "bytes": sum(file.stat().st_size for file in files)}


def test_a_table(workdir: Path, stemline) -> None:
    outcome = stemline("data", "describe", "-w", workdir, "-r", "demo")
    lines = outcome.out.splitlines()
    assert outcome.code == 0
    assert lines[0] == "ingested by run 2 of demo (2026-11-08 03:00)"
    assert lines[-1] == "bad track: broken (train): drums.wav is empty (0 bytes)"
    assert any(line.startswith("span 2: 1 tracks, 0.00 h, last changed 20") for line in lines)
    assert any(line.startswith("silent: 0.0 %; turned down: 3 tracks, by at most 4.") for line in lines)


def test_nothing_to_describe_is_a_sentence(workdir: Path, stemline, tmp_path: Path) -> None:
    for args, words in (
        (("-w", tmp_path / "empty"), "nothing was ingested in"),
        (("-w", workdir, "-r", "unet"), "nothing was ingested by the recipe unet in"),
        (("-w", workdir, "-r", "nope"), "unknown recipe 'nope'; did you mean 'unet'? legal: "),
        (("-w", tmp_path / "empty", "-r", "dem"), "unknown recipe 'dem'; did you mean 'demo'? legal: "),
        (("-w", workdir), "have no tracks.json: ingest the data again"),
    ):
        outcome = stemline("data", "describe", *args, "--json")
        assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 2)
        assert words in outcome.err
