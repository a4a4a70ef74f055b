"""Corpora of every layout, rendered small: files of noise, each of its own, where the layout wants them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
import yaml

RATE_HZ = 16000
FOUR = ("bass", "drums", "other", "vocals")


def write(path: Path, samples: int = 3200, channels: int = 2) -> np.ndarray:
    """Writes noise that its path alone decides, and returns what a decoder gives: float32 [samples, channels]."""
    seed = list("/".join(path.parts[-3:]).encode())
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.2, 0.2, (samples, channels)), RATE_HZ)
    return read(path)


def read(path: Path | str) -> np.ndarray:
    return soundfile.read(path, dtype="float32", always_2d=True)[0]


def dsd100(root: Path, tracks: Sequence[str] = ("Ann - One", "Bo - Two", "Cy - Three", "Di - Four")) -> Path:
    for index, name in enumerate(tracks):
        subset = "Test" if index == len(tracks) - 1 else "Dev"
        write(root / "Mixtures" / subset / f"{index + 50:03d} - {name}" / "mixture.wav")
        for stem in FOUR:
            write(root / "Sources" / subset / f"{index + 50:03d} - {name}" / f"{stem}.wav")
    (root / "dsd100.xlsx").write_bytes(b"PK")
    return root


def musdb18(root: Path) -> Path:
    """Names only: no MUSDB18 file may be shipped."""
    for name in ("train/Ann - One", "train/ANiMAL - Rockshow", "test/Bo - Two"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.stem.mp4").write_bytes(b"no audio")
    return root


def musdb18hq(
    root: Path, tracks: Sequence[str] = ("train/Ann - One", "train/ANiMAL - Rockshow", "test/Bo - Two")
) -> Path:
    for name in tracks:
        for stem in ("mixture", *FOUR):
            write(root / name / f"{stem}.wav")
    return root


def medleydb(root: Path, metadata: str = "") -> Path:
    """Three tracks: two voices and a list of instruments, one singer, no voice."""
    _medleydb(
        root,
        "AnnBand_One",
        ["male singer", ["female singer", "male singer"], "Drum Set", ["piano", "violin"]],
        metadata,
    )
    _medleydb(root, "Bo_Two", ["female rapper", "electric bass", "synthesizer"], metadata)
    _medleydb(root, "Cy_Three", ["female singer", "crowd"], metadata)
    return root


def _medleydb(root: Path, name: str, instruments: Sequence[str | list[str]], metadata: str) -> None:
    track = root / "Audio" / name
    told: dict = {
        "artist": name.partition("_")[0],
        "album": "",
        "genre": "Pop",
        "has_bleed": "no",
        "instrumental": "no",
    }
    told |= {"mix_filename": f"{name}_MIX.wav", "stem_dir": f"{name}_STEMS", "raw_dir": f"{name}_RAW", "stems": {}}
    for number, instrument in enumerate(instruments, 1):
        stem, raw = f"{name}_STEM_{number:02d}.wav", f"{name}_RAW_{number:02d}_01.wav"
        told["stems"][f"S{number:02d}"] = {
            **{"instrument": instrument, "component": "", "filename": stem},
            "raw": {"R01": {"instrument": instrument, "filename": raw}},
        }
        write(track / f"{name}_STEMS" / stem)
        write(track / f"{name}_RAW" / raw, channels=1)
    write(track / f"{name}_MIX.wav")
    target = root / metadata if metadata else track
    target.mkdir(parents=True, exist_ok=True)
    (target / f"{name}_METADATA.yaml").write_text(yaml.safe_dump(told))


def ccmixter(root: Path, songs: Sequence[str] = ("Ann_-_One", "Bo_-_Two_(feat._Cy)", "Cy_-_Three")) -> Path:
    for song in songs:
        for name in ("mix", "source-01", "source-02"):
            write(root / song / f"{name}.wav")
    return root


def ikala(root: Path, songs: Sequence[str] = ("10161", "10164", "10170")) -> Path:
    for song in songs:
        for part in ("chorus", "verse"):
            write(root / "Wavfile" / f"{song}_{part}.wav")
    (root / "PitchLabel").mkdir()
    return root


def mir1k(root: Path) -> Path:
    for name in ("abjones_1_01", "amy_9_08", "geniusturtle_1_02"):
        write(root / "Wavfile" / f"{name}.wav")
    return root


def folder(root: Path) -> Path:
    for song in ("Ann - One", "Bo - Two", "Cy - Three"):
        for stem in ("vocals.wav", "drums.flac", "bass.wav"):
            write(root / song / stem)
    return root


def aligned(root: Path) -> Path:
    for track in ("train/01", "train/02", "valid/01"):
        for name in ("mixture", "vocals"):
            write(root / track / f"{name}.wav")
    return root


def sourcefolder(root: Path, places: Sequence[str] = ("train", "valid")) -> Path:
    for place in places:
        for source, count in (("vocals", 2), ("drums", 3), ("bass", 1)):
            for number in range(count):
                write(root / place / source / f"{source}_{number}.wav", samples=3200 - 100 * number)
    return root


def msst_2(root: Path) -> Path:
    """Type 2: no folders of splits, enough files for three."""
    for source, count in (("vocals", 4), ("drums", 5), ("other", 3)):
        for number in range(count):
            write(root / source / f"{source}_{number}.wav")
    return root


def msst_csv(root: Path) -> Path:
    msst_2(root / "audio")
    names = [f"{file.parent.name},audio/{file.parent.name}/{file.name}" for file in sorted(root.rglob("*.wav"))]
    (root / "train.csv").write_text("\n".join(["instrum,path", *names]) + "\n")
    return root


def trackfolder(root: Path) -> Path:
    for track, stems in (
        ("train/1", FOUR),
        ("train/2", ("vocals", "accordion")),
        ("valid/1", ("vocals", "drums", "bass")),
    ):
        for stem in stems:
            write(root / track / f"{stem}.wav")
    return root


def moisesdb(root: Path) -> Path:
    for number, artist in enumerate(("Ann", "Bo", "Cy")):
        track = root / "moisesdb_v0.1" / f"{number}d5a1b2c"
        stems = []
        for stem, ids in (("vocals", "ab"), ("drums", "c"), ("bowed_strings", "de")):
            for recording in ids:
                write(track / stem / f"{recording}.wav", samples=3000 if recording == "b" else 3200)
            tracks = [{"id": i, "extension": "wav", "trackType": "any", "has_bleed": i == "e"} for i in ids]
            stems.append({"stemName": stem, "tracks": tracks})
        as_json(track / "data.json", {"song": "Song", "artist": artist, "genre": "pop", "stems": stems})
    return root


def slakh2100(root: Path, places: Sequence[str] = ("train", "validation", "test", "omitted")) -> Path:
    for number, place in enumerate(places):
        track = root / place / f"Track{number:05d}"
        classes = {"S00": "Guitar", "S01": "Drums", "S02": "Guitar", "S03": "Sound Effects"}
        stems = {key: {"inst_class": name, "audio_rendered": key != "S03"} for key, name in classes.items()}
        for key in ("S00", "S01", "S02"):
            write(track / "stems" / f"{key}.flac", channels=1)
        write(track / "mix.flac", channels=1)
        (track / "metadata.yaml").write_text(yaml.safe_dump({"UUID": "1a81", "stems": stems}))
    return root


def manifest(root: Path) -> Path:
    lines = ["track,split,singer,vocals,drums,mixture"]
    for name, split in (("one", "train"), ("two", "valid"), ("three", "test")):
        for stem in ("vocals", "drums", "mixture"):
            write(root / "audio" / f"{name}_{stem}.wav")
        lines.append(f"{name},{split},Ann,audio/{name}_vocals.wav,audio/{name}_drums.wav,audio/{name}_mixture.wav")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


RENDERED: Mapping[str, tuple[str, Callable[[Path], Path]]] = {
    function.__name__: (function.__name__, function)
    for function in (
        aligned,
        ccmixter,
        dsd100,
        folder,
        ikala,
        manifest,
        medleydb,
        mir1k,
        moisesdb,
        msst_csv,
        musdb18,
        musdb18hq,
    )
} | {
    "babyslakh": ("slakh2100", lambda root: slakh2100(root, ["", "", ""])),
    "msst_2": ("sourcefolder", msst_2),
    "slakh2100": ("slakh2100", slakh2100),
    "sourcefolder": ("sourcefolder", sourcefolder),
    "trackfolder": ("trackfolder", trackfolder),
    "folder with splits": ("folder", lambda root: _with_splits(folder, root)),
}
"""What is rendered -> its format, and what renders it."""


def _with_splits(render: Callable[[Path], Path], root: Path) -> Path:
    render(root / "train")
    for split in ("dev", "test"):
        write(root / split / f"{split} song" / "vocals.wav")
    return root


def as_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
