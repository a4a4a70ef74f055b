"""Where stems go, and what is refused of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.client.files.inputs import Input
from serving.client.files.outputs import Job, Naming, missing, plan
from serving.client.signals import SeparationError

STEMS = ("vocals", "accompaniment")


def source(path: str, track: str | None = None) -> Input:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).touch()
    return Input(Path(path), Path(path).stem if track is None else track)


def names(inputs: list[Input], template: str, ext: str = "wav") -> list[str]:
    return [
        str(path) for job in plan(inputs, STEMS, Naming(Path("out"), ext, template)) for path in job.outputs.values()
    ]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{track}/{stem}.{ext}", ["out/b/a.x/vocals.flac", "out/b/a.x/accompaniment.flac"]),
        ("{stem}/{track}.{trackext}.{ext}", ["out/vocals/b/a.x.mp3.flac", "out/accompaniment/b/a.x.mp3.flac"]),
        ("{stem}", ["out/vocals", "out/accompaniment"]),
        ("./{stem}//{{x}}", ["out/vocals/{x}", "out/accompaniment/{x}"]),
    ],
)
def test_names_by_template(template: str, expected: list[str]) -> None:
    assert names([source("in/b/a.x.mp3", "b/a.x")], template, "flac") == expected


@pytest.mark.parametrize("template", ["/", "../{stem}", "{track}/../../{stem}", "/tmp/{stem}", "{track}/.."])
def test_a_name_outside_of_the_folder_is_refused(template: str) -> None:
    with pytest.raises(SeparationError, match=r"a stem of a\.wav would become .*, outside of out"):
        names([source("a.wav")], template)


@pytest.mark.parametrize("template", ["", ".", "./", "{trackext}"])
def test_a_template_that_gives_no_name_is_refused(template: str) -> None:
    with pytest.raises(SeparationError, match=r"^template is '.*', which gives a stem of a no name; legal: \{track\}"):
        names([source("a")], template)


@pytest.mark.parametrize(
    ("template", "name"),
    [("{track}/{stem}.mp3", "a/vocals.mp3"), ("{stem}.{trackext}", "vocals.FLAC"), ("{stem}.x.Aif", "vocals.x.Aif")],
)
def test_a_name_of_another_format_is_refused(template: str, name: str) -> None:
    with pytest.raises(
        SeparationError, match=rf"^a stem of a.FLAC would become {name}, but is written as wav; .* \.wav$"
    ):
        names([source("a.FLAC")], template)


@pytest.mark.parametrize("end", [".{ext}", ".wav", ".WAV", "", ".mix", ".mp3.wav", ".mp3/x"])
def test_other_ends_of_a_name_are_legal(end: str) -> None:
    assert names([source("a.FLAC")], f"{{stem}}{end}") == [f"out/{stem}{end.format(ext='wav')}" for stem in STEMS]


@pytest.mark.parametrize("path", ["..wav", "...wav", "....wav"])
def test_a_name_of_dots(path: str) -> None:
    each = source(path)
    assert names([each], "./{stem}/{track}.{ext}") == [f"out/{stem}/{path}" for stem in STEMS]
    if reason := {".": "without a name of its track", "..": "outside of out"}.get(each.track):
        with pytest.raises(SeparationError, match=reason):
            names([each], "./{track}/{stem}")
    else:
        assert names([each], "{track}/{stem}") == ["out/.../vocals", "out/.../accompaniment"]


@pytest.mark.parametrize(
    "template", ["{}", "{0}", "{stem!r}", "{stem:>9}", "{stem.x}", "{stem[0]}", "{Stem}", "{", "}"]
)
def test_other_fields_are_refused(template: str) -> None:
    with pytest.raises(SeparationError, match=r"legal: \{track\}, \{trackext\}, \{stem\}, \{ext\}"):
        Naming(Path("out"), "wav", template)


def test_what_would_be_one_file_is_refused() -> None:
    songs = [source("a.wav"), source("a.mp3")]
    with pytest.raises(SeparationError, match=r"a\.wav and a\.mp3 would both become out/a/vocals\.wav: .*\{trackext\}"):
        names(songs, "{track}/{stem}.{ext}")
    assert len(set(names(songs, "{track}.{trackext}/{stem}"))) == 4
    with pytest.raises(
        SeparationError, match=r"vocals and accompaniment of a\.wav would both become out/a: .*\{stem\}"
    ):
        names(songs[:1], "{track}")
    with pytest.raises(
        SeparationError, match=r"a stem of d/b\.wav would lie in \S*out/vocals, which a stem of a\.wav beco"
    ):
        plan(
            [source("a.wav", "vocals"), source("d/b.wav", "vocals/b")], ("bass",), Naming(Path("out"), "wav", "{track}")
        )


def test_a_stem_that_is_an_input_is_refused_by_any_name_of_it() -> None:
    songs = [source("vocals/vocals.wav")]
    naming = Naming(Path("."))
    with pytest.raises(
        SeparationError, match=r"^vocals/vocals\.wav would be written, and is the input vocals/vocals\.wav"
    ):
        plan(songs, STEMS, naming)
    Path("link").symlink_to("vocals")
    with pytest.raises(
        SeparationError, match=r"^link/vocals\.wav would be written, and is the input vocals/vocals\.wav"
    ):
        plan(songs, STEMS, Naming(Path("link"), template="{stem}.{ext}"))
    assert plan(songs, ("accompaniment",), naming)
    with pytest.raises(SeparationError, match=r"^song/vocals\.wav would be written, and is the input song/vocals\.wav"):
        plan([source("song.wav"), source("song/vocals.wav")], STEMS, naming)


def test_what_is_there() -> None:
    job = Job(source("a.wav"), {stem: Path("out", f"{stem}.wav") for stem in STEMS})
    assert missing([job], overwrite=False, skip_existing=False) == [job]
    source("out/vocals.wav")
    with pytest.raises(SeparationError, match=r"^out/vocals\.wav is there; legal with --overwrite or --skip-existing"):
        missing([job], overwrite=False, skip_existing=False)
    assert missing([job], overwrite=True, skip_existing=False) == [job]
    [left] = missing([job], overwrite=False, skip_existing=True)
    assert list(left.outputs) == ["accompaniment"]
    Path("out/accompaniment.wav").mkdir()
    with pytest.raises(SeparationError, match=r"^out/accompaniment\.wav is a folder"):
        missing([job], overwrite=True, skip_existing=False)
