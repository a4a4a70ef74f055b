"""What lies in folders that nobody tidied: litter, links, names that are no text. One wrong thing is one bad track."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.components.stems_example_gen import files_fingerprint
from pipeline.config.config import DataConfig
from pipeline.data import corpus, datasets
from pipeline.data.datasets import files
from pipeline.data.datasets.track import SPLITS, TrackRef
from tests.pipeline.data.layouts import corpora

LITTER = (
    ".DS_Store",
    "._mixture.wav",
    "Thumbs.db",
    "desktop.ini",
    "~$list.xlsx",
    "new.wav.part",
    "a.crdownload",
    "b.tmp",
)


def discovered(name: str, root: Path) -> dict[str, TrackRef]:
    reader = datasets.reader(corpora.RENDERED[name][0])
    return {ref.name: ref for ref in reader.discover(str(root), reader.OPTIONS)}


def littered(root: Path) -> int:
    """Puts litter into every directory below a root; how much that is."""
    places = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for place in places:
        for name in LITTER:
            (place / name).write_bytes(b"litter")
        (place / "__MACOSX").mkdir()
        (place / "__MACOSX" / "._vocals.wav").write_bytes(b"litter")
    return len(places) * (len(LITTER) + 1)


@pytest.mark.parametrize("name", corpora.RENDERED)
def test_litter_changes_no_layout_and_is_counted(name: str, tmp_path: Path) -> None:
    format, render = corpora.RENDERED[name]
    before = discovered(name, render(tmp_path))
    known = files_fingerprint(str(tmp_path))
    assert files.litter(tmp_path) == []
    count = littered(tmp_path)
    assert list(datasets.recognised(str(tmp_path))) == [format]
    assert discovered(name, tmp_path) == before
    assert len(files.litter(tmp_path)) == count
    assert files_fingerprint(str(tmp_path)) == known


@pytest.mark.parametrize("name", corpora.RENDERED)
def test_links_in_circles_end(name: str, tmp_path: Path) -> None:
    format, render = corpora.RENDERED[name]
    render(tmp_path)
    for place in [tmp_path, *(path for path in sorted(tmp_path.rglob("*")) if path.is_dir())]:
        (place / "circle").symlink_to(tmp_path, target_is_directory=True)
        (place / "itself").symlink_to(place / "itself")
    assert list(datasets.recognised(str(tmp_path))) == [format]
    assert files_fingerprint(str(tmp_path))
    assert len(files.litter(tmp_path)) == 0
    good = [ref for ref in corpus.listed(DataConfig(path=str(tmp_path), format=format)) if not ref.reason]
    assert good


def test_a_link_to_nothing_is_a_bad_track(tmp_path: Path) -> None:
    corpora.folder(tmp_path)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    vocals = tmp_path / "Ann - One" / "vocals.wav"
    vocals.unlink()
    vocals.symlink_to(tmp_path / "nowhere.wav")
    refs = discovered("folder", tmp_path)
    assert refs["gone"].reason == "it is a link to nothing"
    assert str(vocals) in refs["Ann - One"].files  # whose decoder says so
    assert files_fingerprint(str(tmp_path))


NAME = os.fsdecode(b"caf\xe9")
SPOILT = {
    "folder": "Ann - One",
    "ccmixter": "Ann_-_One",
    "dsd100": "Sources/Dev/050 - Ann - One",
    "medleydb": "Audio/Bo_Two",
}
SPOILT |= {"moisesdb": "moisesdb_v0.1/0d5a1b2c", "slakh2100": "train/Track00000", "musdb18hq": "train/Ann - One"}
SPOILT |= {"mir1k": "Wavfile/abjones_1_01.wav", "musdb18": "train/Ann - One.stem.mp4", "trackfolder": "train/1"}
SPOILT |= {"aligned": "train/02", "sourcefolder": "train/vocals/vocals_0.wav", "ikala": "Wavfile/10161_verse.wav"}


@pytest.mark.parametrize("name", SPOILT)
def test_a_name_that_is_no_utf8_is_a_bad_track_under_a_name_that_can_be_printed(name: str, tmp_path: Path) -> None:
    format, render = corpora.RENDERED[name]
    old = render(tmp_path) / SPOILT[name]
    old.rename(old.with_name(NAME + ("_verse" if name == "ikala" else "") + "".join(old.suffixes)))
    refs = corpus.listed(DataConfig(path=str(tmp_path), format=format))
    bad = [ref for ref in refs if "UTF-8" in ref.reason or "\\xe9" in ref.name]
    assert bad
    assert all("caf\\xe9" in ref.name + ref.reason for ref in bad)
    assert all(ref.reason for ref in bad)
    for ref in refs:
        assert json.dumps([ref.name, ref.reason, dict(ref.metadata)], ensure_ascii=False).encode()
        assert pickle.loads(pickle.dumps(ref)) == ref
        assert "".join((ref.name, *ref.files)).encode()
    assert files_fingerprint(str(tmp_path))
    assert [ref for ref in refs if not ref.reason]


@pytest.fixture
def forbidden(tmp_path: Path) -> Callable[[Path], None]:
    def forbid(place: Path) -> None:
        place.chmod(0)
        if os.access(place, os.R_OK):
            pytest.skip("nothing is forbidden to root")

    return forbid


def test_a_directory_that_may_not_be_read_is_a_bad_track(tmp_path: Path, forbidden) -> None:
    corpora.folder(tmp_path)
    forbidden(tmp_path / "Ann - One")
    try:
        assert discovered("folder", tmp_path)["Ann - One"].reason == "Ann - One cannot be read (Permission denied)"
        assert files_fingerprint(str(tmp_path))
    finally:
        (tmp_path / "Ann - One").chmod(0o700)


@pytest.mark.parametrize("name", ["folder", "ccmixter", "dsd100", "slakh2100", "moisesdb", "medleydb", "aligned"])
def test_files_where_directories_are_expected_are_no_tracks(name: str, tmp_path: Path) -> None:
    format, render = corpora.RENDERED[name]
    before = discovered(name, render(tmp_path))
    for place in [tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())]:
        (place / "README").write_text("words")
        (place / "notes.txt").write_text("words")
        (place / "empty").mkdir()
    after = discovered(name, tmp_path)
    assert {name: ref for name, ref in after.items() if not ref.reason} == {
        n: r for n, r in before.items() if not r.reason
    }
    assert {ref.split for ref in after.values()} <= set(SPLITS)
    assert list(datasets.recognised(str(tmp_path))) == [format]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("track,vocals\n" + "a," + "x" * 200_000 + ".wav\n", r"manifest\.csv is no CSV \(field larger"),
        ("track,split,vocals\na,train,a.wav\na,test,b.wav\n", r"Track 'a' occurs twice in .* \(train and test\)"),
        ("track,vocals\na,a.wav\n", r"The dev split of .* has no track; put"),
        ("track,split,vocals\na,tset,a.wav\n", r"has no track \(1 tracks are bad, the first: a: its split is 'tset'"),
    ],
)
def test_a_list_that_cannot_be_is_told_in_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        corpus.discover(DataConfig(path=str(tmp_path), format="manifest"))


def test_halves_of_characters_in_json_are_printed(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text('{"track": "\\ud800", "vocals": "a.wav", "artist": "\\udce9"}\n')
    [ref] = corpus.listed(DataConfig(path=str(tmp_path)))
    assert (ref.name, ref.reason) == ("\\ud800", "the name \\ud800 is no UTF-8")


def test_one_artist_cannot_be_in_three_splits(tmp_path: Path) -> None:
    for song in ("One", "Two", "Three"):
        corpora.write(tmp_path / f"Ann - {song}" / "vocals.wav")
    with pytest.raises(ValueError, match=r"has no track \(tracks of one artist are in one split, see data\.group_by\)"):
        corpus.discover(DataConfig(path=str(tmp_path)))
    apart = corpus.discover(DataConfig(path=str(tmp_path), group_by=()))
    assert {ref.split for ref in apart} == set(SPLITS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hold_out": "test"}, r"data\.options\.hold_out is 'test'; legal: a list of texts"),
        ({"hold_out": ["tset"]}, r"data\.options\.hold_out has 'tset'; legal: dev, test"),
        ({"ext": 3}, r"data\.options\.ext is 3; legal: text"),
        ({"interferer_files": "bass.wav"}, r"interferer_files is 'bass\.wav'; legal: a list of texts"),
        ({"fill_splits": 1}, r"fill_splits is 1; legal: true or false"),
    ],
)
def test_options_of_another_kind_are_refused(tmp_path: Path, options: dict, words: str) -> None:
    corpora.trackfolder(tmp_path)
    with pytest.raises(ValueError, match=words):
        corpus.listed(DataConfig(path=str(tmp_path), format="trackfolder", options=options))
