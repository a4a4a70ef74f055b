"""Decoding by libsndfile, of the files that it reads soundly, or would with a true header."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from serving.client.decoding import boxes, chunks, flac, mpeg, ogg
from serving.client.decoding.files import BLOCK_SAMPLES, Decoding, Part, Problem, View, at

AS_THEY_ARE = frozenset(
    ("SVX", "PAF", "NIST", "IRCAM", "SD2", "PVF", "AVR", "MAT4", "MAT5", "SDS", "XI", "WVE", "MPC2K")
)
"""Formats whose header libsndfile checks against the file itself; VOC, which it reads wrongly, is not one of them."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Decoding | None]:
    """A file that libsndfile decodes to its end; None where it does not.

    Raises:
      Problem: it is cut off, damaged, or of no legal format.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        sources = _sources(path, file, stack)
        if not sources:
            yield None
            return
        first = sources[0]
        samples = sum(source.frames for source in sources)

        def blocks() -> Iterator[np.ndarray]:
            done = 0
            for source in sources:
                if (source.samplerate, source.channels) != (first.samplerate, first.channels):
                    raise Problem(f"changes its rate or channels after {done} samples")
                for block in _blocks(source, done, samples):
                    done += len(block)
                    yield block

        yield Decoding(first.samplerate, first.channels, samples, blocks)


def _blocks(source: soundfile.SoundFile, done: int, samples: int) -> Iterator[np.ndarray]:
    position = 0
    while position < source.frames:
        try:  # not by its own blocks(), which give memory for samples that could not be read
            block = source.read(min(BLOCK_SAMPLES, source.frames - position), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            reason = error.error_string.rstrip(".") or f"libsndfile's error {error.code}"
            raise Problem(f"cannot be decoded after {done + position} of {samples} samples ({reason})") from error
        if not len(block):
            raise Problem(f"breaks off after {done + position} of {samples} samples")
        position += len(block)
        ordered = source.format == "OGG" and source.channels in ogg.ORDER
        yield block[:, ogg.ORDER[source.channels]] if ordered else block


def _sources(path: Path, file: BinaryIO, stack: contextlib.ExitStack) -> list[soundfile.SoundFile]:
    """The file as it is where libsndfile finds the true length in it, else with another header; none where neither goes."""
    parts = parts_of(file)
    if parts is None:
        return []
    if (
        len(parts) < 2 and not any(part.needed for part in parts) and (plain := _open(os.open(path, os.O_RDONLY)))
    ):  # its name would be a hint, and UTF-8
        stack.enter_context(plain)
        if plain.format == "NIST":
            _check_nist(file, plain.frames)
        if plain.frames == parts[0].samples if parts else plain.format in AS_THEY_ARE:
            return [plain]
    sources = [source for part in parts if (source := _open(View(file, part)))]
    for source in sources:
        stack.enter_context(source)
    return sources if len(sources) == len(parts) else []


def _check_nist(file: BinaryIO, samples: int) -> None:
    """SPHERE says how many samples there should be, which libsndfile does not read."""
    said = re.search(rb"sample_count -i (\d{1,18})", at(file, 0, 1024))
    if said and samples < int(said[1]):
        raise Problem(f"breaks off after {samples} of {int(said[1])} samples")


def _open(file: Any) -> soundfile.SoundFile | None:
    try:
        return soundfile.SoundFile(file)
    except soundfile.LibsndfileError:
        return None


def parts_of(file: BinaryIO) -> Sequence[Part] | None:
    """What of the file is sound, with which header; none where libsndfile may try; None where it may not."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(16)
    found: Part | None
    if (head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE") or head == chunks.W64_RIFF:
        found = chunks.wav(file, size)
    elif head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        found = chunks.aiff(file, size)
    elif head[:4] in (b".snd", b"dns."):
        found = chunks.au(file, size)
    elif head[:4] == b"caff":
        found = chunks.caf(file, size)
    elif head[:4] == b"OggS":
        return ogg.parts(file)
    elif head[:4] == b"fLaC" or head[:3] == b"ID3":
        found = flac.part(file) or mpeg.part(file)
    elif boxes.is_mp4(head):  # whose MP3 is not to be taken out of it: the edit list would be lost
        return None
    else:
        found = mpeg.part(file)
        return [found] if found else []
    return [found] if found else None
