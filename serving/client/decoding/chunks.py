"""WAV and its kin: where the samples are, by a walk over the chunks; the sizes that a header claims are only hints.

WAV (Microsoft RIFF; big-endian RIFX), RF64 (EBU Tech 3306) and BW64, Sony Wave64, AIFF and AIFF-C (Apple, 1991), AU (Sun)
and CAF (Apple). Where the samples are cut off, that is an error; where nobody could go back to write a size, as behind a
pipe, they reach to the end of the file. What libsndfile does not decode in them is left to ffmpeg.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from serving.client.decoding.files import Part, Presentation, Problem, at, check_format

PCM, MS_ADPCM, FLOAT, ALAW, ULAW, IMA_ADPCM, EXTENSIBLE = 1, 2, 3, 6, 7, 0x11, 0xFFFE  # mmreg.h
PLAIN = (PCM, FLOAT, ALAW, ULAW)
BY_LIBSNDFILE = (*PLAIN, MS_ADPCM, IMA_ADPCM)  # not GSM 6.10 (0x31): it counts a block of 320 samples too many
AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}  # encoding -> bytes of a sample
AIFF_BYTES = {
    **dict.fromkeys((b"alaw", b"ALAW", b"ulaw", b"ULAW", b"raw "), 1),
    **dict.fromkeys((b"fl32", b"FL32"), 4),
    **dict.fromkeys((b"fl64", b"FL64"), 8),
}
W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # of the GUIDs whose first four bytes are a RIFF name
W64_RIFF = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000")
STREAMED = 4096
"""A size so near below 2**31 or 2**32 was written before the samples: by ffmpeg, sox, arecord or LAME into a pipe."""
FOLLOWING = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"fact", b"JUNK", b"cue ", b"smpl", b"iXML", b"_PMX")
MOST_CHUNKS = 10_000
MOST_HEADER = 2**16
MOST_SILENCE = 2**28  # bytes of zeros behind the claimed end, after which nothing is looked for


class Chunk(NamedTuple):
    """size: as claimed."""

    name: bytes
    start: int
    size: int


def wav(file: BinaryIO, size: int) -> Part | None:
    """Of RIFF, RIFX, RF64, BW64 or Wave64; None where libsndfile does not decode it.

    Raises:
      Problem: it has no format or no samples, is cut off, or has no legal rate or channels.
    """
    head = at(file, 0, 40)
    w64 = head.startswith(W64_RIFF)
    order = ">" if head.startswith(b"RIFX") else "<"
    chunks = list(_w64_chunks(file, size) if w64 else _riff_chunks(file, 12, size, order))
    fmt, data = _one(chunks, b"fmt "), _one(chunks, b"data")
    if other := next((chunk for chunk in chunks if chunk.name in (b"RIFF", b"RIFX")), None):
        raise Problem(f"holds another WAV file from byte {other.start - 8} on; legal is one")
    described = at(file, fmt.start, min(fmt.size, MOST_HEADER))
    if len(described) < 16:
        raise Problem(f"has a format chunk of {len(described)} bytes; legal are 16 or more")
    tag, channels, rate_hz, _, align, bits = struct.unpack_from(order + "HHIIHH", described)
    check_format(rate_hz, channels)
    extensible = tag == EXTENSIBLE and len(described) >= 26
    if extensible:
        [tag] = struct.unpack_from(order + "H", described, 24)
    if tag not in BY_LIBSNDFILE or not align:
        return None
    if tag in PLAIN and align != channels * ((bits + 7) // 8):  # 24 bits in 4 bytes, which libsndfile takes for 3
        if (tag, align) != (PCM, 4 * channels) or not extensible:  # perhaps the floats of Cool Edit
            return None
        described = described[:14] + struct.pack(order + "H", 32) + described[16:]  # of which the upper ones are valid
    claimed = _ds64(file, chunks) if head[:4] in (b"RF64", b"BW64") and data.size == 2**32 - 1 else data.size
    riff_size = size if w64 else struct.unpack_from(order + "I", head, 4)[0]
    streamed = not claimed and riff_size + 8 != size
    length = _length(data.start, claimed, size, align, streamed)
    if not w64 and _is_more(file, data.start + claimed, size, order):
        length = size - data.start
    length -= length % align if tag in PLAIN else 0
    samples = length // align if tag in PLAIN else None
    return Part(_wav_header(described, length, order), ((data.start, data.start + length),), samples)


def aiff(file: BinaryIO, size: int) -> Part | None:
    """Of AIFF or AIFF-C; see `wav`."""
    chunks = list(_riff_chunks(file, 12, size, ">"))
    common, sound = _one(chunks, b"COMM"), _one(chunks, b"SSND")
    described = bytearray(at(file, common.start, min(common.size, MOST_HEADER)))
    if len(described) < 18:
        raise Problem(f"has a COMM chunk of {len(described)} bytes; legal are 18 or more")
    channels, samples, bits = struct.unpack_from(">HIH", described)
    check_format(_extended(bytes(described[8:18])), channels)
    compression = bytes(described[18:22]) or b"NONE"
    plain = dict.fromkeys((b"NONE", b"twos", b"sowt", b"in24", b"23ni", b"in32"), (bits + 7) // 8) | AIFF_BYTES
    if compression not in plain or not bits:
        return None
    frame = channels * plain[compression]
    start = sound.start + 8 + int.from_bytes(at(file, sound.start, 4), "big")
    claimed = sound.size - (start - sound.start)
    length = _length(start, claimed if sound.size else 0, size, frame, streamed=not sound.size)
    length -= length % frame
    samples = length // frame
    struct.pack_into(">I", described, 2, min(samples, 2**32 - 1))
    form = b"AIFC" if described[18:] else b"AIFF"
    body = b"COMM" + struct.pack(">I", len(described)) + bytes(described) + b"\0" * (len(described) % 2)
    body += b"SSND" + struct.pack(">III", min(length + 8, 2**32 - 1), 0, 0)
    header = b"FORM" + struct.pack(">I", min(4 + len(body) + length, 2**32 - 1)) + form + body
    return Part(header, ((start, start + length),), samples)


def au(file: BinaryIO, size: int) -> Part | None:
    """Of AU; see `wav`."""
    head = at(file, 0, 24)
    if len(head) < 24:
        raise Problem(f"breaks off in its header, after {len(head)} bytes")
    order = ">" if head[:4] == b".snd" else "<"
    start, claimed, encoding, rate_hz, channels = struct.unpack(order + "5I", head[4:])
    check_format(rate_hz, channels)
    if start < 24:
        raise Problem(f"has its samples begin at byte {start}; legal is 24 or more")
    if encoding not in AU_BYTES:
        return None
    frame = channels * AU_BYTES[encoding]
    length = _length(start, claimed, size, frame, streamed=not claimed and start < size)
    length -= length % frame
    header = head[:4] + struct.pack(order + "5I", 24, min(length, 2**32 - 1), encoding, rate_hz, channels)
    return Part(header, ((start, start + length),), length // frame)


def caf(file: BinaryIO, size: int) -> Part | None:
    """Of CAF; see `wav`."""
    chunks = list(_caf_chunks(file, size))
    desc, data = _one(chunks, b"desc"), _one(chunks, b"data")
    described = at(file, desc.start, 32)
    if len(described) < 32:
        raise Problem("breaks off in its description")
    rate_hz, kind, _, frame, _, channels, _ = struct.unpack(">d4sIIIII", described)
    check_format(int(rate_hz) if 0 < rate_hz < 2**32 else 0, channels)
    start, streamed = data.start + 4, data.size == -1
    if kind not in (b"lpcm", b"alaw", b"ulaw") or not frame:
        if not streamed and data.start + data.size > size:
            raise Problem(f"breaks off after {size - data.start} of {data.size} bytes of its sound")
        return None
    length = _length(start, data.size - 4, size, frame, streamed)
    length -= length % frame
    header = (
        b"caff" + struct.pack(">HH4sq", 1, 0, b"desc", 32) + described + struct.pack(">4sqI", b"data", length + 4, 0)
    )
    return Part(header, ((start, start + length),), length // frame)


def presentation(file: BinaryIO) -> Presentation | None:
    """Of CAF in packets, such as AAC, what its packet table says was put before the sound and behind; None if nothing."""
    size = file.seek(0, 2)
    found = {chunk.name: chunk for chunk in _caf_chunks(file, size)} if at(file, 0, 4) == b"caff" else {}
    if b"desc" not in found or b"pakt" not in found:
        return None
    rate, table = at(file, found[b"desc"].start, 8), at(file, found[b"pakt"].start, 24)
    if len(rate) < 8 or len(table) < 24:
        return None
    [rate_hz], (samples, before, behind) = struct.unpack(">d", rate), struct.unpack(">8xqii", table)
    if not 1 <= rate_hz < 2**32 or min(samples, before, behind) < 0 or not before + behind:
        return None
    return Presentation(before, before + samples, False, int(rate_hz))


def _one(chunks: list[Chunk], name: bytes) -> Chunk:
    found = [chunk for chunk in chunks if chunk.name == name]
    if not found:
        raise Problem(f"breaks off before its samples: it has no {name.decode().strip()} chunk")
    if len(found) > 1:
        raise Problem(f"has {len(found)} {name.decode().strip()} chunks; legal is one")
    return found[0]


def _length(start: int, claimed: int, size: int, frame: int, streamed: bool) -> int:
    """Of the samples in bytes: as claimed, or to the end of the file where they were streamed."""
    there = max(0, size - start)
    if streamed or (
        claimed > there and any(0 <= limit - claimed <= STREAMED for limit in (2**31, 2**32, 2**63, 2**64))
    ):
        return there
    if claimed > there:
        raise Problem(f"breaks off after {there // frame} of {claimed // frame} samples")
    return max(claimed, 0)


def _riff_chunks(file: BinaryIO, position: int, size: int, order: str) -> Iterator[Chunk]:
    """A chunk of odd size is followed by a byte that some writers forget."""
    for _ in range(MOST_CHUNKS):
        head = at(file, position, 8)
        if len(head) < 8:
            return
        name, claimed = struct.unpack(order + "4sI", head)
        yield Chunk(name, position + 8, claimed)
        position += 8 + claimed
        if (claimed % 2 and _is_name(at(file, position + 1, 4))) or not _is_name(at(file, position, 4)):
            position += claimed % 2


def _w64_chunks(file: BinaryIO, size: int) -> Iterator[Chunk]:
    position = 40
    for _ in range(MOST_CHUNKS):
        head = at(file, position, 24)
        if len(head) < 24:
            return
        claimed = int.from_bytes(head[16:], "little")
        if head[4:16] == W64_TAIL:
            yield Chunk(head[:4], position + 24, max(0, claimed - 24))
        position += max(24, claimed + -claimed % 8)


def _caf_chunks(file: BinaryIO, size: int) -> Iterator[Chunk]:
    position = 8
    for _ in range(MOST_CHUNKS):
        head = at(file, position, 12)
        if len(head) < 12:
            return
        name, claimed = struct.unpack(">4sq", head)
        yield Chunk(name, position + 12, claimed)
        if claimed < 0:
            return
        position += 12 + claimed


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and name.isascii() and name.decode().isprintable()


def _is_more(file: BinaryIO, end: int, size: int, order: str) -> bool:
    """Whether samples go on behind their claimed end: what follows is neither chunks, nor a tag, nor zeros.

    What is over 4 GB is claimed without its multiples of 4 GB.
    """
    if size > end and (size - end) % 2**32 == 0:
        return True
    for start in (end, end + 1):
        rest = at(file, start, 8)
        fits = len(rest) < 8 or struct.unpack(order + "I", rest[4:])[0] <= size - start - 8 + 1
        if (fits and (len(rest) < 8 or _is_name(rest[:4]))) or rest[:4] in FOLLOWING:
            return False
    if at(file, end, 11).startswith((b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")):
        return False
    blocks = (at(file, start, 2**20) for start in range(end, min(size, end + MOST_SILENCE), 2**20))
    return any(block.strip(b"\0") for block in blocks)


def _ds64(file: BinaryIO, chunks: list[Chunk]) -> int:
    """The size of the data that an RF64 file keeps apart; as if streamed where it is not there."""
    found = next((at(file, each.start, 16) for each in chunks if each.name == b"ds64"), b"")
    return int.from_bytes(found[8:16], "little") or 2**64 - 1


def _wav_header(described: bytes, length: int, order: str) -> bytes:
    """RIFF, or RF64 where the length needs it, with nothing but format and data."""
    fmt = b"fmt " + struct.pack(order + "I", len(described)) + described + b"\0" * (len(described) % 2)
    if length + len(fmt) + 64 < 2**32:
        name = b"RIFX" if order == ">" else b"RIFF"
        size = 4 + len(fmt) + 8 + length
        return name + struct.pack(order + "I", size) + b"WAVE" + fmt + b"data" + struct.pack(order + "I", length)
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 4 + 36 + len(fmt) + 8 + length, length, 0, 0)
    return b"RF64\xff\xff\xff\xffWAVE" + ds64 + fmt + b"data\xff\xff\xff\xff"


def _extended(number: bytes) -> int:
    """An 80-bit float of IEEE 754, as AIFF keeps the rate in."""
    sign_exponent, mantissa = struct.unpack(">HQ", number)
    exponent = (sign_exponent & 0x7FFF) - 16383 - 63
    if sign_exponent >> 15 or not -64 < exponent < 0:
        return 0 if exponent < 0 else 2**32
    return mantissa >> -exponent
