"""Layouts of tools and of large corpora: names, stems, splits, and every sample as a decoder gives it.

Layouts and words as in open-unmix-pytorch fb672c9 (`openunmix/data.py`), Music-Source-Separation-Training ccc011a
(`docs/dataset_types.md`, `utils/dataset.py`), moisesdb 0.0.3, slakh-utils 3f62d6a and mirdata 1.0.0 (`datasets/slakh.py`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.config.config import DataConfig
from pipeline.data import corpus
from pipeline.data.datasets.loading import load
from pipeline.data.datasets.recognition import WrongLayoutError
from tests.pipeline.data.layouts import corpora
from tests.pipeline.data.layouts.corpora import read
from tests.pipeline.data.layouts.test_published import assert_is, found

# --- Open-Unmix ------------------------------------------------------------------------------------------------------


def test_aligned(tmp_path: Path) -> None:
    refs = found("aligned", corpora.aligned(tmp_path))
    assert {name: ref.split for name, ref in refs.items()} == {"01 (train)": "train", "02": "train", "01 (dev)": "dev"}
    mixture, vocals = (read(tmp_path / "train" / "02" / f"{name}.wav") for name in ("mixture", "vocals"))
    assert_is(refs["02"], {"vocals": vocals, "accompaniment": mixture - vocals}, mixture)


def test_aligned_takes_other_names_and_the_shorter_of_two_files(tmp_path: Path) -> None:
    given = corpora.write(tmp_path / "train" / "a" / "input.wav", samples=3000)
    corpora.write(tmp_path / "train" / "a" / "output_1.wav", samples=3200)
    (ref,) = found("aligned", tmp_path, input_file="input.wav", output_file="output*.wav").values()
    target = read(tmp_path / "train" / "a" / "output_1.wav")[:3000]
    assert_is(ref, {"output": target, "accompaniment": given - target}, given)
    with pytest.raises(WrongLayoutError, match=r"<track>/mixture\.wav and vocals\.wav \(data\.options\.input_file and"):
        found("aligned", tmp_path)


def test_trackfolder_with_a_fixed_and_with_any_number_of_sources(tmp_path: Path) -> None:
    corpora.trackfolder(tmp_path)
    any_number = found("trackfolder", tmp_path)
    assert {name: sorted(ref.stems) for name, ref in any_number.items()} == {
        "1 (train)": ["bass", "drums", "other", "vocals"],
        "2": ["accordion", "vocals"],
        "1 (dev)": ["bass", "drums", "vocals"],
    }
    fixed = found("trackfolder", tmp_path, interferer_files=["bass.wav", "drums.wav"])
    assert sorted(fixed["1 (train)"].stems) == ["bass", "drums", "vocals"]
    assert fixed["2"].reason == "it has no bass.wav, drums.wav"
    stems = {stem: read(tmp_path / "valid" / "1" / f"{stem}.wav") for stem in ("vocals", "bass", "drums")}
    assert_is(fixed["1 (dev)"], stems, stems["bass"] + stems["drums"] + stems["vocals"])


def test_a_split_without_a_folder_is_held_out_where_asked(tmp_path: Path) -> None:
    corpora.trackfolder(tmp_path)
    for number in range(3, 9):
        corpora.write(tmp_path / "train" / f"Artist {number} - Song" / "vocals.wav")
    with pytest.raises(ValueError, match=r"The test split of .* has no track.*data\.options\.hold_out=\[test\]"):
        corpus.discover(DataConfig(path=str(tmp_path)))
    refs = corpus.discover(DataConfig(path=str(tmp_path), options={"hold_out": ["test"]}))
    splits = [ref.split for ref in refs]
    assert (splits.count("train"), splits.count("dev"), splits.count("test")) == (7, 1, 1)


# --- pools of recordings ---------------------------------------------------------------------------------------------


def test_every_file_of_folders_of_sources_is_in_a_track(tmp_path: Path) -> None:
    refs = found("sourcefolder", corpora.sourcefolder(tmp_path))
    assert {name: ref.split for name, ref in refs.items()} == {
        f"{name} ({split})": split for split in ("train", "dev") for name in ("vocals_0", "vocals_1", "vocals_0 (2)")
    }
    files = {file for ref in refs.values() for file in ref.files}
    assert files == {str(file) for file in tmp_path.rglob("*.wav")}
    ref = refs["vocals_1 (train)"]
    assert ref.metadata == {"mix": "random"}
    train = tmp_path / "train"
    stems = {
        name: read(train / name / f"{name}_{n}.wav")[:3100] for name, n in (("vocals", 1), ("drums", 1), ("bass", 0))
    }
    assert_is(ref, stems, stems["bass"] + stems["drums"] + stems["vocals"])


@pytest.mark.parametrize("format", ["sourcefolder", "msst_csv"])
def test_no_recording_of_a_pool_without_splits_is_in_two(format: str, tmp_path: Path) -> None:
    (corpora.msst_2 if format == "sourcefolder" else corpora.msst_csv)(tmp_path)
    splits: dict[str, set[str]] = {}
    for ref in found(format, tmp_path).values():
        for file in ref.files:
            splits.setdefault(file, set()).add(ref.split)
    assert splits.keys() == {str(file) for file in tmp_path.rglob("*.wav")}
    assert {len(each) for each in splits.values()} == {1}
    assert set.union(*splits.values()) == {"train", "dev", "test"}


def test_folders_of_sources_name_what_they_lack(tmp_path: Path) -> None:
    corpora.sourcefolder(tmp_path)
    with pytest.raises(ValueError, match=r"has no folder 'vocal' of audio; did you mean 'vocals'\?"):
        found("sourcefolder", tmp_path, target_dir="vocal")
    (tmp_path / "valid" / "bass" / "bass_0.wav").unlink()
    with pytest.raises(WrongLayoutError, match="No file of bass is there for the dev split"):
        found("sourcefolder", tmp_path)


def test_a_csv_of_recordings_names_those_that_are_gone(tmp_path: Path) -> None:
    corpora.msst_csv(tmp_path)
    with (tmp_path / "train.csv").open("a") as file:
        file.write("vocals,audio/gone.wav\nvocals\n")
    bad = {name: ref.reason for name, ref in found("msst_csv", tmp_path).items() if ref.reason}
    assert bad == {
        "audio\\x2fgone.wav": "train.csv names it, but it is not there",
        "line 15 of train.csv": "it has no path",
    }
    (tmp_path / "audio" / "vocals" / "vocals_0.wav").rename(tmp_path / "vocals.wav")
    assert found("msst_csv", tmp_path / "train.csv").keys() == found("msst_csv", tmp_path).keys()


# --- MoisesDB and Slakh2100 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "moisesdb_v0.1"])
def test_moisesdb(tmp_path: Path, below: str) -> None:
    refs = found("moisesdb", corpora.moisesdb(tmp_path) / below)
    assert sorted(ref.split for ref in refs.values()) == ["dev", "test", "train"]
    track = tmp_path / "moisesdb_v0.1" / "1d5a1b2c"
    ref = refs[track.name]
    assert ref.metadata == {"artist": "Bo", "genre": "pop", "bleed": "yes"}
    short = np.pad(read(track / "vocals" / "b.wav"), ((0, 200), (0, 0)))
    stems = {
        "vocals": read(track / "vocals" / "a.wav") + short,
        "drums": read(track / "drums" / "c.wav"),
        "bowed_strings": read(track / "bowed_strings" / "d.wav") + read(track / "bowed_strings" / "e.wav"),
    }
    assert_is(ref, stems, stems["bowed_strings"] + stems["drums"] + stems["vocals"])


@pytest.mark.parametrize("told", ["no json", "[]", '{"stems": [{"stemName": "vocals"}]}', '{"stems": []}'])
def test_a_track_of_moisesdb_without_sound_metadata_is_bad(tmp_path: Path, told: str) -> None:
    corpora.moisesdb(tmp_path)
    (tmp_path / "moisesdb_v0.1" / "1d5a1b2c" / "data.json").write_text(told)
    assert "data.json" in found("moisesdb", tmp_path)["1d5a1b2c"].reason


def test_no_metadata_leads_out_of_a_track(tmp_path: Path) -> None:
    corpora.moisesdb(tmp_path)
    told = {"stems": [{"stemName": "../..", "tracks": [{"id": "secret", "extension": "wav"}]}]}
    corpora.as_json(tmp_path / "moisesdb_v0.1" / "1d5a1b2c" / "data.json", told)
    assert "no file of its own" in found("moisesdb", tmp_path)["1d5a1b2c"].reason


def test_slakh2100(tmp_path: Path) -> None:
    refs = found("slakh2100", corpora.slakh2100(tmp_path))
    told = {name: (ref.split, ref.skipped) for name, ref in refs.items()}
    assert told == {
        "Track00000": ("train", False),
        "Track00001": ("dev", False),
        "Track00002": ("test", False),
        "Track00003": ("train", True),
    }
    track = tmp_path / "validation" / "Track00001"
    guitar = read(track / "stems" / "S00.flac") + read(track / "stems" / "S02.flac")
    stems = {"guitar": guitar, "drums": read(track / "stems" / "S01.flac")}
    assert_is(refs["Track00001"], stems, read(track / "mix.flac"))
    (track / "stems" / "S00.flac").unlink()
    assert found("slakh2100", tmp_path)["Track00001"].reason == "it has no stems/S00"


# --- manifest --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "manifest.csv"])
def test_manifest(tmp_path: Path, below: str) -> None:
    refs = found("manifest", corpora.manifest(tmp_path) / below)
    assert {name: ref.split for name, ref in refs.items()} == {"one": "train", "two": "dev", "three": "test"}
    assert refs["two"].metadata == {"singer": "Ann"}
    audio = tmp_path / "audio"
    stems = {name: read(audio / f"two_{name}.wav") for name in ("vocals", "drums")}
    assert_is(refs["two"], stems, read(audio / "two_mixture.wav"))


def test_a_manifest_names_files_whatever_their_names_end_in(tmp_path: Path) -> None:
    signals = [corpora.write(tmp_path / f"v{n}.wav") for n in (1, 2)]
    (tmp_path / "v1.wav").rename(tmp_path / "v1.dat")
    (tmp_path / "manifest.csv").write_text("track,vocals\na,v1.dat\nb,v2.wav\n")
    refs = found("manifest", tmp_path)
    for name, signal in zip("ab", signals, strict=True):
        assert_is(refs[name], {"vocals": signal}, signal)


def test_json_lines_sum_files_and_name_the_lines_that_are_wrong(tmp_path: Path) -> None:
    one, two = (corpora.write(tmp_path / f"{name}.wav") for name in ("one", "two"))
    (tmp_path / "manifest.jsonl").write_text(
        '{"track": "a", "vocals": ["one.wav", "two.wav"], "year": 1999}\n'
        '\n{"track": "b", "vocals": 7}\nno json\n{"vocals": "one.wav"}\n[1]\n{"track": "c/d", "vocals": "one.wav"}\n'
        '{"track": "e", "vocals": "one.wav", "vocals": "two.wav"}\n'
    )
    refs = found("manifest", tmp_path)
    assert_is(refs["a"], {"vocals": one + two}, one + two)
    assert refs["a"].metadata == {"year": "1999"}
    reasons = {name: ref.reason for name, ref in refs.items() if ref.reason}
    assert reasons.pop("line 4").startswith("it is no JSON (")
    assert reasons == {
        "b": "its vocals is 7; legal is the name of a file, or a list of names (line 3 of manifest.jsonl)",
        "line 5": "it has no track (line 5 of manifest.jsonl)",
        "line 6": "it is no mapping (line 6 of manifest.jsonl)",
        "line 8": "it has vocals twice (line 8 of manifest.jsonl)",
        "c\\x2fd": "its name 'c/d' has a slash",
    }


def test_a_manifest_from_a_spreadsheet(tmp_path: Path) -> None:
    """A byte order mark, semicolons, empty cells, a split that is none."""
    corpora.write(tmp_path / "a.wav")
    (tmp_path / "list.csv").write_text("\ufefftrack; split; vocals; drums\na; TRAIN; a.wav;\nb; tset; a.wav; a.wav\n")
    refs = found("manifest", tmp_path / "list.csv")
    assert (refs["a"].split, list(refs["a"].stems), load(refs["a"]).mixture.shape) == ("train", ["vocals"], (3200, 2))
    assert refs["b"].reason.startswith("its split is 'tset'; legal: train, valid, validation, dev, test")
