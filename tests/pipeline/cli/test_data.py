"""`stemline data check`: a table, a document or a page, exit codes, and sentences for what is no corpus."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

CHROMIUM = shutil.which("chromium")
RATE_HZ = 16000
HOSTILE = "<b>Rock & Roll [red]<script>"


def song(directory: Path, samples: int = RATE_HZ) -> Path:
    directory.mkdir(parents=True)
    for seed, name in enumerate(("vocals", "drums")):
        soundfile.write(
            directory / f"{name}.wav", 0.1 * np.random.default_rng(seed + samples).normal(size=samples), RATE_HZ
        )
    return directory


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A good track in each split, and a bad one with a name that is none of HTML or of rich."""
    for number, split in enumerate(("train", "dev", "test")):
        song(tmp_path / "corpus" / split / f"good {number}", RATE_HZ + number)
    (song(tmp_path / "corpus" / "train" / HOSTILE) / "vocals.wav").write_bytes(b"")
    return tmp_path / "corpus"


def check(stemline, *args):
    return stemline("data", "check", *args, "--format", "folder")


def test_a_table_of_what_ingest_would_take_and_what_is_bad(stemline, corpus: Path) -> None:
    outcome = check(stemline, corpus, "--max-bad-tracks", 1)
    assert outcome.code == 0, outcome
    assert outcome.err.splitlines()[0] == f"looking at {corpus}"
    assert f"bad track: {HOSTILE} (train): vocals.wav is empty (0 bytes)" in outcome.out
    assert re.search(r"train +1 +1 +0\.00 *\n +dev +1 +0 +0\.00 *\n +test +1 +0 +0\.00", outcome.out)
    assert re.search(r"drums +accompaniment +4 *\n +vocals +vocals +4 *\n", outcome.out)
    assert outcome.out.splitlines()[-1] == "ingest would take 3 of 4 tracks (1 train, 1 dev, 1 test); bad: 1"


def test_names_are_no_commands_of_the_terminal(stemline, corpus: Path) -> None:
    (song(corpus / "train" / "two\nlines \x1b[31m") / "vocals.wav").unlink()
    outcome = check(stemline, corpus, "--max-bad-tracks", 2)
    assert r"bad track: two\nlines \x1b[31m (train): it has no stem for vocals" in outcome.out
    assert "\x1b" not in outcome.out


def test_nor_are_those_of_stems_and_of_what_tells_the_layout(stemline, tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        place = song(tmp_path / split / f"a\n\x1b[31m{split}", RATE_HZ + len(split))
        (place / "drums.wav").rename(place / "drums\n\x1b[31m[red].wav")
    (tmp_path / "loose.wav").write_bytes(b"")
    outcome = stemline("data", "check", tmp_path)
    assert r"train/a\n\x1b[31mtrain/ holds drums\n\x1b[31m[red].wav, vocals.wav" in outcome.out
    assert re.search(r"\n *drums\\n\\x1b\[31m\[red\] +accompaniment +3", outcome.out)
    assert "skipped: 1 x it lies outside of a track" in outcome.out
    ingest = stemline("ingest", "--data", tmp_path, "--workdir", tmp_path / "work", "--set", "data.most_seconds=0.1")
    assert r"format folder: train/a\n\x1b[31mtrain/ holds" in ingest.err
    assert "\x1b" not in outcome.out + ingest.err
    nowhere = stemline("data", "check", tmp_path / "no\n\x1bwhere")
    assert nowhere.code == 2
    assert nowhere.err.splitlines() == [
        f"looking at {tmp_path}/no\\n\\x1bwhere",
        f"stemline: {tmp_path}/no \\x1bwhere is not there",
    ]


def test_the_layout_is_recognised(stemline, corpus: Path) -> None:
    found = json.loads(stemline("data", "check", corpus, "--json").out)
    assert (found["format"], found["layout"]) == ("folder", f"train/{HOSTILE}/ holds drums.wav, vocals.wav")


def test_exit_code_3_where_ingest_would_refuse(stemline, corpus: Path) -> None:
    outcome = check(stemline, corpus)
    assert outcome.code == 3
    assert outcome.out.splitlines()[-1].startswith("1 of 4 tracks cannot be used, but data.max_bad_tracks allows 0 (")
    shutil.rmtree(corpus / "dev")
    empty = check(stemline, corpus, "--max-bad-tracks", 1)
    assert empty.code == 3
    ingest = stemline("ingest", "--data", corpus, "--format", "folder", "--max-bad-tracks", 1)
    assert ingest.err.splitlines() == [f"looking at {corpus}", f"stemline: {empty.out.splitlines()[-1]}"]


@pytest.mark.parametrize("format", [(), ("--format", "folder")])
def test_options_of_a_recipe_for_any_layout_hold_for_each(stemline, tmp_path: Path, format: tuple[str, ...]) -> None:
    """The recipe `default` is trained on few songs, without a dev split."""
    for number in range(6):
        song(tmp_path / "own" / f"song {number}", RATE_HZ)
    outcome = stemline("data", "check", "own", "--recipe", "default", *format)
    assert outcome.code == 0, outcome
    assert outcome.out.splitlines()[-1] == "ingest would take 6 of 6 tracks (4 train, 0 dev, 2 test)"


def test_json_is_all_that_standard_output_holds(stemline, corpus: Path) -> None:
    outcome = check(stemline, corpus, "--json")
    found = json.loads(outcome.out)
    assert (outcome.code, found["usable"]) == (3, False)
    assert [track["track"] for track in found["bad_tracks"]] == [HOSTILE]
    assert len(found["tracks"]) == 3


def test_the_recipe_says_which_targets_there_are(stemline, corpus: Path) -> None:
    def found(targets: str) -> dict:
        sections = [f"data.targets={targets}", f"model.targets={targets}", "gate.thresholds=[]"]
        given = [word for section in sections for word in ("--set", section)]
        return json.loads(check(stemline, corpus, *given, "--json").out)

    stems = found("[vocals, drums]")["stems"]
    assert {name: stem["target"] for name, stem in stems.items()} == {"vocals": "vocals", "drums": "drums"}
    other = found("[vocals, bass]")
    assert len(other["bad_tracks"]) == 4
    assert other["stems"]["drums"]["target"] is None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda place: None, "is not a directory"),
        (lambda place: place.write_text("words"), "is not a directory"),
        (lambda place: place.mkdir(), "holds no track"),
    ],
    ids=["missing", "file", "empty"],
)
def test_what_is_no_corpus_is_a_sentence(stemline, tmp_path: Path, make, words: str) -> None:
    make(tmp_path / "place")
    outcome = check(stemline, tmp_path / "place", "--json")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-1].startswith("stemline: ")
    assert words in outcome.err
    assert "Traceback" not in outcome.err


def test_a_page_that_cannot_be_written_is_told_before_any_work(stemline, corpus: Path, tmp_path: Path) -> None:
    outcome = check(stemline, corpus, "--page", tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert "a directory; legal is the name of a file" in outcome.err


def imported(*args: object) -> tuple[list[str], str]:
    """What takes seconds to import and was, by a command that ends in a process of its own; and its standard error."""
    code = (
        "import sys; from pipeline.cli import main; sys.argv[0] = 'stemline'\n"
        "try: main.main()\n"
        "except SystemExit: print([name for name in ('tensorflow', 'tfx', 'scipy', 'matplotlib') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return ast.literal_eval(done.stdout.splitlines()[-1]), done.stderr


def test_needs_nothing_that_takes_seconds_to_import(corpus: Path) -> None:
    assert imported("data", "check", corpus, "-f", "folder")[0] == []


@pytest.mark.parametrize("command", ["ingest", "train", "run", "evaluate"])
def test_what_shows_of_a_corpus_is_refused_before_such_imports(corpus: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "empty").mkdir()
    shutil.rmtree(corpus / "dev")
    missing = imported(command, "--recipe", "drnn_mir1k")
    assert missing == (
        [],
        "reading recipe drnn_mir1k and what is in runs\n"
        "stemline: data.format is mir1k, a layout of files: --data says where they are\n",
    )
    for data, words in (
        (tmp_path / "empty", f"{tmp_path}/empty holds nothing"),
        (tmp_path / "nowhere", f"{tmp_path}/nowhere is not there"),
        (corpus, f"The dev split of {corpus} has no track"),
    ):
        loaded, told = imported(command, "--data", data)
        assert ({*loaded} & {"tensorflow", "tfx"}, told.splitlines()[0]) == (set(), f"looking at {data}")
        assert words in told.splitlines()[-1]
    loaded, told = imported(command, "--data", corpus, "--format", "mirk1")
    assert loaded == []
    assert "unknown data format 'mirk1'; did you mean 'mir1k'?" in told


# --- the page --------------------------------------------------------------------------------------------------------


@pytest.fixture
def written(stemline, corpus: Path, tmp_path: Path) -> Path:
    outcome = check(stemline, corpus, "--page", tmp_path / "new" / "corpus.html")
    assert (outcome.code, outcome.err.splitlines()[-1]) == (3, f"wrote {tmp_path}/new/corpus.html")
    return tmp_path / "new" / "corpus.html"


def test_the_page_says_what_the_table_says_and_names_are_text(written: Path) -> None:
    html = written.read_text()
    assert "<b>Rock" not in html
    assert "&lt;b&gt;Rock &amp; Roll" in html
    assert "1 of 4 tracks cannot be used" in html
    assert html.count("<svg") == 4
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", html)


@pytest.fixture
def opened(written: Path) -> Iterator[SimpleNamespace]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = chromium.new_page()
        asked, complaints = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(written.as_uri())
        yield SimpleNamespace(page=page, asked=asked, complaints=complaints, url=written.as_uri())
        chromium.close()


def test_the_page_fits_a_desk_and_a_phone_and_asks_for_nothing(opened: SimpleNamespace) -> None:
    for width in (1400, 390):
        opened.page.set_viewport_size({"width": width, "height": 900})
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
        for box in [svg.bounding_box() for svg in opened.page.locator("figure svg").all()]:
            assert box is not None
            assert box["width"] > 0.75 * min(width, 450)
        shown = opened.page.locator("table.bad td.why").bounding_box()
        assert shown is not None
        assert shown["x"] + shown["width"] <= width
    assert opened.page.locator("tbody tr td:first-child", has_text=HOSTILE).count() == 1
    assert [url for url in opened.asked if not url.startswith("data:")] == [opened.url]
    assert opened.complaints == []
