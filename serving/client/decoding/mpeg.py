"""MP3 by its frames: which bytes of the file they are, how many samples they hold, what the encoder put before and after.

ISO/IEC 11172-3 and 13818-3 for the header of a frame. The first frame may be no sound but facts about the others: Xing's
("VBR Header SDK", 1999: frames and bytes) and behind it LAME's ("Mp3 Info Tag rev 1", G. Bouvigne: delay and padding).
libsndfile, that is mpg123, estimates the length of a file without it and believes one that is wrong, so it is told a
header that is right. Without LAME's facts no delay is defined and none is removed, as by ffmpeg.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, NamedTuple

from serving.client.decoding.files import Part, Problem, at

SEARCHED = 2**17
"""Bytes in which the first frame is looked for, behind the tags."""
BITRATES = {  # kbit/s by layer and whether it is MPEG 1
    (3, True): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, True): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, False): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, False): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
DECODER_DELAY = 529  # samples of every decoder: LAME's tag counts the encoder's alone
ENCODERS = (b"LAME", b"Lavf", b"Lavc")  # whose delay ffmpeg believes, in libavformat/mp3dec.c
ENOUGH = 200  # bytes of a frame that holds the facts


class Frame(NamedTuple):
    """size in bytes; side: those of the header and of the side information, which Xing's tag follows (a checksum not counted)."""

    size: int
    samples: int
    rate_hz: int
    channels: int
    side: int
    layer: int


class Facts(NamedTuple):
    """As claimed, None where not: frames and bytes; samples that the encoder put before and after the sound."""

    frames: int | None = None
    size_bytes: int | None = None
    delay: int | None = None
    padding: int = 0


def frame(header: bytes) -> Frame | None:
    """The frame of layer II or III that these four bytes begin; None if they do not."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer not in (2, 3) or bitrate in (0, 15) or rate == 3 or header[3] & 3 == 2:
        return None
    first, mono = version == 3, header[3] >> 6 == 3
    rate_hz = RATES_HZ[version][rate]
    samples = 1152 if first or layer == 2 else 576
    size = samples // 8 * 1000 * BITRATES[layer, first][bitrate] // rate_hz + (header[2] >> 1 & 1)
    side = {(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}[first, mono]
    return Frame(size, samples, rate_hz, 1 if mono else 2, 4 + side, layer)


def part(file: BinaryIO) -> Part | None:
    """The frames with true facts before them; None if the file is no MP3 (one of layer II is checked, and for ffmpeg).

    Raises:
      Problem: it is cut off, has damage between its frames, or changes its rate or channels.
    """
    stop = before_tags(file)
    start = _first(file, after_id3(file), stop)
    if start is None:
        return None
    head = at(file, start, 4)
    first = frame(head)
    assert first
    found = _facts(at(file, start, first.size), first) if first.layer == 3 else None
    facts = found or Facts()
    frames, pieces = _walk(file, start + first.size if found else start, stop, first)
    if first.layer == 2:
        return None
    end = pieces[-1][1] if pieces else start
    size_bytes = end - start
    _check_whole(facts, frames, size_bytes, first)
    true = (facts.frames == frames, facts.size_bytes == size_bytes, end == file.seek(0, 2))
    padding = facts.padding if any(true[:2]) else 0  # else it is that of another end
    samples = _samples(frames, facts.delay, padding, first)
    return Part(_told(head, frames, facts.delay, padding), pieces, samples, needed=not all(true))


def claimed(file: BinaryIO) -> tuple[Frame, int] | None:
    """The first frame, and how many samples there are by what it says, or by its size: no walk over the others, and no more
    than a claim. None if the file is no MP3 or MP2."""
    stop = before_tags(file)
    start = _first(file, after_id3(file), stop)
    first = frame(at(file, start, 4)) if start is not None else None
    if start is None or first is None:
        return None
    facts = (_facts(at(file, start, first.size), first) if first.layer == 3 else None) or Facts()
    return first, _samples(facts.frames or (stop - start) // first.size, facts.delay, facts.padding, first)


def _samples(frames: int, delay: int | None, padding: int, first: Frame) -> int:
    """Of so many frames, without what the encoder put before and after the sound."""
    before = 0 if delay is None else delay + DECODER_DELAY
    return max(0, frames * first.samples - before - max(0, padding - DECODER_DELAY))


def after_id3(file: BinaryIO, position: int = 0) -> int:
    """Where the tags there end (ID3v2.4, 3.1: a size of four times seven bits, and perhaps a footer)."""
    while (head := at(file, position, 10))[:3] == b"ID3" and len(head) == 10:
        size = sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        position += 10 + size + (10 if head[5] & 0x10 else 0)
    return position


def before_tags(file: BinaryIO) -> int:
    """Where the tags at the end begin: ID3v1 (128 bytes), Lyrics3 and APE."""
    stop = file.seek(0, 2)
    if at(file, stop - 128, 3) == b"TAG":
        stop -= 128
    lyrics = at(file, stop - 15, 15)
    if lyrics[6:] == b"LYRICS200" and lyrics[:6].isdigit():
        stop -= 15 + int(lyrics[:6])
    ape = at(file, stop - 32, 32)
    if ape[:8] == b"APETAGEX":
        size, _, flags = struct.unpack("<III", ape[12:24])
        stop -= size + (32 if flags >> 31 else 0)
    return max(stop, 0)


def _first(file: BinaryIO, begin: int, stop: int) -> int | None:
    """The first frame that two more like it follow, or the end of the file."""
    data = at(file, begin, min(SEARCHED, stop - begin))
    position = -1
    while (position := data.find(b"\xff", position + 1)) >= 0:
        if frame(data[position : position + 4]) and _is_chain(file, begin + position, stop, cut=not position):
            return begin + position
    return None


def _is_chain(file: BinaryIO, position: int, stop: int, cut: bool) -> bool:
    first = frame(at(file, position, 4))
    for _ in range(3):
        found = frame(at(file, position, 4))
        if first is None or found is None or found[2:4] != first[2:4]:
            return False
        position += found.size
        if position >= stop:
            return position == stop or cut
    return True


def _facts(first: bytes, shape: Frame) -> Facts | None:
    """Of the frame that holds no sound; None if it does."""
    found = first[shape.side :]
    if found[:4] not in (b"Xing", b"Info"):
        return Facts() if first[36:40] == b"VBRI" else None
    flags, rest = int.from_bytes(found[4:8], "big"), found[8:]
    frames = int.from_bytes(rest[:4], "big") if flags & 1 else None
    rest = rest[4 if flags & 1 else 0 :]
    size_bytes = int.from_bytes(rest[:4], "big") if flags & 2 else None
    rest = rest[(4 if flags & 2 else 0) + (100 if flags & 4 else 0) + (4 if flags & 8 else 0) :]
    if not rest.startswith(ENCODERS) or len(rest) < 24:
        return Facts(frames, size_bytes)
    delays = int.from_bytes(rest[21:24], "big")
    return Facts(frames, size_bytes, delays >> 12, delays & 4095)


def _walk(file: BinaryIO, position: int, stop: int, first: Frame) -> tuple[int, tuple[tuple[int, int], ...]]:
    """The number of whole frames, and the pieces of the file that they are."""
    frames, begin = 0, position
    pieces = []
    while position < stop:
        found = frame(at(file, position, 4))
        done = f"after {frames * first.samples} samples"
        if found is None:
            behind = after_id3(file, position)  # where two files were joined
            if behind == position and _first(file, position, stop) is not None:
                raise Problem(f"is damaged {done}: what follows is no frame of MP3")
            pieces.append((begin, position))
            begin = position = behind if behind > position else stop
        elif found[2:4] != first[2:4]:
            then = f"{found.rate_hz} Hz and {found.channels}"
            raise Problem(f"changes from {first.rate_hz} Hz and {first.channels} channel(s) to {then} {done}")
        elif position + found.size > stop:
            raise Problem(f"breaks off {done}, in the middle of a frame")
        else:
            frames += 1
            position += found.size
    return frames, (*pieces, (begin, position)) if position > begin else tuple(pieces)


def _check_whole(facts: Facts, frames: int, size_bytes: int, first: Frame) -> None:
    """Fewer frames than claimed are a cut if there are fewer bytes too; else the claim is wrong."""
    claimed = facts.frames or 0
    if frames < claimed and (facts.size_bytes is None or size_bytes < facts.size_bytes):
        raise Problem(f"breaks off after {frames * first.samples} of {claimed * first.samples} samples")


def _told(head: bytes, frames: int, delay: int | None, padding: int) -> bytes:
    """A frame without sound like the first, which tells mpg123 the true number of frames, and the delay.

    mpg123 takes the decoder's delay off whatever is told. Where nothing is to be taken off, a silent frame goes before the
    others, and it is told to take off that.
    """
    silence = b""
    empty, shape = _silent(head)
    if delay is None:
        silence, frames, delay, padding = empty, frames + 1, shape.samples - DECODER_DELAY, DECODER_DELAY
    facts = b"Xing" + struct.pack(">II", 1, frames) + b"LAME3.100" + bytes(12)
    facts += (delay << 12 | padding).to_bytes(3, "big")
    return empty[: shape.side] + facts.ljust(shape.size - shape.side, b"\0") + silence


def _silent(head: bytes) -> tuple[bytes, Frame]:
    """A frame of the same rate and channels without sound, large enough for the facts."""
    for bitrate in range(1, 15):
        header = bytes((0xFF, head[1] | 1, bitrate << 4 | head[2] & 0x0C, head[3] & 0xCF))
        shape = frame(header)
        if shape and shape.size >= ENOUGH:
            return header.ljust(shape.size, b"\0"), shape
    raise AssertionError("no frame is large enough")
