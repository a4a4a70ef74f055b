"""Whether stems would sum to the mixture earlier or later, by cross-correlation of an excerpt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from pipeline.data.datasets.loading import MIXTURE, Signals
from pipeline.data.datasets.track import mix

BLOCKS = 8  # of 2**16 samples: 12 s of 44.1 kHz


@dataclass(frozen=True)
class Delay:
    """Of a stem, or where it is None of all of them; the sum fits so many samples later, or earlier where negative."""

    stem: str | None
    samples: int


def explaining(excerpt: Signals, at_least_db: float) -> Delay | None:
    """The delay, of up to half of the excerpt, that lowers what the stems leave of the mixture by so much and by the most."""
    mono = {name: signal.mean(axis=1, dtype=np.float64) for name, signal in excerpt.items()}
    mixture = mono.pop(MIXTURE)
    whole = mix(list(mono.values()))
    residual = mixture - whole
    parts = {**mono, None: whole}
    found = {}
    for name, stem in parts.items():
        wanted = residual + stem  # of this stem, if the others are right
        samples = _lag(wanted, stem)
        inner = slice(abs(samples), len(stem) - abs(samples))
        left = float(np.sum((wanted - np.roll(stem, samples))[inner] ** 2))
        found[name] = left / max(float(np.sum(residual[inner] ** 2)), 1e-30), samples
    name = min(found, key=lambda each: found[each][0])
    ratio, samples = found[name]
    return Delay(name, samples) if samples and ratio <= 10 ** (-at_least_db / 10) else None


def _lag(wanted: np.ndarray, signal: np.ndarray) -> int:
    """How many samples later `signal` is most like `wanted`."""
    reach = max(1, len(signal) // 2)
    size = 1 << (len(signal) + reach).bit_length()
    spectra = [np.asarray(fft.rfft(each, size)) for each in (wanted, signal)]
    products = np.asarray(fft.irfft(spectra[0] * np.conj(spectra[1]), size))
    later, earlier = products[:reach], products[-reach:]
    if later.max(initial=0) >= earlier.max(initial=0):
        return int(np.argmax(later))
    return int(np.argmax(earlier)) - reach
