"""What arguments name, and what is left alone."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from serving.client.files import inputs
from serving.client.signals import SeparationError


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def tracks(*arguments: str, without: str | None = None) -> dict[str, str]:
    found = inputs.found([Path(each) for each in arguments], None if without is None else Path(without))
    return {str(each.path): each.track for each in found.files}


def test_a_folder_keeps_the_folders_in_it() -> None:
    touch("in/a.wav", "in/b/c.FLAC", "in/b/d/e.f.mp3", "in/movie.mkv")
    assert tracks("in") == {"in/a.wav": "a", "in/movie.mkv": "movie", "in/b/c.FLAC": "b/c", "in/b/d/e.f.mp3": "b/d/e.f"}
    assert tracks("in/b/c.FLAC") == {"in/b/c.FLAC": "c"}
    assert tracks("in/b/c.FLAC", "in/b") == {"in/b/c.FLAC": "c", "in/b/d/e.f.mp3": "d/e.f"}
    assert tracks(".")["in/b/c.FLAC"] == "in/b/c"


def test_litter_is_counted_and_left_alone() -> None:
    touch(
        "in/a.wav",
        "in/._a.wav",
        "in/.git/b.wav",
        "in/__MACOSX/c.wav",
        "in/Thumbs.db",
        "in/d.wav.part",
        "in/e.jpg",
        "in/f",
    )
    found = inputs.found([Path("in")])
    assert [str(each.path) for each in found.files] == ["in/a.wav"]
    assert {reason: sorted(map(str, paths)) for reason, paths in found.ignored.items()} == {
        "litter": ["in/._a.wav", "in/.git", "in/Thumbs.db", "in/__MACOSX"],
        "unfinished": ["in/d.wav.part"],
        "no audio by its name": ["in/e.jpg", "in/f"],
    }
    assert inputs.counted(found.ignored) == "4 litter, 1 unfinished, 2 no audio by its name"
    assert tracks("in/e.jpg", "in/._a.wav") == {"in/e.jpg": "e", "in/._a.wav": "._a"}  # who names a file means it


def test_results_are_no_inputs() -> None:
    touch("a.wav", "separated/a/vocals.wav")
    assert tracks(".", without="separated") == {"a.wav": "a"}
    assert tracks("separated", without="separated") == {"separated/a/vocals.wav": "a/vocals"}
    Path("link").symlink_to("separated")
    assert tracks(".", without="link") == {"a.wav": "a"}


def test_circles_of_links_end_and_links_to_nothing_are_tried() -> None:
    touch("in/b/a.wav")
    Path("in/b/up").symlink_to("..")
    Path("in/c.wav").symlink_to("nothing")
    Path("in/d").symlink_to("nowhere")
    assert tracks("in") == {"in/c.wav": "c", "in/b/a.wav": "b/a"}


def test_globs_that_no_shell_expanded() -> None:
    touch("in/a.wav", "in/b/c.wav", "in/[x].wav")
    assert list(tracks("in/*.wav")) == ["in/[x].wav", "in/a.wav"]
    assert list(tracks("in/**/*.wav")) == ["in/[x].wav", "in/a.wav", "in/b/c.wav"]
    assert tracks("in/[x].wav") == {"in/[x].wav": "[x]"}  # it is there
    assert tracks("i*") == tracks("in")


@pytest.mark.parametrize("argument", ["none.wav", "*.mp3", "empty", "in/*/none"])
def test_what_names_nothing_is_refused(argument: str) -> None:
    touch("in/a.wav", "empty/cover.jpg")
    with pytest.raises(SeparationError, match=r"is not there|holds no audio file"):
        inputs.found([Path("in"), Path(argument)])


def test_a_pipe_is_told_of_standard_input() -> None:
    os.mkfifo("pipe")
    with pytest.raises(SeparationError, match=r"^pipe is a pipe; legal is - with the pipe as standard input$"):
        inputs.found([Path("pipe")])
    os.mkfifo("-")
    assert tracks("-") == {"-": "stdin"}


def test_standard_input_is_copied_and_goes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracks("-") == {"-": "stdin"}
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"sound")))
    with inputs.on_disk(inputs.STANDARD) as copy:
        assert copy.read_bytes() == b"sound"
    assert not copy.exists()
