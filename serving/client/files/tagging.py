"""Tags and cover art of a file, read from any format and written to those of serving.client.files.encodings, by ffmpeg.

The samples stay as they are: what is compressed is copied. A WAV gets two chunks at its end, the text as LIST INFO, all of it
as `id3 `, where mutagen, ffmpeg and players find pictures.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.client.files.encodings import Encoding

# Letters of a tag that ffmpeg is told as an argument; in its file of metadata no value can end with a backslash.
MOST_OF_ARGUMENT = 2**15
SECONDS = 60  # for what reads a file's tags: one that is made to take longer has none
# Of a container or of the sound that it holds, which is another now; iTunSMPB tells players what to cut off.
_OF_THE_OLD_FILE = (
    "encoder encoding_settings itunsmpb major_brand minor_version compatible_brands creation_time duration language "
    "handler_name vendor_id number_of_frames number_of_bytes bps metadata_block_picture"
)
_NOT_KEPT = frozenset(_OF_THE_OLD_FILE.split())
_MUXERS = {"flac": "flac", "mp3": "mp3", "ogg": "ogg", "m4a": "ipod"}
_INFO = {  # LIST INFO's words, by ffmpeg's
    "title": "INAM",
    "artist": "IART",
    "album": "IPRD",
    "date": "ICRD",
    "genre": "IGNR",
    "comment": "ICMT",
    "track": "ITRK",
    "copyright": "ICOP",
}
_MIME = {"mjpeg": "image/jpeg", "png": "image/png"}  # of pictures that every format holds
_FRONT_COVER = 3


@dataclass(frozen=True)
class Tags:
    """What a file tells of itself: text by ffmpeg's names of tags, and a picture of a MIME type."""

    text: Mapping[str, str] = field(default_factory=dict)
    picture: bytes = b""
    mime: str = ""

    def __bool__(self) -> bool:
        return bool(self.text or self.picture)


def available() -> bool:
    """Whether tags can be read and written here."""
    return shutil.which("ffmpeg") is not None and shutil.which("ffprobe") is not None


def read(path: Path) -> Tags:
    """The tags of a file; none where there are none, where they cannot be read, or without ffmpeg."""
    if not available():
        return Tags()
    source = ["-v", "error", "-protocol_whitelist", "file,pipe", "-i", f"file:{path.absolute()}"]
    try:
        facts = json.loads(_run(["ffprobe", *source, "-show_format", "-show_streams", "-of", "json"]))
        picture = _picture(facts)
        art = ["-map", f"0:{picture['index']}", "-c", "copy", "-f", "image2pipe", "pipe:1"] if picture else []
        data = _run(["ffmpeg", "-nostdin", *source, *art]) if art else b""
    except (OSError, subprocess.SubprocessError, ValueError):
        return Tags()
    return Tags(_text(facts), data, _MIME[picture["codec_name"]] if picture else "")


def finish(path: Path, encoding: Encoding, tags: Tags) -> str | None:
    """Puts tags into a file that is complete but for them, and makes AAC of one that is to be M4A.

    Returns:
      what of the tags could not be kept, and why.

    Raises:
      OSError: ffmpeg cannot make AAC.
    """
    lost, left = None, [tags, Tags(tags.text), Tags()] if tags.picture else [tags, Tags()]
    for kept in left:
        if not kept and encoding.format != "m4a":
            return lost
        try:
            _finish(path, encoding, kept)
            return lost
        except subprocess.SubprocessError as error:
            what = "the cover art" if kept.picture else "tags"
            lost = f"{what} could not be kept (ffmpeg: {_last_words(error)})"
    raise OSError(f"ffmpeg cannot write {encoding.format}: {lost}")


def _finish(path: Path, encoding: Encoding, tags: Tags) -> None:
    if encoding.format == "wav":
        _append(path, tags)
        return
    made = path.with_name(f"{path.name}.tagged")
    codec = ["-c:a", "aac", "-b:a", "320k"] if encoding.format == "m4a" else ["-c:a", "copy"]
    sound, muxer = ["-i", f"file:{path.absolute()}"], ["-f", _MUXERS[encoding.format]]
    try:
        _mux(sound, tags, [*codec, *muxer], made, picture_as_text=encoding.format == "ogg")
        os.replace(made, path)
    finally:
        made.unlink(missing_ok=True)


def _text(facts: Mapping[str, Any]) -> dict[str, str]:
    """Those of the file, and of its sound, where OGG has them."""
    sounds = [stream for stream in facts["streams"] if stream["codec_type"] == "audio"]
    found = {**(sounds[0].get("tags", {}) if sounds else {}), **facts["format"].get("tags", {})}
    return {name: value for name, value in found.items() if name.lower() not in _NOT_KEPT and value}


def _picture(facts: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The stream that is the first attached picture."""
    attached = (stream for stream in facts["streams"] if stream.get("disposition", {}).get("attached_pic"))
    return next((stream for stream in attached if stream.get("codec_name") in _MIME), None)


def _mux(sound: list[str], tags: Tags, codec: list[str], made: Path, picture_as_text: bool = False) -> None:
    """Makes a file of an input of ffmpeg and tags."""
    with tempfile.TemporaryDirectory() as folder:
        words, cover = Path(folder) / "words", Path(folder) / "cover"
        text = dict(tags.text)
        if picture_as_text and tags.picture:  # as OGG has it
            text["METADATA_BLOCK_PICTURE"] = base64.b64encode(_flac_picture(tags)).decode()
        short = {name: value for name, value in text.items() if len(value) <= MOST_OF_ARGUMENT and "=" not in name}
        lines = [f"{_escaped(name)}={_escaped(value)}\n" for name, value in text.items() if name not in short]
        words.write_text(";FFMETADATA1\n" + "".join(lines), encoding="utf-8", errors="replace")
        inputs, maps = [*sound, "-f", "ffmetadata", "-i", f"file:{words}"], ["-map", "0:a", "-map_metadata", "1"]
        for name, value in short.items():
            maps += ["-metadata", f"{name}={value}".encode(errors="replace").decode()]
        if tags.picture and not picture_as_text:
            cover.write_bytes(tags.picture)
            inputs += ["-i", f"file:{cover}"]
            maps += ["-map", "2:v", "-c:v", "copy", "-disposition:v", "attached_pic"]
        _run(["ffmpeg", "-nostdin", "-v", "error", "-y", *inputs, *maps, *codec, f"file:{made.absolute()}"], None)


def _append(path: Path, tags: Tags) -> None:
    """Chunks at the end of a WAV or RF64."""
    info = {word: tags.text[name].encode(errors="replace") + b"\0" for name, word in _INFO.items() if name in tags.text}
    listed = b"INFO" + b"".join(_chunk(word.encode(), text) for word, text in info.items())
    chunks = (_chunk(b"LIST", listed) if info else b"") + _chunk(
        b"id3 ", _id3(tags)
    )  # ffmpeg takes the last one's word
    with path.open("r+b") as file:
        wide = file.read(4) == b"RF64"  # its size stands in the chunk `ds64`
        end = file.seek(0, os.SEEK_END)
        file.write(bytes(end % 2) + chunks)
        size = struct.pack("<Q" if wide else "<I", file.tell() - 8)
        file.seek(20 if wide else 4)
        file.write(size)


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _id3(tags: Tags) -> bytes:
    """ffmpeg makes it, in an AIFF of one sample."""
    with tempfile.TemporaryDirectory() as folder:
        sample, aiff = Path(folder) / "sample", Path(folder) / "aiff"
        sample.write_bytes(bytes(2))
        sound = ["-f", "s16be", "-ar", "8000", "-ac", "1", "-i", f"file:{sample}"]
        _mux(sound, tags, ["-c:a", "copy", "-write_id3v2", "1", "-f", "aiff"], aiff)
        data = aiff.read_bytes()
    place = 12  # after FORM, its size and AIFF
    while data[place : place + 4] != b"ID3 ":
        place += 8 + int.from_bytes(data[place + 4 : place + 8], "big") + data[place + 7] % 2
    return data[place + 8 : place + 8 + int.from_bytes(data[place + 4 : place + 8], "big")]


def _flac_picture(tags: Tags) -> bytes:
    """The picture as a METADATA_BLOCK_PICTURE of FLAC; 0 stands for a size that is not told."""
    mime = tags.mime.encode()
    head = struct.pack(">II", _FRONT_COVER, len(mime)) + mime + struct.pack(">I", 0) + bytes(16)
    return head + struct.pack(">I", len(tags.picture)) + tags.picture


def _escaped(text: str) -> str:
    """For a line of ffmpeg's metadata file."""
    return "".join(f"\\{letter}" if letter in "=;#\\\n" else letter for letter in text)


def _run(command: list[str], seconds: float | None = SECONDS) -> bytes:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=True)
    return done.stdout


def _last_words(error: subprocess.SubprocessError) -> str:
    lines = (getattr(error, "stderr", b"") or b"").decode(errors="replace").strip().splitlines()
    return lines[-1].rsplit(": ", 1)[-1][:200] if lines else str(error)
