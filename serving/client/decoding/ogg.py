"""Ogg by its pages (RFC 3533): whole, undamaged and in order, as libsndfile does not tell; and what they carry."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from serving.client.decoding.files import Part, Problem, at

BEGINS, ENDS = 2, 4
MOST_STREAMS = 1000
ORDER = {
    3: (0, 2, 1),
    5: (0, 2, 1, 3, 4),
    6: (0, 2, 1, 5, 3, 4),
    7: (0, 2, 1, 6, 5, 3, 4),
    8: (0, 2, 1, 7, 5, 6, 3, 4),
}
"""Channels -> which of those of Vorbis I (4.3.9), and of Opus (RFC 7845, 5.1.1.2), is each of WAV's."""
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Page(NamedTuple):
    start: int
    stop: int
    flags: int
    granule: int
    serial: int
    number: int
    packets: int  # that end in it
    body: bytes  # the beginning


LARGEST_PAGE = 27 + 255 + 255 * 255


class Stream(NamedTuple):
    """A logical stream: which bytes of the file it lies in, how its first packet begins, and the first page of its sound."""

    start: int
    stop: int
    packet: bytes
    sound: Page


def parts(file: BinaryIO) -> list[Part] | None:
    """Its streams one after the other, for libsndfile; None where they are for ffmpeg.

    Raises:
      Problem: it is cut off or damaged, or it changes its rate or channels.
    """
    streams = _streams(file)
    if any(a.stop > b.start for a, b in itertools.pairwise(streams)):  # beside each other, as in video
        return None
    sounds = {_sound(stream) for stream in streams}
    if None in sounds:
        if len(streams) > 1:
            raise Problem(f"is a chain of {len(streams)} Ogg streams that libsndfile does not decode; legal is one")
        return None
    if len(sounds) > 1:
        raise Problem(f"changes its codec, rate or channels: it is a chain of {len(streams)} Ogg streams")
    return [Part(b"", ((stream.start, stream.stop),), None) for stream in streams]


def is_one_by_its_ends(file: BinaryIO) -> bool:
    """Whether the file ends in the last page of the stream that it begins with, as one does that is neither cut off nor a
    chain; nothing between is looked at."""
    size = file.seek(0, 2)
    first, tail = at(file, 0, 27), at(file, max(0, size - LARGEST_PAGE), LARGEST_PAGE)
    last = tail[max(0, tail.rfind(b"OggS")) :]
    if len(last) < 27 or len(last) < 27 + last[26] or last[:4] != b"OggS":
        return False
    whole = len(last) == 27 + last[26] + sum(last[27 : 27 + last[26]])
    return whole and bool(last[5] & ENDS) and last[14:18] == first[14:18]


def _sound(stream: Stream) -> tuple[str, int, int] | None:
    """Codec, rate and channels of what libsndfile decodes: Vorbis I, and Opus (RFC 7845), which at less than its own
    48 kHz it would decode to the rate of the encoder's input, and of which it does not drop the pre-skip where its
    position does not begin at 0 (libsndfile 1.2.2)."""
    packet = stream.packet
    if len(packet) < 16:
        return None
    if packet.startswith(b"\x01vorbis"):
        channels, rate_hz = struct.unpack_from("<xxxxBI", packet, 7)
        return ("Vorbis", rate_hz, channels)
    if packet.startswith(b"OpusHead"):
        channels, rate_hz, family = struct.unpack_from("<BxxIxxB", packet, 9)
        known = rate_hz not in (8000, 12000, 16000, 24000) and family <= 1
        return ("Opus", 48000, channels) if known and stream.sound.granule <= _opus_samples(stream.sound) else None
    return None


def _opus_samples(page: Page) -> int:
    """Of its packets, if all are as long as the first (RFC 6716, 3.1)."""
    toc, count = page.body[:2].ljust(2, b"\0")
    if toc < 0x60:
        samples = (480, 960, 1920, 2880)[toc >> 3 & 3]
    else:
        samples = (480, 960)[toc >> 3 & 1] if toc < 0x80 else 120 << (toc >> 3 & 3)
    return page.packets * samples * (1, 2, 2, count & 63)[toc & 3]


def _streams(file: BinaryIO) -> list[Stream]:
    first: dict[int, Page] = {}
    sound: dict[int, Page] = {}
    last: dict[int, Page] = {}
    done: list[Stream] = []
    for page in _pages(file):
        before = last.get(page.serial)
        if before is None or (page.flags & BEGINS and before.flags & ENDS):
            if not page.flags & BEGINS:
                raise Problem("is damaged: it begins in the middle of an Ogg stream")
            first[page.serial] = sound[page.serial] = page
        else:
            _check_order(before, page)
            page = page._replace(granule=max(page.granule, before.granule))  # -1 where no packet ends
            if sound[page.serial].granule <= 0:
                sound[page.serial] = page
        last[page.serial] = page
        if page.flags & ENDS:
            begin = first[page.serial]
            done.append(Stream(begin.start, page.stop, begin.body, sound[page.serial]))
        if len(first) + len(done) > 2 * MOST_STREAMS:
            raise Problem(f"is a chain of more than {MOST_STREAMS} Ogg streams")
    open_ended = [page for page in last.values() if not page.flags & ENDS]
    if open_ended or not done:
        raise Problem("breaks off: it has no last page of Ogg")
    return sorted(done)


def _check_order(before: Page, page: Page) -> None:
    if page.number != before.number + 1:
        raise Problem(f"is damaged: page {page.number} of Ogg follows page {before.number}, at byte {page.start}")
    if page.granule != -1 and page.granule < before.granule:
        raise Problem(f"is damaged: its position goes back from {before.granule} to {page.granule} samples")


def _pages(file: BinaryIO) -> Iterator[Page]:
    position = 0
    while head := at(file, position, 27):
        if head[:4] != b"OggS":
            if not (head + file.read(2**16)).strip(b"\0") or head[:3] == b"TAG":
                return
            raise Problem(f"is damaged: no page of Ogg begins at byte {position}")
        lacing = file.read(head[26]) if len(head) == 27 else b""
        body = file.read(sum(lacing))
        if len(head) < 27 or len(lacing) < head[26] or len(body) < sum(lacing):
            raise Problem(f"breaks off in the middle of the page of Ogg at byte {position}")
        flags, granule, serial, number, crc = struct.unpack("<5xBqIII", head[:26])
        if crc != _crc(head[:22] + bytes(4) + head[26:] + lacing + body):
            raise Problem(f"is damaged: the page of Ogg at byte {position} has a wrong checksum")
        stop = position + 27 + len(lacing) + len(body)
        packets = sum(size < 255 for size in lacing)
        yield Page(position, stop, flags, granule, serial, number, packets, body[:32])
        position = stop


def _crc(page: bytes) -> int:
    """Ogg's: of the polynomial of zlib's, with the bits the other way round and without its inversions."""
    value = zlib.crc32(page.translate(MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(value.to_bytes(4, "little").translate(MIRRORED), "big")
