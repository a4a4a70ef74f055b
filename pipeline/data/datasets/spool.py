"""The signals of one track at the stored rate, while what only the whole of it tells (its gain, its power) is not known yet.

The second pass reads them again from memory, or of a long track from a temporary file, rather than to decode and resample twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

    def __init__(self, files: Mapping[str, IO[bytes]], channels: int) -> None:
        """files: one for each signal, the mixture among them, so that a block of it is read in one piece."""
        self.channels = channels
        self.samples, self.peak = 0, 0.0
        self._digest = hashlib.sha256()
        self._files = files

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def write(self, blocks: Iterable[Signals]) -> None:
        """Raises ScratchError where there is no place for them."""
        for block in blocks:
            signals = {name: np.ascontiguousarray(block[name]) for name in self._files}
            self.samples += len(signals[MIXTURE])
            for signal in signals.values():
                self.peak = max(self.peak, float(signal.max(initial=0.0)), -float(signal.min(initial=0.0)))
            self._digest.update(signals[MIXTURE].data)
            try:
                for name, file in self._files.items():
                    file.write(signals[name].data)
            except OSError as error:
                raise ScratchError(
                    f"a track cannot be kept in {tempfile.gettempdir()} while it is converted: {error.strerror or error}; "
                    "TMPDIR chooses another directory"
                ) from error

    def blocks(self, samples: int = _READ_SAMPLES) -> Iterator[Signals]:
        """All signals from the beginning in blocks of this length, the last one shorter. One reader at a time."""
        for file in self._files.values():
            file.seek(0)
        for first in range(0, self.samples, samples):
            size = min(samples, self.samples - first) * self.channels * 4
            yield {
                name: np.frombuffer(file.read(size), np.float32).reshape(-1, self.channels)
                for name, file in self._files.items()
            }


@contextlib.contextmanager
def spooling(names: Sequence[str], channels: int) -> Iterator[Spool]:
    """An empty spool, of which nothing is left afterwards."""
    with contextlib.ExitStack() as stack:
        most = IN_MEMORY_BYTES // len(names)
        yield Spool({name: stack.enter_context(tempfile.SpooledTemporaryFile(most)) for name in names}, channels)
