"""Every layout is recognised as itself and as no other; the wrong format names the right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.config import DataConfig
from pipeline.data import corpus, datasets
from pipeline.data.datasets import recognised
from pipeline.data.datasets.recognition import Glance, WrongLayoutError
from tests.pipeline.data.layouts import corpora

REAL = {"MIR-1K": "mir1k", "MIR-1K-17-singers": "mir1k", "MUSDB18-7-SAMPLE": "musdb18", "EverythingIsFree": "folder"}


def test_every_format_with_files_has_a_rendering() -> None:
    assert {format for format, _ in corpora.RENDERED.values()} == set(datasets.formats()) - {"synthetic"}


@pytest.mark.parametrize("name", corpora.RENDERED)
def test_a_layout_is_recognised_as_itself_and_no_other(name: str, tmp_path: Path) -> None:
    format, render = corpora.RENDERED[name]
    found = datasets.recognised(str(render(tmp_path)))
    assert list(found) == [format]
    assert datasets.recognise(str(tmp_path)) == (format, found[format])


@pytest.mark.parametrize("name", corpora.RENDERED)
def test_no_other_reader_falls_over_a_layout(name: str, tmp_path: Path) -> None:
    """Each lists tracks, or says in one sentence what it expected; the ingest adds what it looks like."""
    right, render = corpora.RENDERED[name]
    path = str(render(tmp_path))
    said = {}
    for format in sorted(set(datasets.formats()) - {"synthetic", right}):
        try:
            assert datasets.reader(format).discover(path, datasets.reader(format).OPTIONS)
        except ValueError as error:
            said[format] = error
    assert not [error for error in said.values() if "\n" in str(error)]
    for format in [format for format, error in said.items() if isinstance(error, WrongLayoutError)]:
        with pytest.raises(WrongLayoutError, match=rf"It looks like {right}: --format {right}$"):
            corpus.listed(DataConfig(path=path, format=format))


def test_a_layout_is_recognised_through_litter_and_by_few_listings(tmp_path: Path) -> None:
    corpora.dsd100(tmp_path)
    for name in (".DS_Store", "._Mixtures", "Thumbs.db", "~$dsd100.xlsx"):
        (tmp_path / name).touch()
    (tmp_path / "__MACOSX" / "train").mkdir(parents=True)
    assert list(datasets.recognised(str(tmp_path))) == ["dsd100"]
    for index in range(200):
        (tmp_path / f"track {index:03d}" / "deeper").mkdir(parents=True)
    glance = Glance(str(tmp_path))
    for format in set(datasets.formats()) - {"synthetic"}:
        datasets.reader(format).recognise(glance)
    assert len(glance._listed) < 60


def test_what_is_no_corpus_and_what_may_be_two(tmp_path: Path) -> None:
    corpora.write(tmp_path / "a" / "b" / "c" / "d" / "deep.wav")
    with pytest.raises(ValueError, match="has no layout that is known; --format says which it is: aligned, ") as caught:
        datasets.recognise(str(tmp_path))
    assert "synthetic" not in str(caught.value), "which has no path"
    corpora.dsd100(tmp_path)
    corpora.manifest(tmp_path)
    with pytest.raises(ValueError, match=r"may be of several layouts, --format says which: dsd100 \(.*; manifest \("):
        datasets.recognise(str(tmp_path))


def _nothing(root: Path) -> Path:
    return root / "nothere"


def _empty(root: Path) -> Path:
    (root / ".DS_Store").touch()
    return root


def _link_to_itself(root: Path) -> Path:
    (root / "self").symlink_to(root / "self")
    return root / "self"


def _song(root: Path) -> Path:
    corpora.write(root / "song.wav")
    return root / "song.wav"


def _track(root: Path) -> Path:
    corpora.folder(root)
    return root / "Ann - One"


def _texts(root: Path) -> Path:
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "vocals.txt").touch()
    return root


def _list(name: str, text: str):
    def write(root: Path) -> Path:
        (root / name).write_text(text)
        return root

    return write


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_nothing, "/nothere is not there"),
        (_empty, " holds nothing"),
        (_link_to_itself, "/self is a link to nothing"),
        (
            _song,
            r"/song\.wav is a file, expected a folder or a list of tracks such as manifest\.csv or manifest\.jsonl",
        ),
        (_track, r"/Ann - One looks like one track \(.*\); give the folder above it"),
        (_texts, " holds no audio file"),
        (_list("manifest.csv", ""), r"/manifest\.csv has no rows\."),
        (_list("manifest.csv", "track,vocals\n"), r"/manifest\.csv has no rows\."),
        (_list("manifest.csv", "name,vocals\na,a.wav\n"), "expected a column track, but it has name, vocals"),
        (_list("manifest.csv", "track,vocals,vocals\na,a.wav,b.wav\n"), "has the column vocals twice"),
        (_list("manifest.jsonl", "no json\n"), "expected a column track, but it has none"),
    ],
    ids=["nothing", "empty", "link", "file", "track", "texts", "no-line", "no-row", "columns", "twice", "no-json"],
)
def test_what_is_no_corpus_is_told_for_what_it_is(make, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{words}$|{words}\\.$"):
        corpus.listed(DataConfig(path=str(make(tmp_path))))


def test_a_faulty_list_is_told_also_beside_what_may_be_tracks(tmp_path: Path) -> None:
    corpora.folder(tmp_path)
    (tmp_path / "manifest.csv").write_text("name,vocals\na,a.wav\n")
    with pytest.raises(WrongLayoutError, match=r"but it has name, vocals\. Without it: --format folder$"):
        datasets.recognise(str(tmp_path))
    assert corpus.listed(DataConfig(path=str(tmp_path), format="folder"))


def test_a_list_with_a_bad_first_line_is_still_one(tmp_path: Path) -> None:
    """Its line is a bad track, as any other would be."""
    corpora.write(tmp_path / "a.wav")
    (tmp_path / "manifest.jsonl").write_text('no json\n{"track": "a", "vocals": "a.wav"}\n')
    assert datasets.recognise(str(tmp_path)) == ("manifest", "manifest.jsonl is there")
    assert [bool(ref.reason) for ref in corpus.listed(DataConfig(path=str(tmp_path)))].count(True) == 1


def test_auto_is_the_default_of_a_path_and_synthetic_without_one(tmp_path: Path) -> None:
    assert DataConfig().format == "synthetic"
    data = DataConfig(path=str(corpora.ccmixter(tmp_path)))
    assert data.format == "auto"
    assert [ref.name for ref in corpus.listed(data)] == [ref.name for ref in corpus.listed(corpus.resolved(data)[0])]
    assert corpus.resolved(data)[0].format == "ccmixter"


def test_auto_looks_at_the_newest_span(tmp_path: Path) -> None:
    corpora.ccmixter(tmp_path / "week-1")
    corpora.folder(tmp_path / "week-2")
    assert corpus.resolved(DataConfig(path=f"{tmp_path}/week-{{SPAN}}"))[0].format == "folder"


@pytest.mark.parametrize("name", REAL)
def test_real_corpora(name: str, datasets: Path) -> None:
    if not (datasets / name).is_dir():
        pytest.skip(f"research data not here: {name}")
    assert list(recognised(str(datasets / name))) == [REAL[name]]
