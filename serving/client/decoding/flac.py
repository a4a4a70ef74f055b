"""FLAC by its last frame, which tells how many samples there are (RFC 9639); its header may not, or wrongly.

libsndfile stops at the number that the header claims, and fails where it claims none, so it is told the true one.
"""

from __future__ import annotations

from typing import BinaryIO

from serving.client.decoding.files import Part, Problem, at, check_format
from serving.client.decoding.mpeg import after_id3, before_tags

HEADERS = (b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22")  # with the size of the facts that come first
LARGEST_FRAME = 2**20
MOST_TRIED = 8
"""Headers of frames before the last one, which by chance is none, once in 2**23 bytes."""
BLOCK_SAMPLES = {1: 192, **{code: 576 << code - 2 for code in range(2, 6)}, **{c: 256 << c - 8 for c in range(8, 16)}}


def _table(bits: int, polynomial: int) -> tuple[int, ...]:
    def one(value: int) -> int:
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> bits - 1 & 1 else 0)
        return value & (1 << bits) - 1

    return tuple(one(byte << bits - 8) for byte in range(256))


CRC_8 = _table(8, 0x07)
CRC_16 = _table(16, 0x8005)


def part(file: BinaryIO) -> Part | None:
    """The file with the true number of samples in its header; None if there is no FLAC behind the tags.

    Raises:
      Problem: it is cut off, or has no legal rate or channels.
    """
    start = after_id3(file)
    info = bytearray(at(file, start, 42))
    if info[:4] != b"fLaC":
        return None
    if len(info) < 42:
        raise Problem(f"breaks off in its header, after {len(info)} bytes")
    facts = int.from_bytes(info[18:26], "big")
    rate_hz, channels, claimed = facts >> 44, (facts >> 41 & 7) + 1, facts & 2**36 - 1
    check_format(rate_hz, channels)
    if (other := _another(file, start + 42)) is not None:
        raise Problem(f"holds another FLAC file from byte {other} on; legal is one")
    stop = before_tags(file)
    lowest = max(start + 42, stop - LARGEST_FRAME)
    samples = _end(at(file, lowest, stop - lowest), int.from_bytes(info[8:10], "big"))
    if samples is None:
        raise Problem("breaks off in the middle of a frame, or something else follows the last one")
    if samples < claimed:
        raise Problem(f"breaks off after {samples} of {claimed} samples")
    info[18:26] = (facts >> 36 << 36 | samples).to_bytes(8, "big")
    return Part(bytes(info), ((start + 42, stop),), samples)


def _another(file: BinaryIO, position: int) -> int | None:
    """Where a header begins behind the first: libsndfile stops there, and says nothing."""
    before = b""
    while block := at(file, position, 2**20):
        data = before + block
        for magic in HEADERS:
            if (found := data.find(magic)) >= 0:
                return position - len(before) + found
        position, before = position + len(block), data[-7:]
    return None


def _end(data: bytes, block_samples: int) -> int | None:
    """How many samples there are when the last frame has been decoded; None if it is not whole. Zeros may follow it."""
    least = len(data.rstrip(b"\0"))
    stops = range(min(len(data), least + 3), least - 1, -1) if least < len(data) - 3 else (len(data),)
    ends = (_end_at(data, stop, block_samples) for stop in stops)
    return next((end for end in ends if end is not None), None)


def _end_at(data: bytes, stop: int, block_samples: int) -> int | None:
    position, tried = stop, 0
    while (position := data.rfind(b"\xff", 0, position)) >= 0 and tried < MOST_TRIED:
        if data[position + 1 : position + 2] in (b"\xf8", b"\xf9"):
            found = _frame_end(data[position : position + 16], block_samples)
            tried += found is not None
            if found is not None and not _crc(CRC_16, 16, data[position:stop]):
                return found
    return None


def _frame_end(header: bytes, block_samples: int) -> int | None:
    """The number of the sample behind a frame; None if these bytes are no header of one."""
    if len(header) < 6:
        return None
    size = max(1, 8 - (header[4] ^ 0xFF).bit_length())  # of the coded number, like UTF-8
    at = 4 + size
    number = header[4] & (0x7F if size == 1 else 0xFF >> size + 1)
    for byte in header[5:at]:
        number = number << 6 | byte & 0x3F
    code, rate = header[2] >> 4, header[2] & 15
    extra = {6: 1, 7: 2}.get(code, 0)
    samples = BLOCK_SAMPLES.get(code) or int.from_bytes(header[at : at + extra], "big") + 1
    at += extra + {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if code == 0 or rate == 15 or len(header) <= at or _crc(CRC_8, 8, header[: at + 1]):
        return None
    return (number if header[1] & 1 else number * block_samples) + samples


def _crc(table: tuple[int, ...], bits: int, data: bytes) -> int:
    """0 over a frame that ends in its own."""
    value, high, mask = 0, bits - 8, (1 << bits) - 1
    for byte in data:
        value = (value << 8 & mask) ^ table[value >> high ^ byte]
    return value
