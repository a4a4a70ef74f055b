"""Corpora as they were published: names, stems, splits, and every sample as a decoder gives it.

Layouts and words as in dsdtools d93a4a5, musdb 0.4, medleydb 537bb7b (1.3.4), f90/Wave-U-Net 75eeae6 (CCMixter.xml),
mirdata b95bf38 (ikala.py, slakh.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.config import DataConfig
from pipeline.data import corpus, datasets
from pipeline.data.datasets.loading import load
from pipeline.data.datasets.track import TrackRef, group
from tests.pipeline.data.layouts import corpora
from tests.pipeline.data.layouts.corpora import read

LSB = 1 / 32768


def found(format: str, root: Path, **options: object) -> dict[str, TrackRef]:
    reader = datasets.reader(format)
    return {ref.name: ref for ref in reader.discover(str(root), {**reader.OPTIONS, **options})}


def assert_is(ref: TrackRef, stems: Mapping[str, np.ndarray], mixture: np.ndarray) -> None:
    """Each signal is what a direct decode gives, to 1 LSB."""
    track = load(ref)
    assert track.sample_rate_hz == corpora.RATE_HZ
    assert list(track.stems) == sorted(stems)
    for name, signal in {**stems, "mixture": mixture}.items():
        read_back = track.mixture if name == "mixture" else track.stems[name]
        assert np.abs(read_back - signal).max() <= LSB, name


# --- DSD100 ----------------------------------------------------------------------------------------------------------


def test_dsd100(tmp_path: Path) -> None:
    refs = found("dsd100", corpora.dsd100(tmp_path))
    assert {name: ref.split for name, ref in refs.items() if ref.split == "test"} == {"053 - Di - Four": "test"}
    assert sorted(ref.split for ref in refs.values()) == ["dev", "test", "train", "train"]
    assert refs["050 - Ann - One"].metadata == {"artist": "Ann"}
    sources = tmp_path / "Sources" / "Dev" / "050 - Ann - One"
    mixture = read(tmp_path / "Mixtures" / "Dev" / "050 - Ann - One" / "mixture.wav")
    assert_is(refs["050 - Ann - One"], {stem: read(sources / f"{stem}.wav") for stem in corpora.FOUR}, mixture)
    assert datasets.is_published("dsd100", "053 - Di - Four", "test")
    assert not datasets.is_published("dsd100", "050 - Ann - One", "dev")


def test_a_track_of_dsd100_that_lacks_files_is_bad_and_named(tmp_path: Path) -> None:
    corpora.dsd100(tmp_path)
    (tmp_path / "Sources" / "Dev" / "050 - Ann - One" / "bass.wav").unlink()
    (tmp_path / "Mixtures" / "Dev" / "051 - Bo - Two" / "mixture.wav").unlink()
    (tmp_path / "Mixtures" / "Dev" / "051 - Bo - Two").rmdir()
    refs = found("dsd100", tmp_path)
    assert refs["050 - Ann - One"].reason == "it has no Sources/Dev/050 - Ann - One/bass.wav"
    assert refs["051 - Bo - Two"].reason == "it has no Mixtures/Dev/051 - Bo - Two/mixture.wav"
    assert not refs["052 - Cy - Three"].reason


# --- MUSDB18-HQ ------------------------------------------------------------------------------------------------------


def test_musdb18hq(tmp_path: Path) -> None:
    refs = found("musdb18hq", corpora.musdb18hq(tmp_path))
    splits = {name: ref.split for name, ref in refs.items()}
    assert splits == {"Ann - One": "train", "ANiMAL - Rockshow": "dev", "Bo - Two": "test"}
    track = tmp_path / "train" / "ANiMAL - Rockshow"
    stems = {stem: read(track / f"{stem}.wav") for stem in corpora.FOUR}
    assert_is(refs["ANiMAL - Rockshow"], stems, read(track / "mixture.wav"))
    assert refs["ANiMAL - Rockshow"].metadata == {"artist": "ANiMAL"}


def test_what_is_laid_out_like_musdb18hq_has_a_development_split_of_its_own(tmp_path: Path) -> None:
    names = [f"train/Artist {index} - Song" for index in range(4)]
    refs = found("musdb18hq", corpora.musdb18hq(tmp_path, [*names, "test/Other - Song"]))
    assert sorted(ref.split for ref in refs.values()) == ["dev", "test", "train", "train", "train"]
    dev = next(name for name, ref in refs.items() if ref.split == "dev")
    assert not datasets.is_published("musdb18hq", dev, "dev")


# --- MedleyDB --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metadata", ["", "Metadata", "elsewhere"])
def test_medleydb(tmp_path: Path, metadata: str) -> None:
    root = corpora.medleydb(tmp_path / "MedleyDB", metadata)
    options = {"metadata": str(root / metadata)} if metadata == "elsewhere" else {}
    ref = found("medleydb", root, **options)["AnnBand_One"]
    assert ref.metadata == {"artist": "AnnBand", "genre": "Pop", "bleed": "no", "instrumental": "no"}
    where = root / "Audio" / "AnnBand_One" / "AnnBand_One_STEMS"
    stems = [read(where / f"AnnBand_One_STEM_0{number}.wav") for number in (1, 2, 3, 4)]
    named = dict(zip(("male singer", "vocalists", "drum set", "piano, violin"), stems, strict=True))
    assert_is(ref, named, sum(stems))


def test_medleydb_takes_the_mix_or_the_raw_recordings_where_asked(tmp_path: Path) -> None:
    corpora.medleydb(tmp_path)
    track = tmp_path / "Audio" / "Bo_Two"
    ref = found("medleydb", tmp_path, audio="raw", mixture="file")["Bo_Two"]
    raw = [read(track / "Bo_Two_RAW" / f"Bo_Two_RAW_0{n}_01.wav").repeat(2, axis=1) for n in (1, 2, 3)]
    named = dict(zip(("female rapper", "electric bass", "synthesizer"), raw, strict=True))
    assert_is(ref, named, read(track / "Bo_Two_MIX.wav"))
    with pytest.raises(ValueError, match=r"data\.options\.audio is 'steams'; did you mean 'stems'"):
        found("medleydb", tmp_path, audio="steams")


def test_singers_of_medleydb_are_the_vocals_and_the_crowd_is_not(tmp_path: Path) -> None:
    data = DataConfig(path=str(corpora.medleydb(tmp_path)), format="medleydb")
    refs = {ref.name: ref for ref in corpus.listed(data)}
    vocals = {name: [Path(s.file).name[-6:-4] for s in ref.stems["vocals"]] for name, ref in refs.items()}
    assert vocals == {"AnnBand_One": ["01", "02"], "Bo_Two": ["01"], "Cy_Three": ["01"]}
    track = group(load(refs["AnnBand_One"]), data.targets)
    assert np.abs(sum(track.stems.values()) - track.mixture).max() <= LSB


# --- CCMixter and iKala ----------------------------------------------------------------------------------------------


def test_ccmixter(tmp_path: Path) -> None:
    refs = found("ccmixter", corpora.ccmixter(tmp_path))
    assert sorted(ref.split for ref in refs.values()) == ["dev", "test", "train"]
    song = tmp_path / "Bo_-_Two_(feat._Cy)"
    stems = {"accompaniment": read(song / "source-01.wav"), "vocals": read(song / "source-02.wav")}
    assert_is(refs[song.name], stems, read(song / "mix.wav"))
    assert refs[song.name].metadata == {"artist": "Bo"}
    (song / "source-02.wav").unlink()
    assert found("ccmixter", tmp_path)[song.name].reason == "it has no source-02.wav"


def test_ikala(tmp_path: Path) -> None:
    corpora.ikala(tmp_path)
    (tmp_path / "id_mapping.txt").write_text("singer\tsong\n3\t10161\n5\t10164\n")
    refs = found("ikala", tmp_path)
    assert len({refs["10161_chorus"].split, refs["10161_verse"].split}) == 1
    assert sorted({ref.split for ref in refs.values()}) == ["dev", "test", "train"]
    assert refs["10161_verse"].metadata == {"song": "10161", "singer": "3"}
    assert refs["10170_verse"].metadata == {"song": "10170"}
    clip = read(tmp_path / "Wavfile" / "10161_verse.wav")
    assert_is(
        refs["10161_verse"], {"accompaniment": clip[:, :1], "vocals": clip[:, 1:]}, clip.sum(axis=1, keepdims=True)
    )
