"""What a corpus holds by names and headers, against what ingest makes of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.config.config import DataConfig
from pipeline.data import ingest
from pipeline.data.corpus import BadTracksError, discover, refuse_bad_tracks
from pipeline.data.survey.survey import survey

RATE_HZ, SECONDS = 8000, 0.5
SAMPLES = round(RATE_HZ * SECONDS)
ALLOWED = {"allow_empty_splits": ["dev", "test"]}


def noise(seed: int, samples: int = SAMPLES, channels: int = 1) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((samples, channels)).astype(np.float32)


def song(directory: Path, seed: int = 0) -> Path:
    directory.mkdir(parents=True)
    for number, name in enumerate(("vocals", "drums")):
        soundfile.write(directory / f"{name}.wav", noise(100 * seed + number), RATE_HZ)
    return directory


def data(path: Path, **given) -> DataConfig:
    return DataConfig(format="folder", path=str(path), sample_rate_hz=RATE_HZ, segment_seconds=0.25, **given)


def text(track: Path) -> None:
    (track / "vocals.wav").write_text("words, not samples\n" * 100)


def nothing(track: Path) -> None:
    (track / "vocals.wav").write_bytes(b"")


def cut_off(track: Path) -> None:
    os.truncate(track / "vocals.wav", 1000)


def longer(track: Path) -> None:
    soundfile.write(track / "vocals.wav", noise(1, SAMPLES + 1), RATE_HZ)


def longer_than_the_mixture(track: Path) -> None:
    soundfile.write(track / "mixture.wav", noise(1, SAMPLES - 1), RATE_HZ)


def other_rate(track: Path) -> None:
    soundfile.write(track / "vocals.wav", noise(1), 2 * RATE_HZ)


def without_vocals(track: Path) -> None:
    (track / "vocals.wav").unlink()


def only_a_mixture(track: Path) -> None:
    (track / "vocals.wav").rename(track / "mixture.wav")
    (track / "drums.wav").unlink()


def an_accompaniment_too(track: Path) -> None:
    soundfile.write(track / "accompaniment.wav", noise(1), RATE_HZ)


def too_short(track: Path) -> None:
    for file in track.glob("*.wav"):
        soundfile.write(file, noise(1, 100), RATE_HZ)


def without_samples(track: Path) -> None:
    for file in track.glob("*.wav"):
        soundfile.write(file, noise(1, 0), RATE_HZ)


def twice(track: Path) -> None:
    soundfile.write(track / "vocals.flac", noise(1), RATE_HZ)


def no_metadata(track: Path) -> None:
    (track / "metadata.json").write_text("{")


FAULTS = (
    *(text, nothing, cut_off, longer, longer_than_the_mixture, other_rate, without_vocals, only_a_mixture),
    *(an_accompaniment_too, too_short, without_samples, twice, no_metadata),
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good track in each split, and one of each fault in training."""
    root = tmp_path_factory.mktemp("corpus")
    for number, split in enumerate(("train", "dev", "test")):
        song(root / split / f"good {number}", number)
    for number, fault in enumerate(FAULTS, 10):
        fault(song(root / "train" / fault.__name__, number))
    return root


def ingested(section: DataConfig, root: Path) -> dict:
    """The report of an ingest."""
    entries = []
    for shard in ingest.plan(discover(section)):
        Path(shard.path(str(root))).parent.mkdir(parents=True, exist_ok=True)
        entries += ingest.write_shard(shard, section, str(root))
    return ingest.report(section, entries)


def test_what_would_be_bad_is_what_is_bad_to_ingest(corpus: Path, tmp_path: Path) -> None:
    section = data(corpus)
    found, report = survey(section), ingested(section, tmp_path)
    of_ingest = [{key: each[key] for key in ("track", "split", "reason")} for each in report["bad_tracks"]]
    assert found["bad_tracks"] == of_ingest
    assert {each["track"] for each in found["bad_tracks"]} == {fault.__name__ for fault in FAULTS}
    seconds = {each["track"]: each["seconds"] for each in report["tracks"]}
    assert {each["track"]: each["seconds"] for each in found["tracks"]} == seconds


def test_the_verdict_is_that_of_ingest(corpus: Path, tmp_path: Path) -> None:
    section = data(corpus, max_bad_tracks=len(FAULTS) - 1)
    found = survey(section)
    with pytest.raises(BadTracksError) as refused:
        refuse_bad_tracks(section, {"tracks": found["tracks"], "bad_tracks": found["bad_tracks"]}, "this check")
    assert (found["usable"], found["verdict"]) == (False, str(refused.value))
    enough = survey(replace(section, max_bad_tracks=len(FAULTS)))
    assert enough["usable"]
    assert enough["verdict"] == (
        f"ingest would take 3 of {3 + len(FAULTS)} tracks (1 train, 1 dev, 1 test); bad: {len(FAULTS)}"
    )


def test_figures_of_a_corpus(tmp_path: Path) -> None:
    """Two tracks of 0.5 s at 8 kHz and one of 0.25 s at 4 kHz, in two widths; singers, one of them in two splits."""
    for split, name, singer in (("train", "a", "Ani"), ("train", "b", "Bob"), ("test", "c", "Ani")):
        track = song(tmp_path / split / name, ord(name))
        (track / "metadata.json").write_text(f'{{"singer": "{singer}"}}')
    for name in ("vocals", "bass"):
        soundfile.write(tmp_path / "test" / "c" / f"{name}.flac", noise(7, 1000, 2), 4000)
    for name in ("vocals", "drums"):
        (tmp_path / "test" / "c" / f"{name}.wav").unlink()
    found = survey(data(tmp_path, options={"allow_empty_splits": ["dev"]}))
    assert found["usable"]
    assert found["splits"] == {
        "train": {"tracks": 2, "bad": 0, "hours": round(1 / 3600, 4), "groups": {"singer": 2}},
        "dev": {"tracks": 0, "bad": 0, "hours": 0, "groups": {}},
        "test": {"tracks": 1, "bad": 0, "hours": round(0.25 / 3600, 4), "groups": {"singer": 1}},
    }
    assert found["stems"] == {
        "bass": {"tracks": 1, "target": "accompaniment"},
        "drums": {"tracks": 2, "target": "accompaniment"},
        "vocals": {"tracks": 3, "target": "vocals"},
    }
    size = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.suffix in (".wav", ".flac"))
    assert found["files"] == {
        "count": 6,
        "unusable": 0,
        "bytes": size,
        "codecs": {"WAV PCM_16": 4, "FLAC PCM_16": 2},
        "rates_hz": {"8000": 4, "4000": 2},
        "channels": {"1": 4, "2": 2},
    }
    assert found["records_bytes"] == 1.25 * RATE_HZ * 2 * 3  # int16 of the mixture and two targets
    larger = survey(data(tmp_path, encoding="float32", options={"allow_empty_splits": ["dev"]}))
    assert larger["records_bytes"] == 1.25 * RATE_HZ * (2 + 2 * 4)
    remarks = "\n".join(found["remarks"])
    assert "in more than one split by singer: 1, Ani (train, test)" in remarks
    assert "tracks recorded at less than 8000 Hz: 4000 Hz (1)" in remarks


def test_copies_of_another_tracks_files_are_told_and_digital_silence_is_none(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        track = song(tmp_path / "train" / name, ord(name))
        soundfile.write(track / "drums.wav", np.zeros((SAMPLES, 1)), RATE_HZ)
    (tmp_path / "train" / "c" / "vocals.wav").write_bytes((tmp_path / "train" / "a" / "vocals.wav").read_bytes())
    found = survey(data(tmp_path, options=ALLOWED))
    [remark] = found["remarks"]
    assert "c/vocals.wav (train) and a/vocals.wav (train)" in remark


def test_a_length_that_only_decoding_tells_refuses_nobody(tmp_path: Path) -> None:
    """MP3 counts in frames of 1152 or 576 samples, and what its header says of the rest need not be true."""
    track = song(tmp_path / "train" / "a")
    (track / "vocals.wav").unlink()
    soundfile.write(track / "vocals.mp3", noise(3, SAMPLES + 2000), RATE_HZ)
    found = survey(data(tmp_path, options=ALLOWED))
    assert found["bad_tracks"] == []
    assert found["tracks"][0]["sure"] is False
    assert found["remarks"][-1] == "tracks whose length only decoding tells for sure: 1, a"


@pytest.mark.parametrize("fault", [text, nothing, cut_off], ids=lambda fault: fault.__name__)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, fault: Callable[[Path], None]) -> None:
    fault(song(tmp_path / "train" / "a"))
    found = survey(data(tmp_path, options=ALLOWED))
    assert found["files"]["unusable"] == 1
    assert found["bad_tracks"][0]["reason"].startswith("vocals.wav ")


def test_sources_of_pools_are_no_copies_and_no_songs(tmp_path: Path) -> None:
    """Of `sourcefolder`, where the shorter pool begins again: its files are in several tracks."""
    for split in ("train", "valid", "test"):
        for source, count in (("vocals", 1), ("drums", 3)):
            (tmp_path / split / source).mkdir(parents=True)
            for number in range(count):
                seed = 100 * ord(split[1]) + 10 * count + number
                soundfile.write(tmp_path / split / source / f"{source} {number}.wav", noise(seed), RATE_HZ)
    found = survey(replace(data(tmp_path), format="auto"))
    assert (found["format"], found["files"]["count"]) == ("sourcefolder", 12)
    assert len(found["tracks"]) == 9
    assert found["remarks"] == [
        "sources of different recordings make up these tracks: they are for a recipe with train.augment: [remix]"
    ]
