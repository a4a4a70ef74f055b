"""Corpora through `stemline ingest` and in buckets: what a user sees of a layout."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.config import DataConfig
from pipeline.config.config import load as load_recipe
from pipeline.data import corpus, datasets, tfrecords
from pipeline.data.datasets import files
from pipeline.data.datasets.loading import load
from pipeline.data.datasets.track import TrackRef, group
from pipeline.orchestration.preflight import check_mixing
from tests.pipeline.data.layouts import corpora

TARGETS = ("vocals", "accompaniment")
LSB = 1 / 32768


@pytest.mark.slow
@pytest.mark.parametrize("name", ["medleydb", "moisesdb", "aligned"])
def test_stemline_ingest_recognises_a_layout_and_writes_what_lies_there(name: str, stemline, tmp_path: Path) -> None:
    format, render = corpora.RENDERED[name]
    root = render(tmp_path / "corpus")
    (root / ".DS_Store").touch()
    options = ["data.channels=2", "data.segment_seconds=0.1", "data.options={allow_empty_splits: [dev, test]}"]
    told = [f"--set={each}" for each in (*options, "data.missing_stem=skip")]
    outcome = stemline("ingest", "--data", root, "--workdir", tmp_path / "runs", *told)
    assert f"format {format}: " in outcome.err
    assert "litter ignored: 1 (.DS_Store" in outcome.out + outcome.err
    reports = [json.loads(file.read_text()) for file in (tmp_path / "runs").rglob("ingest_report.json")]
    assert all(report["data"]["format"] == format for report in reports)
    assert reports[0]["bad_tracks"] == []
    [train] = {file.parent for file in (tmp_path / "runs").rglob("Split-train/data_tfrecord*")}
    read_back = {track.name: track for track in tfrecords.read_tracks(train, TARGETS)}
    reader = datasets.reader(format)
    refs = [ref for ref in reader.discover(str(root), reader.OPTIONS) if ref.name in read_back]
    assert refs
    for ref in refs:
        direct = load(ref)
        voices = [
            signal
            for stem, signal in direct.stems.items()
            if stem in ("vocals", *getattr(reader, "SOURCES", {}).get("vocals", ()))
        ]
        assert np.abs(read_back[ref.name].stems["vocals"] - sum(voices)).max() <= LSB * 1.01
        assert np.abs(read_back[ref.name].mixture - direct.mixture).max() <= LSB * 1.01


@pytest.mark.parametrize("format", ["sourcefolder", "msst_csv"])
def test_sources_without_common_tracks_are_trained_on_by_remix_only(format: str, tmp_path: Path) -> None:
    corpora.RENDERED[format][1](tmp_path)
    allowed = "data.options={allow_empty_splits: [test]}"
    given = [f"data.path={tmp_path}", f"data.format={format}", allowed]
    plain = load_recipe("demo", [*given, "train.augment=[gain]"])
    with pytest.raises(
        ValueError, match=rf"train\.augment is \['gain'\], but the sources of format {format} belong to no"
    ):
        check_mixing(plain, corpus.discover(plain.data))
    mixed = load_recipe("demo", [*given, "train.augment=[remix]", "train.augment_options={remix: {probability: 1}}"])
    check_mixing(mixed, corpus.discover(mixed.data))


def _elsewhere(ref: TrackRef, path: str) -> TrackRef:
    return ref.at({name: name.replace(path, "") for name in ref.files})


@pytest.mark.parametrize("name", corpora.RENDERED)
def test_a_layout_in_a_bucket_is_what_it_is_here(name: str, bucket, tmp_path: Path) -> None:
    format, render = corpora.RENDERED[name]
    here = str(render(tmp_path))
    reader = datasets.reader(format)
    there = bucket.upload(tmp_path, name)
    assert datasets.recognised(there) == datasets.recognised(here)
    local, remote = (reader.discover(place, reader.OPTIONS) for place in (here, there))
    assert [_elsewhere(ref, there) for ref in remote] == [_elsewhere(ref, here) for ref in local]


def test_files_of_one_name_are_copied_from_a_bucket_beside_each_other(bucket, tmp_path: Path) -> None:
    corpora.moisesdb(tmp_path)
    track = tmp_path / "moisesdb_v0.1" / "0d5a1b2c"
    (track / "drums" / "c.wav").rename(track / "drums" / "a.wav")
    told = json.loads((track / "data.json").read_text())
    told["stems"][1]["tracks"][0]["id"] = "a"
    corpora.as_json(track / "data.json", told)
    reader = datasets.reader("moisesdb")
    local, remote = (
        next(ref for ref in reader.discover(place, reader.OPTIONS) if ref.name == track.name)
        for place in (str(tmp_path), bucket.upload(tmp_path, "moises"))
    )
    with files.at_hand(remote) as near:
        there, here = load(near), load(local)
    assert all(np.array_equal(there.stems[name], here.stems[name]) for name in here.stems)


def test_singers_of_a_real_mir1k_with_links(datasets: Path, tmp_path: Path) -> None:
    """MIR-1K-17-singers as its README makes it: its clips are links to those of MIR-1K."""
    from pipeline.data.datasets.layouts import mir1k

    lists, clips = datasets / "MIR-1K-17-singers" / "splits", datasets / "MIR-1K" / "Wavfile"
    if not lists.is_dir() or not clips.is_dir():
        pytest.skip("research data not here: MIR-1K-17-singers, MIR-1K")
    names = {name for file in lists.glob("*.txt") for name in file.read_text().split()}
    (tmp_path / "Wavfile").mkdir()
    for name in names:
        (tmp_path / "Wavfile" / f"{name}.wav").symlink_to(clips / f"{name}.wav")
    (tmp_path / "splits").symlink_to(lists)
    refs = mir1k.discover(str(tmp_path), {})
    assert {ref.name for ref in refs} == names
    there = [ref for ref in refs if ref.split != "test" and Path(ref.files[0]).exists()]
    assert len(there) == 175
    assert not [ref for ref in refs if ref.reason]
    track = group(load(there[0]), TARGETS)
    assert np.abs(track.mixture - sum(track.stems.values())).max() < 1e-6


def test_everything_is_free_in_four_stems(datasets: Path) -> None:
    if not (datasets / "EverythingIsFree").is_dir():
        pytest.skip("research data not here: EverythingIsFree")
    data = DataConfig(path=str(datasets / "EverythingIsFree"), targets=("vocals", "drums", "bass", "other"))
    refs = {ref.name: ref for ref in corpus.discover(data)}
    assert len(refs) == 7
    assert {ref.split for ref in refs.values()} == {"train", "dev", "test"}
    assert [name for name, ref in refs.items() if "bass" in ref.stems] == [
        n for n in refs if n in ("Lithium", "Sodium")
    ]
    silent = corpus.discover(dataclasses.replace(data, missing_stem="silence"))
    assert all(set(ref.stems) == set(data.targets) for ref in silent)
