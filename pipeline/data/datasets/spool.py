"""The signals of one track at the stored rate, while what only the whole of it tells (its gain, its power) is not known yet.

The second pass reads them again from memory, or of a long track from a temporary file, rather than to decode and resample twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

import numpy as np

from pipeline.data.datasets.files import ScratchError
from pipeline.data.datasets.loading import MIXTURE, Signals

IN_MEMORY_BYTES = 2**24  # ninety seconds of three signals of 16 kHz; a longer track lies on the disk, where TMPDIR says
_READ_SAMPLES = 2**17


class Spool:
    """Signals of one shape.

    Attributes:
      samples: per channel. peak: the largest magnitude of any of them. digest: SHA-256 of the mixture.
    """

    def __init__(self, file: IO[bytes], names: Sequence[str], channels: int) -> None:
        self.names, self.channels = tuple(names), channels
        self.samples, self.peak = 0, 0.0
        self._digest = hashlib.sha256()
        self._file = file

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def write(self, blocks: Iterable[Signals]) -> None:
        """Raises ScratchError where there is no place for them."""
        for block in blocks:
            signals = np.stack([block[name] for name in self.names], axis=1)
            self.samples += len(signals)
            self.peak = max(self.peak, float(signals.max(initial=0.0)), -float(signals.min(initial=0.0)))
            self._digest.update(np.ascontiguousarray(block[MIXTURE]).data)
            try:
                self._file.write(signals.data)
            except OSError as error:
                raise ScratchError(
                    f"a track cannot be kept in {tempfile.gettempdir()} while it is converted: {error.strerror or error}; "
                    "TMPDIR chooses another directory"
                ) from error

    def blocks(self, samples: int = _READ_SAMPLES) -> Iterator[Signals]:
        """All signals from the beginning in blocks of this length, the last one shorter. One reader at a time."""
        self._file.seek(0)
        while data := self._file.read(samples * len(self.names) * self.channels * 4):
            signals = np.frombuffer(data, np.float32).reshape(-1, len(self.names), self.channels)
            yield {name: signals[:, index] for index, name in enumerate(self.names)}


@contextlib.contextmanager
def spooling(names: Sequence[str], channels: int) -> Iterator[Spool]:
    """An empty spool, of which nothing is left afterwards."""
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as file:
        yield Spool(file, names, channels)
