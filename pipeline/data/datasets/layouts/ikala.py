"""iKala: `Wavfile/<song>_{verse,chorus}.wav` of 30 s, left the music, right the singing voice.

Chan, Yeh, Fan, Chen, Su, Yang and Jang, "Vocal activity informed singing voice separation with the iKala dataset", ICASSP
2015; channels, names and `id_mapping.txt` (singer and song, separated by a tab) as in mirdata 1.0.0 (`datasets/ikala.py`).
The mixture is the sum of both channels. It was published without splits: they are drawn, singers and songs as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from models import storage
from pipeline.data.datasets import files, splits
from pipeline.data.datasets.recognition import Glance, WrongLayoutError
from pipeline.data.datasets.track import ACCOMPANIMENT, Source, TrackRef, unique

OPTIONS: dict[str, Any] = splits.OPTIONS
_CLIP = re.compile(r"(\w+)_(verse|chorus)", re.IGNORECASE)
_SINGERS = "id_mapping.txt"


def recognise(glance: Glance) -> str | None:
    """Verses and choruses in Wavfile/."""
    name = next((name for name in glance.audio("Wavfile") if _CLIP.fullmatch(name.rpartition(".")[0])), None)
    return name and f"Wavfile/{name} is a verse or a chorus"


def discover(path: str, options: Mapping[str, Any]) -> list[TrackRef]:
    """All clips.

    Raises:
      WrongLayoutError: the folder is missing or of another layout.
    """
    root = storage.path(path)
    clips = files.matching(root / "Wavfile", "*.wav")
    if not any(_CLIP.fullmatch(file.stem) for file in clips):
        raise WrongLayoutError(f"{path} is not iKala: expected clips in {path}/Wavfile/<song>_{{verse,chorus}}.wav.")
    singers = next(map(_singers, files.matching(root, _SINGERS)), {})
    return unique(splits.drawn([_ref(clip, singers) for clip in clips], options), path)


def _ref(clip: Any, singers: Mapping[str, str]) -> TrackRef:
    if not _CLIP.fullmatch(clip.stem):
        return TrackRef(clip.stem, "train", reason="its name is not <song>_verse or <song>_chorus")
    song = clip.stem.rpartition("_")[0]
    stems = {ACCOMPANIMENT: (Source(str(clip), channel=0),), "vocals": (Source(str(clip), channel=1),)}
    singer = {"singer": singers[song]} if song in singers else {}
    return TrackRef(clip.stem, "train", stems, metadata={"song": song, **singer})


def _singers(file: Any) -> dict[str, str]:
    """Song -> singer."""
    lines = (line.split("\t") for line in storage.read(file).decode(errors="replace").splitlines())
    return {line[1].strip(): line[0].strip() for line in lines if len(line) > 1 and line[0] != "singer"}
