"""MP4 by its boxes (ISO/IEC 14496-12): whether those that sound needs are whole, and which samples of a track are its sound.

ffmpeg does not always tell the former. Of the latter, ffmpeg 5.1 drops what an encoder put before the sound (of HE-AAC twice as much,
in fragments nothing) and nothing of what it put behind; 9.0 ends it at a tick of the film's clock, often up to 44 samples early.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from serving.client.decoding.files import Presentation, Problem, at

FIRST = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
NEEDED = (b"moov", b"mdat", b"moof")
MOST_BOXES = 100_000
MOST_TAG = 4096


class Box(NamedTuple):
    """What it holds are the bytes from `body` to `stop`, as claimed."""

    name: bytes
    start: int
    body: int
    stop: int


def is_mp4(head: bytes) -> bool:
    """By the first eight bytes of a file."""
    return head[4:8] in FIRST


def check(file: BinaryIO) -> None:
    """Raises Problem if it is MP4 and cut off."""
    size = file.seek(0, 2)
    if not is_mp4(at(file, 0, 8)):
        return
    found = set()
    for box in _boxes(file, 0, size):
        if box.name in NEEDED and box.stop > size:
            length = box.stop - box.start
            raise Problem(f"breaks off: of the {length} bytes of its {box.name.decode()} there are {size - box.start}")
        found.add(box.name)
    if b"moov" not in found:
        raise Problem("breaks off: its index (moov), which comes last, is not there")


def presentation(file: BinaryIO, stream: int) -> Presentation | None:
    """Of a track of sound, counted from 0, as its edit list says (8.6.6), else iTunes' tag, else its length (`mdhd`, 8.4.2).

    An edit ends at a tick of the film's clock, often a millisecond: the end of the media goes before it where it differs by
    less. None if it is no MP4, or has edits that are left to ffmpeg: several, or one of another speed.
    """
    size = file.seek(0, 2)
    film = _find(file, Box(b"", 0, 0, size), b"moov") if is_mp4(at(file, 0, 8)) else None
    tracks = [box for box in _boxes(file, film.body, film.stop) if box.name == b"trak"] if film else []
    sounds = [track for track in tracks if _body(file, track, b"mdia", b"hdlr")[8:12] == b"soun"]
    if film is None or len(sounds) <= stream:
        return None
    ticks_hz, stop = _clock(_body(file, sounds[stream], b"mdia", b"mdhd"))
    film_hz, _ = _clock(_body(file, film, b"mvhd"))
    edits = _edits(_body(file, sounds[stream], b"edts", b"elst"))
    if _find(file, film, b"mvex"):  # in fragments: nothing here knows how many will follow
        stop, edits = 0, [(0, *edit[1:]) for edit in edits]
    if not ticks_hz or not film_hz:  # ffmpeg would drop nearly all of it
        return Presentation(0, None, False, 1)
    if len(edits) > 1:
        return None
    if not edits:
        start, end = (_of_itunes(file, film, stop) if len(tracks) == 1 else None) or (0, stop)
        return Presentation(start, end or None, end < stop, ticks_hz)
    [(length, start, rate)] = edits
    if rate != 1 << 16:
        return None
    inexact = film_hz % ticks_hz != 0
    cut = bool(length) and (stop - start) * film_hz > (length + inexact) * ticks_hz
    return Presentation(start, start + length * ticks_hz // film_hz if cut else stop or None, cut, ticks_hz)


def _boxes(file: BinaryIO, start: int, stop: int) -> Iterator[Box]:
    for _ in range(MOST_BOXES):
        head = at(file, start, min(16, stop - start))
        if len(head) < 8:
            return
        length, name, body = int.from_bytes(head[:4], "big"), head[4:8], start + 8
        if length == 1:  # a size of 64 bits follows
            length, body = int.from_bytes(head[8:], "big"), start + 16
        end = start + (length or stop - start)
        yield Box(name, start, body, end)
        start = max(end, start + 8)


def _find(file: BinaryIO, box: Box | None, *names: bytes) -> Box | None:
    """The first of each name within the one before."""
    for name in names:
        if box is None:
            return None
        inside = (each for each in _boxes(file, box.body, box.stop) if each.name == name)
        box = next((each._replace(stop=min(each.stop, box.stop)) for each in inside), None)
    return box


def _body(file: BinaryIO, box: Box, *names: bytes) -> bytes:
    """The beginning of the box that is found; nothing if there is none."""
    found = _find(file, box, *names)
    return at(file, found.body, min(MOST_TAG, found.stop - found.body)) if found else b""


def _clock(header: bytes) -> tuple[int, int]:
    """Ticks a second and the length in them, of `mvhd` or `mdhd`; zeros where it says nothing."""
    try:
        ticks_hz, length = struct.unpack_from(">IQ", header, 20) if header[0] else struct.unpack_from(">II", header, 12)
    except (struct.error, IndexError):
        return 0, 0
    return ticks_hz, 0 if length in (2**32 - 1, 2**64 - 1) else length


def _edits(body: bytes) -> list[tuple[int, int, int]]:
    """Length, start and rate of each that is no silence, which is none of the sound, as for ffmpeg."""
    entry = struct.Struct(">QqI" if body[:1] == b"\1" else ">IiI")
    count = min(int.from_bytes(body[4:8], "big"), max(0, len(body) - 8) // entry.size)
    edits = [entry.unpack_from(body, 8 + number * entry.size) for number in range(count)]
    return [edit for edit in edits if edit[1] >= 0]


def _of_itunes(file: BinaryIO, film: Box, media: int) -> tuple[int, int] | None:
    """Where the sound starts and ends by `iTunSMPB`: in hexadecimal the samples before it, behind it and its own.

    None without it, or if it is not of this sound: it came along with the tags of another file.
    """
    tags = _find(file, film, b"udta", b"meta")
    tags = _find(file, tags._replace(body=tags.body + 4), b"ilst") if tags else None  # behind the version of `meta`
    for tag in _boxes(file, tags.body, tags.stop) if tags else ():
        said = re.match(rb" 0{8}" + rb" ([0-9A-F]+)" * 3, _body(file, tag, b"data")[8:])
        if tag.name == b"----" and _body(file, tag, b"name")[4:] == b"iTunSMPB" and said:
            before, behind, own = (int(each, 16) for each in said.groups())
            return (before, before + own) if media in (before + own, before + own + behind) else None
    return None
