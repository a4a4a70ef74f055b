"""A corpus in a bucket of moto's S3 server looks as it does on this machine, though only ends of its files are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.config.config import DataConfig
from pipeline.data.survey import headers
from pipeline.data.survey.survey import survey

RATE_HZ = 44100


def noise(seed: int, seconds: float) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * RATE_HZ), 2))


@pytest.fixture
def stems(tmp_path: Path) -> Path:
    """Songs of four formats, each larger than what is read of it, and two bad ones; all of 10 s."""
    root = tmp_path / "stems"
    for number, (split, suffix) in enumerate((("train", "wav"), ("train", "flac"), ("dev", "aiff"), ("test", "mp3"))):
        song = root / split / f"{suffix} {number}"
        song.mkdir(parents=True)
        for stem in ("vocals", "drums"):
            soundfile.write(song / f"{stem}.{suffix}", noise(number, 30 if suffix == "mp3" else 10), RATE_HZ)
            if suffix != "mp3":
                assert (song / f"{stem}.{suffix}").stat().st_size > headers.HEAD_BYTES + headers.TAIL_BYTES
    for name in ("cut off", "uneven"):
        (root / "train" / name).mkdir()
        for stem in ("vocals", "drums"):
            soundfile.write(root / "train" / name / f"{stem}.wav", noise(len(stem), 10), RATE_HZ)
    cut = root / "train" / "cut off" / "vocals.wav"
    cut.write_bytes(cut.read_bytes()[:-1_000_000])
    soundfile.write(root / "train" / "uneven" / "drums.wav", noise(9, 11), RATE_HZ)
    (root / "train" / "uneven" / ".DS_Store").write_bytes(b"litter")
    (root / "train" / "readme.txt").write_text("of no track")
    return root


def test_a_corpus_in_a_bucket_is_what_it_is_here(bucket, stems: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = survey(DataConfig(path=str(stems), channels=2))
    monkeypatch.setattr("models.storage.pieces", lambda *_: pytest.fail("a file is read as a whole"))
    there = survey(DataConfig(path=bucket.upload(stems, "some/stems"), channels=2))
    assert there.pop("path") != here.pop("path")
    assert there == here
    assert here["format"] == "folder"
    assert [track["reason"] for track in here["bad_tracks"]] == [
        "vocals.wav breaks off after 191000 of 441000 samples",
        "its stems differ in length (drums 485100, vocals 441000 samples)",
    ]
    assert here["litter"] == ["train/uneven/.DS_Store"]
    assert here["unused"] == {".txt": 1}


def test_a_bucket_that_is_not_there_is_a_sentence(bucket, stemline) -> None:
    outcome = stemline("data", "check", "s3://absent/stems", "--json")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-1].startswith("stemline: s3://absent")
    assert "Traceback" not in outcome.err
