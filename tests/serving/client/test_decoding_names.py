"""What is told by a name: audio, litter and of which kind, or what somebody meant."""

from __future__ import annotations

import pytest

from serving.client.decoding.names import audio_named, litter_kind

LITTER = {
    "macOS": [".DS_Store", "._a.wav", "._.part", "__MACOSX"],
    "Windows": ["Thumbs.db", "desktop.INI", "$RECYCLE.BIN", "System Volume Information", "~$a.xlsx"],
    "unfinished": ["a.wav.part", "b.crdownload", "c.TMP", "Safari.download"],
    "hidden": [".git", ".a.wav", ".part", "@eaDir", ".new\nline"],
    "": ["...And You - Song", "~", "~live~.flac", "Mr. Part", "template", "A.tmp.wav", "part", "Thumbs", "A - B"],
}


@pytest.mark.parametrize("kind", LITTER)
def test_litter_is_known_by_its_kind_and_is_no_name_that_tracks_have(kind: str) -> None:
    assert {name: litter_kind(name) for name in LITTER[kind]} == dict.fromkeys(LITTER[kind], kind)


def test_audio_is_told_by_the_suffix_in_any_case() -> None:
    names = ["a.wav", "b/c.FLAC", "d.stem.mp4", "e.mkv", "wav", ".wav", "f.wav.part", "g.txt", ""]
    assert list(filter(audio_named, names)) == names[:4]
