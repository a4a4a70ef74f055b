"""What did not change since an earlier ingest is copied, to the same bytes; what changed is read."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.config.config import DataConfig
from pipeline.config.quarantine import QuarantineConfig
from pipeline.data import catalogue, corpus, ingest, landmarks, reuse
from pipeline.data.datasets.track import SPLITS, TrackRef

RATE_HZ = 16000


def write_song(directory: Path, seed: int) -> None:
    directory.mkdir(parents=True)
    for index, stem in enumerate(("vocals", "drums")):
        signal = np.random.default_rng(10 * seed + index).normal(0, 0.1, RATE_HZ)
        soundfile.write(directory / f"{stem}.wav", signal, RATE_HZ)


@pytest.fixture
def stems(tmp_path: Path) -> Path:
    for number, name in enumerate(("train/a", "train/b", "train/c", "dev/d", "test/e")):
        write_song(tmp_path / "stems" / name, number)
    return tmp_path / "stems"


def ingested(path: Path, artifact: Path, code: str = "code", **given: object) -> int:
    """How many tracks an ingest takes from those before it, whose artifacts lie beside it."""
    data = DataConfig(format="folder", path=str(path), segment_seconds=0.4, max_bad_tracks=9, **given)
    for split in SPLITS:
        (artifact / f"Split-{split}").mkdir(parents=True)
    shards = ingest.plan(corpus.discover(data))
    entries = [entry for shard in shards for entry in ingest.write_shard(shard, data, str(artifact), code)]
    ingest.write_catalogue(entries, str(artifact))
    (artifact / corpus.REPORT).write_text(json.dumps(ingest.report(data, entries)))
    return ingest.reused(entries)


def told(artifact: Path) -> dict:
    return json.loads((artifact / corpus.REPORT).read_text())


def contents(artifact: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(artifact)): path.read_bytes()
        for path in artifact.rglob("*")
        if path.suffix in (".gz", ".npz")
    }


def test_an_unchanged_corpus_is_copied_to_the_same_bytes_wherever_it_lies(stems, tmp_path):
    assert ingested(stems, tmp_path / "out" / "1") == 0
    for file in stems.rglob("*.wav"):
        os.utime(file)
    moved = stems.rename(tmp_path / "moved")
    assert ingested(moved, tmp_path / "out" / "2") == 5
    assert contents(tmp_path / "out" / "1") == contents(tmp_path / "out" / "2")
    assert told(tmp_path / "out" / "1")["tracks"] == told(tmp_path / "out" / "2")["tracks"]


def test_what_changed_or_is_new_is_read_and_nothing_else(stems, tmp_path):
    ingested(stems, tmp_path / "out" / "1")
    soundfile.write(stems / "train" / "b" / "drums.wav", np.random.default_rng(99).normal(0, 0.1, RATE_HZ), RATE_HZ)
    write_song(stems / "train" / "0 is first", 7)
    assert ingested(stems, tmp_path / "out" / "2") == 4
    shutil.rmtree(tmp_path / "out" / "1")
    assert ingested(stems, tmp_path / "out" / "3") == 6
    ingested(stems, tmp_path / "alone" / "1")
    for name in ("2", "3"):
        assert contents(tmp_path / "out" / name) == contents(tmp_path / "alone" / "1")
    listed = [catalogue.read(str(tmp_path / place)) for place in ("out/3", "alone/1")]
    assert listed[0] == listed[1]
    assert landmarks.read_all(str(tmp_path / "out" / "3")).keys() == {track.name for track in listed[0]}


@pytest.mark.parametrize(
    ("code", "given"),
    [("other code", {}), ("code", {"channels": 2}), ("code", {"quarantine": QuarantineConfig(residual_db=-2.0)})],
    ids=["code", "channels", "quarantine"],
)
def test_other_code_or_settings_read_everything(stems, tmp_path, code, given):
    ingested(stems, tmp_path / "out" / "1")
    assert ingested(stems, tmp_path / "out" / "2", code, **given) == 0


def test_another_name_or_split_or_group_is_another_track(stems, tmp_path):
    ingested(stems, tmp_path / "out" / "1")
    (stems / "train" / "a").rename(stems / "train" / "z")
    (stems / "train" / "b").rename(stems / "test" / "b")
    (stems / "train" / "c" / "metadata.json").write_text('{"singer": "Ani"}')
    assert ingested(stems, tmp_path / "out" / "2") == 2


def test_records_that_are_cut_off_or_gone_are_not_taken(stems, tmp_path):
    ingested(stems, tmp_path / "out" / "1")
    expected = contents(tmp_path / "out" / "1")
    for track in catalogue.read(str(tmp_path / "out" / "1")):
        file = tmp_path / "out" / "1" / track.file
        if track.split == "test":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:-3000])
    assert ingested(stems, tmp_path / "out" / "2") < 5
    assert contents(tmp_path / "out" / "2") == expected


def test_a_track_without_files_has_no_key():
    ref = TrackRef("a", "train")
    assert reuse.key(ref, ref, DataConfig(), "code") == ""
