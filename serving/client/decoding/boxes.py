"""MP4 by its boxes (ISO/IEC 14496-12, 4.2): whether those that sound needs are whole, which ffmpeg does not always tell."""

from __future__ import annotations

from typing import BinaryIO

from serving.client.decoding.files import Problem, at

FIRST = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
NEEDED = (b"moov", b"mdat", b"moof")
MOST_BOXES = 100_000


def check(file: BinaryIO) -> None:
    """Raises Problem if it is MP4 and cut off."""
    size = file.seek(0, 2)
    if at(file, 4, 4) not in FIRST:
        return
    position, found = 0, set()
    for _ in range(MOST_BOXES):
        head = at(file, position, 16)
        if len(head) < 8:
            break
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:  # a size of 64 bits follows
            length = int.from_bytes(head[8:], "big")
        length = length or size - position
        if name in NEEDED and position + length > size:
            raise Problem(f"breaks off: of the {length} bytes of its {name.decode()} there are {size - position}")
        found.add(name)
        position += max(length, 8)
    if b"moov" not in found:
        raise Problem("breaks off: its index (moov), which comes last, is not there")
